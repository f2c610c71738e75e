"""The answer to one GET, read with a limit on everything that a stranger's server may send."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import httptools

_PIECE = 1 << 16
_MOST_HEAD = 64 * 1024  # bytes of status line and headers, those of interim answers among them


class NotFetched(Exception):
    """Why, as a sentence for who asked: it tells nothing of an address that is not public."""

    code = "invalid_image_url"


class TooLarge(NotFetched):
    code = "image_file_too_large"


class Broken(Exception):
    """What comes is no whole answer of HTTP."""


@dataclass
class Answer:
    """Status, headers by their names in lower case, and the body of a 200. The methods are those that the parser calls."""

    most: int
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytearray = field(default_factory=bytearray)
    complete: bool = False

    def __post_init__(self) -> None:
        self._parser = httptools.HttpResponseParser(self)

    @property
    def bounded(self) -> bool:
        """Whether the answer itself tells where it ends; else the connection's end does (RFC 9112 §6.3)."""
        return "content-length" in self.headers or "transfer-encoding" in self.headers

    def feed(self, data: bytes) -> None:
        """Raises Broken, TooLarge."""
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            if not self.complete:  # what follows an answer is nobody's
                raise Broken from None
        if not self.status:
            return
        claimed = self.headers.get("content-length", "0")
        if len(self.body) > self.most or not claimed.isdecimal() or int(claimed[:18]) > self.most:
            raise TooLarge

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.status:  # what follows a body is no header
            self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
        elif not self.complete:
            self.status = status

    def on_body(self, piece: bytes) -> None:
        if self.status == 200 and not self.complete:
            self.body += piece

    def on_message_complete(self) -> None:
        self.complete = bool(self.status)


async def answer_from(reader: asyncio.StreamReader, most: int) -> Answer:
    """The head of an answer, and its body where the status is 200. Raises Broken, OSError; TooLarge past `most` bytes."""
    answer, received = Answer(most), 0
    while not answer.complete and answer.status in (0, 200):
        data = await reader.read(_PIECE)
        if not data:
            if answer.status and not answer.bounded:
                break
            raise Broken
        received += len(data)
        if received > (2 * most if answer.status else 0) + _MOST_HEAD + _PIECE:
            raise TooLarge  # or nothing but a frame around nothing
        answer.feed(data)
    return answer
