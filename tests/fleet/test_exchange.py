"""One request and one response over a socket, whatever comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from freehold.errors import EngineBadResponse, EngineTimeout, FreeholdError, ModelFailed
from freehold.fleet.client import EngineClient
from freehold.fleet.exchange import Exchange, Span, Upload, whole
from freehold.fleet.patience import Patience

Answerer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\n"


@asynccontextmanager
async def listening(folder: Path, answerer: Answerer) -> AsyncIterator[Path]:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        try:
            await answerer(reader, writer)
        except ConnectionError:
            pass
        finally:
            writer.close()

    server = await asyncio.start_unix_server(handle, folder / "s")
    async with server:
        yield folder / "s"


def saying(*pieces: bytes) -> Answerer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)

    return answer


async def ask(socket: Path) -> tuple[int, bytes]:
    exchange = await Exchange.begin(socket, "POST", "/x", b"{}")
    with closing(exchange):
        return await exchange.head(), await whole(exchange.read)


async def test_a_body_by_length_and_by_chunks(tmp_path: Path) -> None:
    async with listening(tmp_path, saying(OK + b"Content-Length: 5\r\n\r\nhello")) as socket:
        assert await ask(socket) == (200, b"hello")
    chunked = b"HTTP/1.1 404 No\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    async with listening(tmp_path, saying(chunked)) as socket:
        assert await ask(socket) == (404, b"hello")
    async with listening(tmp_path, saying(*(bytes([byte]) for byte in chunked))) as socket:
        assert await ask(socket) == (404, b"hello")
    async with listening(tmp_path, saying(OK + b"Content-Length: 0\r\n\r\n")) as socket:
        assert await ask(socket) == (200, b"")


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", ModelFailed),
        (b"HTTP/1.1 2", ModelFailed),
        (OK + b"Content-Length: 5\r\n\r\nhel", ModelFailed),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n", ModelFailed),
        (b"not HTTP at all\r\n\r\n", EngineBadResponse),
        (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\nnonsense\r\n", EngineBadResponse),
        (OK + b"Content-Length: -1\r\n\r\n", EngineBadResponse),
        (OK + b"X: y\r\n" * 20_000, EngineBadResponse),
    ],
)
async def test_what_is_no_whole_answer_is_an_error(tmp_path: Path, said: bytes, error: type[FreeholdError]) -> None:
    async with listening(tmp_path, saying(said)) as socket:
        with pytest.raises(error):
            await ask(socket)


async def test_what_came_before_a_failure_is_read_first(tmp_path: Path) -> None:
    async with listening(tmp_path, saying(OK + b"Content-Length: 9\r\n\r\nhello")) as socket:
        exchange = await Exchange.begin(socket, "POST", "/x")
        assert await exchange.head() == 200
        assert await exchange.read() == b"hello"
        with pytest.raises(ModelFailed):
            await exchange.read()


async def test_nobody_listening_is_a_worker_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ModelFailed, match="gone"):
        await Exchange.begin(tmp_path / "nothing", "GET", "/")


async def test_a_slow_reader_makes_the_worker_wait(tmp_path: Path) -> None:
    written = 0
    piece = b"x" * 65536

    async def endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(OK + b"Content-Length: 1000000000\r\n\r\n")
        while True:
            writer.write(piece)
            await writer.drain()
            written += len(piece)

    async with listening(tmp_path, endless) as socket:
        exchange = await Exchange.begin(socket, "POST", "/x")
        await exchange.head()
        before = -1
        while written != before:  # until nothing moves any more
            before = written
            await asyncio.sleep(0.05)
        assert written < 4 * 2**20
        got = 0
        while got < 2 * before:  # it flows again
            got += len(await exchange.read())
        exchange.close()
        with pytest.raises(ModelFailed):
            await whole(exchange.read)


async def test_silence_is_a_timeout_and_noise_is_not(tmp_path: Path) -> None:
    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OK + b"Content-Length: 1000\r\n\r\n")
        for _ in range(10):
            writer.write(b"x")
            await asyncio.sleep(0.05)
        await reader.read()

    async with listening(tmp_path, slow) as socket:
        got = b""
        with pytest.raises(EngineTimeout):
            async with EngineClient(socket).stream("/x", b"", first=5, idle=0.3) as stream:
                while True:
                    got += await stream.read()
        assert got == b"x" * 10


@settings(max_examples=300, deadline=None)
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_whatever_bytes_come_end_in_an_answer_or_an_error(pieces: list[bytes]) -> None:
    async def feed() -> None:
        exchange = Exchange(b"", Path("s"))
        for piece in (OK, *pieces):
            exchange.data_received(piece)
        exchange.connection_lost(None)
        try:
            await exchange.head()
            await whole(exchange.read)
        except (ModelFailed, EngineBadResponse):
            pass

    asyncio.run(feed())


# --- patience


async def test_patience_ends_the_wait_that_is_too_long_and_no_other() -> None:
    with Patience(0.1, ValueError) as patience:
        for _ in range(5):
            patience.begin()
            await asyncio.sleep(0.04)
            patience.end()
        await asyncio.sleep(0.25)  # not one of the waits that count
    with pytest.raises(LookupError), Patience(0.05, LookupError) as patience:
        patience.begin()
        await asyncio.sleep(10)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_a_cancellation_from_elsewhere_passes_through() -> None:
    async def wait() -> None:
        with Patience(10, ValueError) as patience:
            patience.begin()
            await asyncio.sleep(10)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_an_upload_is_sent_whole_and_read_where_it_stands(tmp_path: Path) -> None:
    stored = tmp_path / "file"
    stored.write_bytes(bytes(range(256)) * 12_000)
    expected = b"before" + stored.read_bytes()[1000:2_500_000] + b"after"

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        body = await reader.readexactly(len(expected))
        writer.write(OK + b"Content-Type: text/plain\r\nContent-Length: 2\r\n\r\n" + (b"ok" if body == expected else b"no"))
        await writer.drain()

    with stored.open("rb") as file:
        upload = Upload("x/y", (b"before", Span(file, 1000, 2_499_000), b"after"))
        assert len(upload) == len(expected)
        async with listening(tmp_path, echo) as socket:
            for _ in range(2):
                with closing(await Exchange.begin(socket, "POST", "/x", upload)) as exchange:
                    assert (await exchange.head(), await whole(exchange.read)) == (200, b"ok")
                    assert exchange.content_type == "text/plain"


async def test_an_upload_ends_when_the_worker_answers_early_or_goes(tmp_path: Path) -> None:
    stored = tmp_path / "file"
    stored.write_bytes(b"x" * (8 << 20))
    early = b"HTTP/1.1 413 No\r\nContent-Length: 2\r\n\r\nno"
    with stored.open("rb") as file:
        upload = Upload("x/y", (Span(file, 0, 8 << 20),))
        async with listening(tmp_path, saying(early)) as socket:
            with closing(await Exchange.begin(socket, "POST", "/x", upload)) as exchange:
                assert (await exchange.head(), await whole(exchange.read)) == (413, b"no")
        async with listening(tmp_path, saying(b"")) as socket:
            with closing(await Exchange.begin(socket, "POST", "/x", upload)) as exchange, pytest.raises(ModelFailed):
                await exchange.head()
