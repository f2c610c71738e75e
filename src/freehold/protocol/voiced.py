"""Chats with sound in them, for models that know text alone: what is heard becomes text, and an answer's text is spoken."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from freehold.errors import InvalidRequest, PayloadTooLarge
from freehold.protocol.requests.chat import ChatRequest
from freehold.protocol.requests.messages import AssistantMessage, AudioPart, Message, TextPart, UserMessage

_MOST = 16  # recordings in one request


@dataclass(frozen=True)
class Recording:
    """Something said in a request: where it stands there, and its bytes. What they are is told by themselves."""

    param: str
    data: bytes


def recordings(request: ChatRequest) -> list[Recording]:
    """All that is to be heard, in order. Raises InvalidRequest for what is no base64, PayloadTooLarge for too many."""
    found = [(f"messages[{at}].content[{place}].input_audio", part) for at, place, part in _audio(request.messages)]
    if len(found) > _MOST:
        raise PayloadTooLarge(f"A request has at most {_MOST} recordings; this one has {len(found)}.", param="messages")
    return [Recording(param, _decoded(part.input_audio.data, f"{param}.data")) for param, part in found]


def has_sound(request: ChatRequest) -> bool:
    """Whether something is to be heard or spoken, or was spoken before."""
    recalls = any(isinstance(message, AssistantMessage) and message.audio is not None for message in request.messages)
    return request.spoken or recalls or any(True for _ in _audio(request.messages))


def unheard(request: ChatRequest, said: Callable[[str], str | None]) -> ChatRequest:
    """The request without sound as far as it is known before anything was heard. Raises like `recordings` and `as_text`."""
    return as_text(request, [""] * len(recordings(request)), said)


def as_text(request: ChatRequest, heard: Sequence[str], said: Callable[[str], str | None]) -> ChatRequest:
    """The request without sound: `heard` are the texts of its recordings in their order, `said` knows earlier spoken answers.

    Raises InvalidRequest for an answer that is not known, or no more.
    """
    texts = iter(heard)
    messages = [_silent(index, message, texts, said) for index, message in enumerate(request.messages)]
    return request.model_copy(update={"messages": messages, "modalities": None, "audio": None})


def _audio(messages: Sequence[Message]) -> Iterator[tuple[int, int, AudioPart]]:
    for at, message in enumerate(messages):
        if isinstance(message, UserMessage) and isinstance(message.content, list):
            for place, part in enumerate(message.content):
                if isinstance(part, AudioPart):
                    yield at, place, part


def _decoded(data: str, param: str) -> bytes:
    try:
        decoded = base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("The recording is not base64.", param=param, code="invalid_value") from None
    if not decoded:
        raise InvalidRequest("The recording is empty.", param=param, code="invalid_value")
    return decoded


def _silent(index: int, message: Message, texts: Iterator[str], said: Callable[[str], str | None]) -> Message:
    if isinstance(message, UserMessage) and isinstance(message.content, list):
        parts = [TextPart(type="text", text=next(texts)) if isinstance(part, AudioPart) else part for part in message.content]
        return message.model_copy(update={"content": parts})
    if isinstance(message, AssistantMessage) and message.audio is not None:
        text = said(message.audio.id)
        if text is None:
            raise InvalidRequest(
                f"The spoken answer {message.audio.id!r} is not known here, or no more; send its transcript as 'content'.",
                param=f"messages[{index}].audio.id",
                code="invalid_value",
            )
        return message.model_copy(update={"audio": None, "content": message.content if message.content is not None else text})
    return message
