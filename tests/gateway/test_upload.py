"""Forms with files in them: read in pieces of any size, bounded in all that a client chooses, and sent on as they came."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from freehold.errors import FreeholdError, InvalidRequest, PayloadTooLarge, UnsupportedMediaType
from freehold.fleet.exchange import Span, Upload
from freehold.gateway.http import ClientGone
from freehold.gateway.upload import Form, received

BOUNDARY = "b0undary"
LIMIT = 1 << 20


def part(name: str, value: bytes, filename: str | None = None, kind: str = "audio/wav") -> bytes:
    head = f'Content-Disposition: form-data; name="{name}"'
    if filename is not None:
        head += f'; filename="{filename}"\r\nContent-Type: {kind}'
    return f"--{BOUNDARY}\r\n{head}\r\n\r\n".encode() + value + b"\r\n"


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()


def request(body: bytes, step: int = 7, *, leaves: bool = False, **headers: str) -> Request:
    """A request whose body comes in pieces of `step` bytes; with `leaves`, its client is gone before the end."""
    pieces = [body[start : start + step] for start in range(0, len(body), step)] or [b""]

    def messages() -> Iterator[dict[str, object]]:
        for piece in pieces:
            yield {"type": "http.request", "body": piece, "more_body": True}
        yield {"type": "http.disconnect"} if leaves else {"type": "http.request", "body": b"", "more_body": False}

    coming = messages()

    async def receive() -> dict[str, object]:
        return next(coming)

    sent = {"content_type": f"multipart/form-data; boundary={BOUNDARY}"} | headers
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in sent.items()]
    return Request({"type": "http", "method": "POST", "path": "/", "headers": raw}, receive)


@contextlib.asynccontextmanager
async def read(asked: Request, folder: Path, limit: int = LIMIT) -> AsyncIterator[Form]:
    with contextlib.ExitStack() as held:
        yield await received(asked, folder, limit, held)


def content(span: Span) -> bytes:
    return os.pread(span.file.fileno(), span.size, span.start)


def whole(upload: Upload) -> bytes:
    return b"".join(content(segment) if isinstance(segment, Span) else segment for segment in upload.segments)


@pytest.mark.parametrize("step", [1, 3, 64, 1 << 20])
async def test_fields_and_files_come_as_they_were_sent(tmp_path: Path, step: int) -> None:
    body = form(part("model", b"m"), part("file", b"\x00\r\n--no\r\n", "a.wav"), part("x", "é".encode()), part("two", b"", "b"))
    async with read(request(body, step), tmp_path) as got:
        assert got.fields == [("model", "m"), ("x", "é")]
        assert [(file.name, file.filename, content(file.span)) for file in got.files] == [
            ("file", "a.wav", b"\x00\r\n--no\r\n"),
            ("two", "b", b""),
        ]
    assert list(tmp_path.iterdir()) == []


async def test_what_is_sent_on_says_the_same(tmp_path: Path) -> None:
    body = form(
        part("file", b"sound", "../../é \\ x.wav", "no kind; at all"), part("model", b"m"), part("mask", b"m" * 5000, "m")
    )
    async with read(request(body, 100), tmp_path) as got:
        upload = got.upload([("language", "en")], got.files)
        sent = whole(upload)
        assert len(sent) == len(upload)
        again = request(sent, 50, content_type=upload.content_type)
        async with read(again, tmp_path) as second:
            assert second.fields == [("language", "en")]
            assert [(file.name, content(file.span)) for file in second.files] == [("file", b"sound"), ("mask", b"m" * 5000)]
            assert {file.filename for file in second.files} == {"file"}  # a client's own words go no further


@given(st.binary(max_size=400))
async def test_any_bytes_are_a_form_or_refused(body: bytes) -> None:
    folder = Path("/tmp")  # hypothesis asks for no fixture of one test; the files have no name
    with contextlib.suppress(InvalidRequest, ClientGone):
        async with read(request(f"--{BOUNDARY}\r\n".encode() + body), folder):
            pass


@pytest.mark.parametrize(
    ("body", "error", "says"),
    [
        (b"", InvalidRequest, "ends too soon"),
        (b"no form", InvalidRequest, "not a valid"),
        (part("file", b"x", "f"), InvalidRequest, "ends too soon"),
        (form(b"--" + BOUNDARY.encode() + b"\r\n\r\nx\r\n"), InvalidRequest, "no name"),
        (form(part("model", b"\xff\xfe")), InvalidRequest, "not UTF-8"),
        (form(*[part(f"f{n}", b"x") for n in range(300)]), InvalidRequest, "at most 256"),
        (form(part("f", b"x", "y" * 20_000)), InvalidRequest, "not a valid"),
        (form(part("f", b"x" * (LIMIT + 1), "y")), PayloadTooLarge, "max_upload_bytes"),
    ],
)
async def test_what_is_no_form_is_refused(tmp_path: Path, body: bytes, error: type[FreeholdError], says: str) -> None:
    with pytest.raises(error, match=says):
        async with read(request(body, 4096), tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_fields_without_end_are_refused_before_they_fill_memory(tmp_path: Path) -> None:
    with pytest.raises(PayloadTooLarge, match="fields of the form"):
        async with read(request(form(part("prompt", b"x" * (5 << 20))), 1 << 16), tmp_path, 1 << 30):
            pass


async def test_a_claim_is_enough_to_be_refused(tmp_path: Path) -> None:
    with pytest.raises(PayloadTooLarge):
        async with read(request(b"", content_length=str(10 * 2**30)), tmp_path):
            pass
    with pytest.raises(UnsupportedMediaType):
        async with read(request(b"{}", content_type="application/json"), tmp_path):
            pass
    with pytest.raises(UnsupportedMediaType):
        async with read(request(b"", content_type="multipart/form-data"), tmp_path):
            pass


async def test_a_client_that_leaves_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ClientGone):
        async with read(request(part("file", b"x" * 5000, "f"), leaves=True), tmp_path):
            pass
    assert list(tmp_path.iterdir()) == []


async def test_a_file_that_is_missing_twice_or_text_is_named(tmp_path: Path) -> None:
    async with read(request(form(part("a", b"1", "x"), part("a", b"2", "x"), part("b", b"text"))), tmp_path) as got:
        for name, says in (("a", "more than once"), ("b", "must be a file"), ("file", "is required")):
            with pytest.raises(InvalidRequest, match=says) as caught:
                got.file(name)
            assert caught.value.param == name
