"""A conversation's items: what was said, called and answered, in order."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import NO_BRANCH, Part

Id = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[\w.-]+$")]
_MOST_ITEMS = 1000
_MOST_TEXT = 4 * 2**20  # characters of all items
_PACE = 15.0  # characters a second: how fast a voice is taken to speak where its audio is not complete
_ALLOWED = {
    "user": ("input_text", "input_audio", "input_image"),
    "system": ("input_text",),
    "assistant": ("output_text", "output_audio", "text"),
}


class ContentPart(Part):
    """`text` is what OpenAI called an assistant's text before; `audio` is base64 of the session's input format."""

    type: Literal["input_text", "input_audio", "input_image", "output_text", "output_audio", "text"]
    text: str | None = None
    audio: str | None = None
    transcript: str | None = None
    image_url: str | None = None
    detail: Literal["auto", "low", "high"] | None = None


class MessageItem(Part):
    id: Id | None = None
    object: Literal["realtime.item"] | None = None
    type: Literal["message"]
    status: Literal["completed", "incomplete", "in_progress"] | None = None
    role: Literal["user", "system", "assistant"]
    phase: Any = None  # of OpenAI's own models
    content: list[ContentPart] = Field(max_length=100)

    @model_validator(mode="after")
    def _agree(self) -> Self:
        for index, part in enumerate(self.content):
            place = f"item.content[{index}]"
            if part.type not in _ALLOWED[self.role]:
                allowed = ", ".join(f"'{kind}'" for kind in _ALLOWED[self.role])
                raise InvalidRequest(
                    f"Invalid value for '{place}.type': the role '{self.role}' has parts of type {allowed}.",
                    param=f"{place}.type",
                    code="invalid_value",
                )
            _check_part(part, place)
        return self


def _check_part(part: ContentPart, place: str) -> None:
    if part.type == "input_audio" and part.audio is not None and part.transcript is None:
        sound(part.audio, f"{place}.audio")
        return
    needed = "image_url" if part.type == "input_image" else "transcript" if part.type.endswith("audio") else "text"
    if getattr(part, needed) is None:
        raise InvalidRequest(
            f"Missing required parameter: '{place}.{needed}'.", param=f"{place}.{needed}", code="missing_required_parameter"
        )
    if part.audio is not None:
        raise InvalidRequest(
            f"Unsupported parameter: '{place}.audio'. What has a transcript needs no audio here; leave one of them out.",
            param=f"{place}.audio",
            code="unsupported_parameter",
        )


def sound(audio: str, param: str = "audio") -> bytes:
    """Raises InvalidRequest for what is not base64."""
    try:
        return base64.b64decode(audio, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest(f"Invalid '{param}': it is not base64.", param=param, code="invalid_value") from None


class CallItem(Part):
    id: Id | None = None
    object: Literal["realtime.item"] | None = None
    type: Literal["function_call"]
    status: Literal["completed", "incomplete", "in_progress"] | None = None
    call_id: Id | None = None
    name: str = Field(min_length=1, max_length=256)
    arguments: str


class OutputItem(Part):
    id: Id | None = None
    object: Literal["realtime.item"] | None = None
    type: Literal["function_call_output"]
    status: Literal["completed", "incomplete", "in_progress"] | None = None
    call_id: Id
    output: str


class Reference(Part):
    type: Literal["item_reference"]
    id: Id


def _kind(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"«{kind}»" if isinstance(kind, str) else None


def _one_of(*kinds: str) -> Discriminator:
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    return Discriminator(_kind, custom_error_type=NO_BRANCH, custom_error_message=f".type|the type is one of {listed}.")


_Message = Annotated[MessageItem, Tag("«message»")]
_Call = Annotated[CallItem, Tag("«function_call»")]
_Output = Annotated[OutputItem, Tag("«function_call_output»")]
GivenItem = Annotated[_Message | _Call | _Output, _one_of("message", "function_call", "function_call_output")]
GivenOrReference = Annotated[
    _Message | _Call | _Output | Annotated[Reference, Tag("«item_reference»")],
    _one_of("message", "function_call", "function_call_output", "item_reference"),
]


@dataclass
class Content:
    """A part of a message. `text` is what was written, or the transcript of what was spoken; None until that is known."""

    kind: str
    text: str | None = None
    image_url: str | None = None
    detail: str | None = None
    audio: bytes = b""  # that is still to be recognised

    def shown(self) -> dict[str, Any]:
        if self.kind == "input_image":
            return {"type": self.kind, "image_url": self.image_url, "detail": self.detail or "auto"}
        if self.kind.endswith("audio"):
            return {"type": self.kind, "transcript": self.text}
        return {"type": self.kind, "text": self.text or ""}


@dataclass
class Spoken:
    """Which bytes of an item's audio say which words: where a sentence begins, and its text."""

    per_ms: int
    sentences: list[tuple[int, str]] = field(default_factory=list)
    sent: int = 0  # bytes of audio
    whole: bool = False  # all that was to be said has been sent

    @property
    def milliseconds(self) -> int:
        return self.sent // self.per_ms

    def until(self, milliseconds: float) -> str:
        """The words that are heard in the first milliseconds; a sentence in the middle is cut after a word."""
        end, heard = min(int(milliseconds * self.per_ms), self.sent), ""
        for index, (begin, text) in enumerate(self.sentences):
            if begin >= end:
                break
            last = index + 1 == len(self.sentences)
            close = self.sent if last else self.sentences[index + 1][0]
            if last and not self.whole:  # how long it would have become is not known
                close = begin + max(close - begin, int(len(text) / _PACE * 1000 * self.per_ms))
            heard += text if end >= close else _cut(text, (end - begin) / (close - begin))
        return heard.rstrip()


def _cut(text: str, part: float) -> str:
    at = int(len(text) * part)
    if at >= len(text) or text[at : at + 1].isspace():
        return text[:at]
    return text[: text.rfind(" ", 0, at) + 1]


@dataclass
class Item:
    id: str
    type: str
    status: str = "completed"
    role: str = ""
    content: list[Content] = field(default_factory=list)
    call_id: str = ""
    name: str = ""
    text: str = ""  # a call's arguments, or its output
    spoken: Spoken | None = None

    @property
    def size(self) -> int:
        parts = sum(len(part.text or "") + len(part.image_url or "") for part in self.content)
        return len(self.text) + len(self.name) + parts + 100

    def shown(self) -> dict[str, Any]:
        common = {"id": self.id, "object": "realtime.item", "type": self.type, "status": self.status}
        match self.type:
            case "message":
                return {**common, "role": self.role, "content": [part.shown() for part in self.content]}
            case "function_call":
                return {**common, "call_id": self.call_id, "name": self.name, "arguments": self.text}
        return {**common, "call_id": self.call_id, "output": self.text}


def made(given: MessageItem | CallItem | OutputItem, identity: str, call_id: str) -> Item:
    """An item that a client gives; `identity` and `call_id` are for one that brings none."""
    item = Item(given.id or identity, given.type)
    match given:
        case MessageItem():
            item.role = given.role
            item.content = [
                Content(
                    "output_text" if part.type == "text" else part.type,
                    part.transcript if part.type.endswith("audio") else part.text,
                    part.image_url,
                    part.detail,
                    sound(part.audio) if part.audio else b"",
                )
                for part in given.content
            ]
        case CallItem():
            item.call_id, item.name, item.text = given.call_id or call_id, given.name, given.arguments
        case OutputItem():
            item.call_id, item.text = given.call_id, given.output
    return item


class Conversation:
    """Items in order, of bounded number and size."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self._order: list[str] = []
        self._sizes: dict[str, int] = {}  # as they were when last weighed
        self._size = 0

    def __iter__(self) -> Iterator[Item]:
        return (self._items[name] for name in self._order)

    def find(self, name: str, param: str = "item_id") -> Item:
        """Raises InvalidRequest for an item that is not there."""
        item = self._items.get(name)
        if item is None:
            raise InvalidRequest(
                f"There is no item with id '{name[:64]}' in the conversation.", param=param, code="item_not_found"
            )
        return item

    def has(self, name: str) -> bool:
        return name in self._items

    @property
    def last(self) -> str | None:
        return self._order[-1] if self._order else None

    def before(self, name: str) -> str | None:
        """The id of the item before another one."""
        at = self._order.index(name)
        return self._order[at - 1] if at else None

    def insert(self, item: Item, after: str | None = None) -> None:
        """Puts an item behind the one with id `after`, at the beginning for "root", at the end for None.

        Raises InvalidRequest for an id that is taken, or not there.
        """
        if item.id in self._items:
            raise InvalidRequest(f"The id '{item.id}' is taken.", param="item.id", code="item_create_duplicate_id")
        if after is None:
            self._order.append(item.id)
        elif after == "root":
            self._order.insert(0, item.id)
        else:
            self.find(after, "previous_item_id")
            self._order.insert(self._order.index(after) + 1, item.id)
        self._items[item.id] = item
        self.weigh(item)

    def weigh(self, item: Item) -> None:
        """Takes note of how much an item has become."""
        if item.id in self._items:
            self._size += item.size - self._sizes.get(item.id, 0)
            self._sizes[item.id] = item.size

    def check_room(self, item: Item) -> None:
        """Raises InvalidRequest when the conversation would be larger than it may be."""
        if self._size + item.size > _MOST_TEXT:
            raise InvalidRequest(
                f"The conversation would have more than {_MOST_TEXT:,} characters, the limit; delete items.",
                param="item",
                code="conversation_full",
            )

    def delete(self, name: str) -> None:
        del self._items[self.find(name).id]
        self._order.remove(name)
        self._size -= self._sizes.pop(name)

    @property
    def surplus(self) -> str | None:
        """The oldest item of a conversation that has become too long."""
        too_long = len(self._order) > _MOST_ITEMS or (len(self._order) > 1 and self._size > _MOST_TEXT)
        return self._order[0] if too_long else None
