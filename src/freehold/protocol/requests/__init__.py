"""Requests as values. Each field is declared once: its type, its range, and whether it is honoured or refused."""

from freehold.protocol.requests.audio import TranscriptionRequest, TranslationRequest, parse_form
from freehold.protocol.requests.chat import ChatRequest
from freehold.protocol.requests.common import Parsed, parse
from freehold.protocol.requests.completion import CompletionRequest
from freehold.protocol.requests.drawing import EditFields, EditRequest, GenerationRequest, VariationFields
from freehold.protocol.requests.embedding import EmbeddingRequest
from freehold.protocol.requests.speech import SpeechRequest

__all__ = [
    "ChatRequest",
    "CompletionRequest",
    "EditFields",
    "EditRequest",
    "EmbeddingRequest",
    "GenerationRequest",
    "Parsed",
    "SpeechRequest",
    "TranscriptionRequest",
    "TranslationRequest",
    "VariationFields",
    "parse",
    "parse_form",
]
