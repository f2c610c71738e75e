"""docs/parameters.md, rendered from the declarations that parse the requests."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from freehold.protocol.requests import (
    ChatRequest,
    CompletionRequest,
    EditFields,
    EditRequest,
    EmbeddingRequest,
    GenerationRequest,
    SpeechRequest,
    TranscriptionRequest,
    TranslationRequest,
    VariationFields,
)
from freehold.protocol.requests.anthropic import CountRequest, MessagesRequest
from freehold.protocol.requests.common import Accepted, Extra, Honoured, Own, Part, Refused, Treatment, treatment
from freehold.protocol.requests.decision import DecisionRequest, SystemOneRequest
from freehold.protocol.requests.fim import FimRequest, InfillRequest, TabbyRequest
from freehold.protocol.requests.moderation import ModerationRequest
from freehold.protocol.requests.ollama import ChatBody, EmbedBody, EmbeddingsBody, GenerateBody, Options
from freehold.protocol.requests.ollama_library import CopyBody, CreateBody, DeleteBody, PullBody, ShowBody
from freehold.protocol.requests.rerank import CohereRequest, RerankRequest
from freehold.protocol.requests.responses import ResponsesRequest
from freehold.protocol.requests.responses_items import ChangedCompletion, ChangedConversation, MoreItems, NewConversation
from freehold.protocol.requests.tokens import DetokenizeRequest, TemplateRequest, TokenizeRequest

_ENDPOINTS: tuple[tuple[str, type[Part]], ...] = (
    ("POST /v1/chat/completions", ChatRequest),
    ("POST /v1/responses", ResponsesRequest),
    ("POST /v1/conversations", NewConversation),
    ("POST /v1/conversations/{conversation}", ChangedConversation),
    ("POST /v1/conversations/{conversation}/items", MoreItems),
    ("POST /v1/chat/completions/{completion}", ChangedCompletion),
    ("POST /v1/completions", CompletionRequest),
    ("POST /v1/completions, as Tabby's plugins send it", TabbyRequest),
    ("POST /v1/fim/completions", FimRequest),
    ("POST /infill", InfillRequest),
    ("POST /v1/embeddings", EmbeddingRequest),
    ("POST /v1/rerank and /rerank", RerankRequest),
    ("POST /v2/rerank", CohereRequest),
    ("POST /v1/moderations", ModerationRequest),
    ("POST /v1/decisions", DecisionRequest),
    ("POST /v1/systemone", SystemOneRequest),
    ("POST /tokenize", TokenizeRequest),
    ("POST /detokenize", DetokenizeRequest),
    ("POST /apply-template", TemplateRequest),
    ("POST /v1/messages", MessagesRequest),
    ("POST /v1/messages/count_tokens", CountRequest),
    ("POST /api/chat", ChatBody),
    ("POST /api/generate", GenerateBody),
    ("POST /api/embed", EmbedBody),
    ("POST /api/embeddings", EmbeddingsBody),
    ("Options of Ollama's requests", Options),
    ("POST /api/show", ShowBody),
    ("POST /api/pull", PullBody),
    ("POST /api/create", CreateBody),
    ("POST /api/copy", CopyBody),
    ("DELETE /api/delete", DeleteBody),
    ("POST /v1/audio/speech", SpeechRequest),
    ("POST /v1/audio/transcriptions", TranscriptionRequest),
    ("POST /v1/audio/translations", TranslationRequest),
    ("POST /v1/images/generations", GenerationRequest),
    ("POST /v1/images/edits", EditRequest),
    ("POST /v1/images/variations", VariationFields),
)
_INTRODUCTION = """# Parameters

Every documented parameter of these endpoints, and what becomes of it. *Honoured* does what its API's documentation says.
*Accepted* has no effect on the answer by its own definition. *Refused* is a 400 that names the parameter and says what to
do; values that ask for nothing pass, so that clients which always send them keep working. A field that is not here is a 400
as with OpenAI, or, with the setting `unknown_parameters = "ignore"`, left out and named in the header `x-freehold-ignored`.

Where a request sets no sampling parameter, the model's own recommendation holds (for the starter model: temperature 0.2,
top_p 0.9), then llama.cpp's defaults: temperature 0.8, top_k 40, top_p 0.95, min_p 0.05."""


def markdown() -> str:
    """The page."""
    parts = [_INTRODUCTION]
    for title, model in _ENDPOINTS:
        parts += ["", f"## {title}", "", "| parameter | values | treatment | note |", "|---|---|---|---|"]
        parts += list(_rows(model, extras=False))
    parts += ["", "## Freehold's own parameters", "", "For all of these endpoints.", ""]
    parts += ["| parameter | values | note |", "|---|---|---|", *_rows(EmbeddingRequest, extras=True)]
    parts += ["", "## Freehold's own parameters for pictures", "", "`strength` is for edits and variations.", ""]
    own = [row for row in _rows(EditFields, extras=True) if row not in set(_rows(EmbeddingRequest, extras=True))]
    parts += ["| parameter | values | note |", "|---|---|---|", *own]
    parts += ["", "## llama.cpp's sampling parameters, and other names", "", "For chat and text completions.", ""]
    parts += ["| parameter | values | note |", "|---|---|---|", *_rows(ChatRequest, extras=True)]
    return "\n".join(parts)


def _rows(model: type[Part], *, extras: bool) -> Iterator[str]:
    for name, field in model.model_fields.items():
        how = treatment(model, name)
        if isinstance(how, Extra) != extras or (model is ChatRequest and isinstance(how, Own)):
            continue
        values = _values(field, how)
        note = how.note or "–"
        shown = field.alias or name
        yield f"| `{shown}` | {values} | {note} |" if extras else f"| `{shown}` | {values} | {_LABELS[type(how)]} | {note} |"


_LABELS: dict[type[Any], str] = {Honoured: "honoured", Accepted: "accepted", Refused: "**refused**", Extra: ""}
_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


def _values(field: FieldInfo, how: Treatment) -> str:
    if isinstance(how, Refused):
        return f"only {', '.join(f'`{value}`' if value != '' else 'empty' for value in how.allow)}" if how.allow else "none"
    kind = _kind(field.annotation)
    return f"{kind}{_limits(field)}{', required' if field.is_required() else ''}"


def _kind(annotation: Any) -> str:
    origin, inner = get_origin(annotation), [arg for arg in get_args(annotation) if arg is not type(None)]
    plain = _TYPES.get(annotation) or _TYPES.get(origin)
    if plain:
        return plain
    if origin is Literal:
        return ", ".join(f"`{value}`" if value != "" else "empty" for value in inner)
    if len(inner) == 1 or hasattr(annotation, "__metadata__"):  # Annotated: the first argument is the type itself
        return _kind(inner[0])
    kinds = dict.fromkeys(_kind(arg) for arg in inner)
    return " or ".join(kinds) if kinds else "object"


def _limits(field: FieldInfo) -> str:
    """A number's range: ", 0 … 2", or nothing."""
    found: dict[str, str] = {}
    for mark in field.metadata:
        for key in ("ge", "gt", "le", "lt"):
            value = getattr(mark, key, None)
            if value is not None:
                found[key] = f"{value:g}" if isinstance(value, float) else f"{value:,}"
    if not found:
        return ""
    if found.get("lt") == f"{2**63:,}":
        return ", of 64 bits"
    low = found.get("ge") or f">{found['gt']}"
    return f", {low} … {found['le']}" if "le" in found else f", {low} or more"
