"""What may be a model's name; the names that OpenAI's and Anthropic's own models have, and which default model of this server
each stands for."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

LONGEST = 200
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(?:[/:][A-Za-z0-9][A-Za-z0-9._-]*)*")


def is_name(name: str) -> bool:
    """Whether that is words of letters, digits, `.`, `_` and `-`, joined by `/` or `:`, and no path."""
    return len(name) <= LONGEST and _NAME.fullmatch(name) is not None and ".." not in name


CHAT_ALIASES = (
    "gpt-5.2",
    "gpt-5.1",
    "gpt-5",
    "gpt-5-mini",
    "gpt-5-nano",
    "gpt-4.1",
    "gpt-4.1-mini",
    "gpt-4.1-nano",
    "gpt-4o",
    "gpt-4o-mini",
    "gpt-4-turbo",
    "gpt-4",
    "gpt-3.5-turbo",
    "gpt-3.5-turbo-instruct",
)
CLAUDE_ALIASES = ("claude-*",)  # their names carry dates
EMBEDDING_ALIASES = ("text-embedding-3-small", "text-embedding-3-large", "text-embedding-ada-002")
TRANSCRIPTION_ALIASES = (
    "whisper-1",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-transcribe-diarize",
    "gpt-transcribe",
)
SPEECH_ALIASES = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "tts-1-1106", "tts-1-hd-1106", "gpt-4o-mini-tts-2025-12-15")
MODERATION_ALIASES = (
    "omni-moderation-latest",
    "omni-moderation-2024-09-26",
    "text-moderation-latest",
    "text-moderation-stable",
)
RERANK_ALIASES = ("rerank-*", "jina-reranker-*")  # Cohere's and Jina's names carry versions and languages
DECISION_ALIASES = ("gpt-6-luna", "gpt-6-luna-*", "jev-*")  # OpenAI's and TypeSafe's
IMAGE_ALIASES = ("dall-e-2", "dall-e-3", "gpt-image-1", "gpt-image-1-mini", "gpt-image-1.5", "gpt-image-2")
REALTIME_ALIASES = (
    "gpt-realtime",
    "gpt-realtime-mini",
    "gpt-realtime-1.5",
    "gpt-realtime-2",
    "gpt-realtime-2.1",
    "gpt-realtime-2.1-mini",
    "gpt-4o-realtime-preview",
    "gpt-4o-mini-realtime-preview",
)
LIVE_ALIASES = ("gpt-live-transcribe", "gpt-realtime-whisper")
CHAT_DEFAULT, EMBEDDING_DEFAULT, RERANK_DEFAULT, MODERATION_DEFAULT = "@chat", "@embedding", "@rerank", "@moderation"
TRANSCRIPTION_DEFAULT, SPEECH_DEFAULT, IMAGE_DEFAULT, DECISION_DEFAULT = "@transcription", "@speech", "@image", "@decision"
BUILT_IN: Mapping[str, str] = MappingProxyType(
    {
        **dict.fromkeys((*CHAT_ALIASES, *CLAUDE_ALIASES, *REALTIME_ALIASES), CHAT_DEFAULT),
        **dict.fromkeys(EMBEDDING_ALIASES, EMBEDDING_DEFAULT),
        **dict.fromkeys(RERANK_ALIASES, RERANK_DEFAULT),
        **dict.fromkeys(MODERATION_ALIASES, MODERATION_DEFAULT),
        **dict.fromkeys(TRANSCRIPTION_ALIASES + LIVE_ALIASES, TRANSCRIPTION_DEFAULT),
        **dict.fromkeys(SPEECH_ALIASES, SPEECH_DEFAULT),
        **dict.fromkeys(IMAGE_ALIASES, IMAGE_DEFAULT),
        **dict.fromkeys(DECISION_ALIASES, DECISION_DEFAULT),
    }
)
