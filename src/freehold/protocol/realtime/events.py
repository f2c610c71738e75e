"""What a client says: OpenAI's RealtimeClientEvent, each field honoured or refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator
from pydantic_core import from_json

from freehold.errors import InvalidRequest
from freehold.protocol.realtime.config import Format as AudioFormat
from freehold.protocol.realtime.config import MaxTokens, Modalities, Reasoning, Settings, ToolChoice, Tools, Voice, check_choice
from freehold.protocol.realtime.items import GivenItem, GivenOrReference, sound
from freehold.protocol.requests.common import Metadata, Part, Refused, Refusing, parse

Previous = Annotated[str, Field(min_length=1, max_length=64)]


class Event(Part):
    event_id: str | None = Field(None, max_length=512)
    type: str


class SessionUpdate(Event):
    session: Settings


class Commit(Event):
    pass


class Clear(Event):
    pass


class ItemCreate(Event):
    previous_item_id: Previous | None = None
    item: GivenItem


class ItemDelete(Event):
    item_id: str


class ItemRetrieve(Event):
    item_id: str


class ItemTruncate(Event):
    item_id: str
    content_index: int = Field(ge=0)
    audio_end_ms: int = Field(ge=0)


class ResponseOutput(Part):
    format: AudioFormat | None = None
    voice: Voice | None = None


class ResponseAudio(Part):
    output: ResponseOutput = ResponseOutput()


class ResponseSettings(Refusing):
    """What one response is to be like, where that is not as the session says."""

    place: ClassVar[str] = "response."
    output_modalities: Modalities | None = None
    instructions: str | None = Field(None, max_length=200_000)
    audio: ResponseAudio = ResponseAudio()
    tools: Tools | None = None
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: MaxTokens | None = None
    conversation: Literal["auto", "none"] = "auto"
    metadata: Metadata | None = None
    input: list[GivenOrReference] | None = Field(None, max_length=1000)
    prompt: Annotated[Any, Refused("There are no stored prompts here; send 'instructions'.")] = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.tools is not None:
            check_choice(self.tools, self.tool_choice, "response.")
        return self


class ResponseCreate(Event):
    response: ResponseSettings = ResponseSettings()


class ResponseCancel(Event):
    response_id: str | None = None


@dataclass(frozen=True)
class Append:
    """Audio, as bytes of the session's format."""

    audio: bytes


_KINDS: dict[str, type[Event]] = {
    "session.update": SessionUpdate,
    "input_audio_buffer.commit": Commit,
    "input_audio_buffer.clear": Clear,
    "conversation.item.create": ItemCreate,
    "conversation.item.delete": ItemDelete,
    "conversation.item.retrieve": ItemRetrieve,
    "conversation.item.truncate": ItemTruncate,
    "response.create": ResponseCreate,
    "response.cancel": ResponseCancel,
}
_APPEND = "input_audio_buffer.append"
_ELSEWHERE = {
    "output_audio_buffer.clear": "It is for WebRTC: here the client has the audio, and stops playing it by itself.",
    "transcription_session.update": "Send session.update with a session of type 'transcription'.",
}


class Misunderstood(Exception):
    """An event that cannot be taken; `event_id` is its own, where it has one."""

    def __init__(self, error: InvalidRequest, event_id: str | None = None):
        super().__init__(error.message)
        self.error = error
        self.event_id = event_id


def understood(message: str | bytes) -> Event | Append:
    """One message of a client. Raises Misunderstood."""
    if isinstance(message, bytes):
        raise Misunderstood(_wrong("Events are text; audio goes into input_audio_buffer.append as base64."))
    try:
        value = from_json(message)
    except ValueError:
        raise Misunderstood(_wrong("The event is not valid JSON.", code="invalid_json")) from None
    if not isinstance(value, dict):
        raise Misunderstood(_wrong("An event is a JSON object."))
    event_id = value.get("event_id")
    event_id = event_id[:512] if isinstance(event_id, str) else None
    try:
        return _event(value, message)
    except InvalidRequest as error:
        raise Misunderstood(error, event_id) from None


def _event(value: dict[str, Any], message: str) -> Event | Append:
    kind = value.get("type")
    if not isinstance(kind, str):
        raise InvalidRequest("Missing required parameter: 'type'.", param="type", code="missing_required_parameter")
    if kind == _APPEND:
        return _append(value)
    if kind in _ELSEWHERE:
        raise InvalidRequest(f"'{kind}' is not taken here. {_ELSEWHERE[kind]}", param="type", code="unsupported_event")
    known = _KINDS.get(kind)
    if known is None:
        listed = ", ".join(f"'{name}'" for name in (_APPEND, *_KINDS))
        raise InvalidRequest(
            f"Invalid value for 'type': {kind[:64]!r}. Supported values are: {listed}.", param="type", code="invalid_value"
        )
    return parse(known, message.encode("utf-8", "surrogatepass")).value


def _append(value: dict[str, Any]) -> Append:
    unknown = value.keys() - {"type", "event_id", "audio"}
    if unknown:
        name = min(unknown)[:64]
        raise InvalidRequest(f"Unknown parameter: '{name}'.", param=name, code="unknown_parameter")
    audio = value.get("audio")
    if not isinstance(audio, str):
        raise InvalidRequest("Missing required parameter: 'audio'.", param="audio", code="missing_required_parameter")
    return Append(sound(audio))


def _wrong(sentence: str, code: str = "invalid_event") -> InvalidRequest:
    return InvalidRequest(sentence, code=code)
