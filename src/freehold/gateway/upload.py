"""Uploaded files: a multipart body, read piece by piece into a file without a name, which no crash can leave behind."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import secrets
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from freehold.errors import FreeholdError, InvalidRequest, PayloadTooLarge, Unavailable, UnsupportedMediaType
from freehold.fleet.exchange import Span, Upload
from freehold.gateway.http import ClientGone

_MOST_PARTS = 256
_MOST_FIELDS = 4 << 20  # bytes of all that is no file
_MOST_HEADERS = 16 * 1024  # bytes of the headers of one part
_BATCH = 1 << 20  # bytes that are written to the disk at once
_KIND = re.compile(r"[a-zA-Z0-9][\w.+-]*/[\w.+-]+")


@dataclass(frozen=True)
class FilePart:
    """A file of a form. `filename` and `content_type` are a client's own words."""

    name: str
    filename: str
    content_type: str
    span: Span


@dataclass
class Form:
    """A form's fields as (name, value) in their order, and its files likewise. `digest` is that of the whole body."""

    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[FilePart] = field(default_factory=list)
    digest: bytes = b""

    def file(self, name: str) -> FilePart:
        """The one file of that name. Raises InvalidRequest when there is none, or more than one."""
        found = [part for part in self.files if part.name == name]
        if len(found) == 1:
            return found[0]
        if any(given == name for given, _ in self.fields):
            raise InvalidRequest(f"The field {name!r} must be a file, not text.", param=name, code="invalid_type")
        how = "is required" if not found else "was sent more than once"
        raise InvalidRequest(f"The file {name!r} {how}.", param=name, code="missing_required_parameter" if not found else None)

    def upload(self, fields: Iterable[tuple[str, str]], files: Iterable[FilePart]) -> Upload:
        """A multipart body for a worker, of checked fields and of files under their names in this form."""
        return multipart(fields, ((part.name, part.content_type, (part.span,)) for part in files), self.digest)


def multipart(
    fields: Iterable[tuple[str, str]], files: Iterable[tuple[str, str, Iterable[bytes | Span]]], digest: bytes = b""
) -> Upload:
    """A multipart body of checked fields, and of files as (name, content type, what is in it)."""
    boundary = secrets.token_hex(24)
    segments: list[bytes | Span] = []
    for name, value in fields:
        segments.append(f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode())
    for name, content_type, inside in files:
        kind = content_type if _KIND.fullmatch(content_type) else "application/octet-stream"
        disposition = f'Content-Disposition: form-data; name="{name}"; filename="file"'
        segments += [f"--{boundary}\r\n{disposition}\r\nContent-Type: {kind}\r\n\r\n".encode(), *inside, b"\r\n"]
    return Upload(f"multipart/form-data; boundary={boundary}", (*segments, f"--{boundary}--\r\n".encode()), digest)


async def received(request: Request, folder: Path, limit: int, held: contextlib.ExitStack) -> Form:
    """A request's form. Its files lie in `folder`, and are gone when `held` is closed. `limit` is bytes of the whole body.

    Raises UnsupportedMediaType for another type, PayloadTooLarge past the limit (by its own claim or by count), InvalidRequest
    for what is no form, ClientGone when the client leaves in the middle of it.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    boundary = options.get(b"boundary", b"")
    if kind != b"multipart/form-data" or not 0 < len(boundary) <= 200:
        raise UnsupportedMediaType("The body must be multipart/form-data, with a file in it.")
    claimed = request.headers.get("content-length", "0")
    if not claimed.isdecimal():
        raise InvalidRequest("The Content-Length header is not a number.")
    if int(claimed) > limit:
        raise _too_large(limit)
    reader = _Reader(held.enter_context(await asyncio.to_thread(_spool, folder)), boundary)
    try:
        async for piece in request.stream():
            await reader.feed(piece, limit)
    except ClientDisconnect:
        raise ClientGone from None
    return await reader.end()


def _spool(folder: Path) -> BinaryIO:
    """A file without a name in that folder."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        return cast(BinaryIO, tempfile.TemporaryFile(dir=folder))
    except OSError as error:
        raise _no_room() from error


class _Reader:
    """Takes a body's bytes. The methods that begin with on_ are those that the parser calls."""

    def __init__(self, spool: BinaryIO, boundary: bytes):
        self._spool = spool
        self._form = Form()
        self._digest = hashlib.sha256()
        self._waiting = bytearray()  # for the disk
        self._written = 0
        self._total = 0
        self._plain = 0  # bytes of fields
        self._parts = 0
        self._ended = False
        self._headers: dict[bytes, bytes] = {}
        self._header = [bytearray(), bytearray()]
        self._header_bytes = 0
        self._value = bytearray()
        self._of_file: tuple[str, str, str] | None = None
        self._name = ""
        self._start = 0
        calls = ("part_begin", "part_data", "part_end", "header_field", "header_value", "header_end", "headers_finished", "end")
        taken = {f"on_{name}": getattr(self, f"on_{name}") for name in calls}
        self._parser = MultipartParser(boundary, cast(Any, taken))
        self._parser.logger = logging.Logger("multipart", logging.CRITICAL + 1)  # it would tell of each client's mistake

    async def feed(self, piece: bytes, limit: int) -> None:
        self._total += len(piece)
        if self._total > limit:
            raise _too_large(limit)
        self._digest.update(piece)
        try:
            self._parser.write(piece)
        except (FormParserError, ValueError):
            raise InvalidRequest("The body is not a valid multipart form.") from None
        if len(self._waiting) >= _BATCH:
            await self._flush()

    async def end(self) -> Form:
        if not self._ended:
            raise InvalidRequest("The multipart form ends too soon: its closing boundary is missing.")
        await self._flush()
        self._form.digest = self._digest.digest()
        return self._form

    async def _flush(self) -> None:
        piece, self._waiting = bytes(self._waiting), bytearray()
        try:
            await asyncio.to_thread(self._spool.write, piece)
            await asyncio.to_thread(self._spool.flush)
        except OSError as error:
            raise _no_room() from error

    def on_part_begin(self) -> None:
        self._parts += 1
        if self._parts > _MOST_PARTS:
            raise InvalidRequest(f"A form has at most {_MOST_PARTS} parts.")
        self._headers, self._header_bytes, self._value = {}, 0, bytearray()

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        self._of_header(0, data[start:end])

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        self._of_header(1, data[start:end])

    def _of_header(self, which: int, piece: bytes) -> None:
        self._header_bytes += len(piece)
        if self._header_bytes > _MOST_HEADERS:
            raise InvalidRequest("A part of the form has headers without end.")
        self._header[which] += piece

    def on_header_end(self) -> None:
        name, value = self._header
        self._headers[bytes(name).lower()] = bytes(value)
        self._header = [bytearray(), bytearray()]

    def on_headers_finished(self) -> None:
        disposition, options = parse_options_header(self._headers.get(b"content-disposition", b""))
        if disposition != b"form-data" or b"name" not in options:
            raise InvalidRequest("A part of the form has no name.")
        self._name = _text(options[b"name"], "name")
        self._of_file = None
        self._start = self._written
        if b"filename" in options:
            kind = self._headers.get(b"content-type", b"").decode("latin-1")
            self._of_file = (self._name, options[b"filename"].decode("utf-8", "replace"), kind)

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        if self._of_file is not None:
            self._waiting += data[start:end]
            self._written += end - start
            return
        self._plain += end - start
        if self._plain > _MOST_FIELDS:
            raise PayloadTooLarge(f"The fields of the form are larger than {_MOST_FIELDS:,} bytes together.")
        self._value += data[start:end]

    def on_part_end(self) -> None:
        if self._of_file is not None:
            span = Span(self._spool, self._start, self._written - self._start)
            self._form.files.append(FilePart(*self._of_file, span))
        else:
            self._form.fields.append((self._name, _text(bytes(self._value), self._name)))

    def on_end(self) -> None:
        self._ended = True


def _text(raw: bytes, name: str) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidRequest(f"The field {name[:80]!r} is not UTF-8.", param=name[:80]) from None


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The upload is larger than {limit:,} bytes, the limit (setting `max_upload_bytes`).")


def _no_room() -> FreeholdError:
    return Unavailable("The server has no room on its disk for this upload.", retry_after=60.0, code="disk_full")
