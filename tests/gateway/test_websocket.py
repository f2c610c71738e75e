"""WebSockets on our own connections: an echo behind the server's real connection layer, and clients of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.requests import Request
from starlette.types import Receive, Scope, Send
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from freehold.errors import FreeholdError
from freehold.gateway import websocket
from freehold.gateway.http import error_response
from freehold.gateway.server import ServerConfig
from freehold.gateway.websocket import Upgraded, WebSocket, check_offered, subprotocols
from freehold.settings import HttpSettings
from freehold.telemetry import Telemetry

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455 §1.3
HANDSHAKE = (
    f"GET /echo HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    f"Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
).encode()


class Echo:
    """Says what it hears. "flood" makes it talk without end, "stop" makes it return, "stall" makes it listen no more."""

    def __init__(self) -> None:
        self.talking = 0
        self.server: uvicorn.Server | None = None
        self.port = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        try:
            check_offered(request)
            if request.url.path == "/no":
                raise FreeholdError("No.")
            offered = subprotocols(request)
            await Upgraded(self.talk, offered[0] if offered else None)(scope, receive, send)
        except FreeholdError as error:
            await error_response(error)(scope, receive, send)

    async def talk(self, client: WebSocket) -> None:
        self.talking += 1
        try:
            while True:
                message = await client.receive()
                match message:
                    case "flood":
                        while True:
                            client.put(b"x" * 65536)
                            await client.writable()
                    case "stop":
                        return
                    case "bug":
                        raise RuntimeError
                    case "stall":
                        await asyncio.Event().wait()
                client.put(message.encode() if isinstance(message, str) else b"%d bytes" % len(message))
                await client.writable()
        finally:
            self.talking -= 1


@pytest.fixture(scope="module")
async def echo() -> AsyncIterator[Echo]:
    app = Echo()
    listener = socket.create_server(("127.0.0.1", 0))
    app.port = listener.getsockname()[1]
    config = ServerConfig(app, HttpSettings(header_timeout=5), 100, 0.5, Telemetry())
    app.server = uvicorn.Server(config)
    app.server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    serving = asyncio.create_task(app.server.serve(sockets=[listener]))
    try:
        yield app
    finally:
        app.server.should_exit = app.server.force_exit = True
        await serving


async def true(condition: object, within: float = 10) -> None:
    async with asyncio.timeout(within):
        while not condition():  # type: ignore[operator]
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def client(echo: Echo, **options: object) -> AsyncIterator[ClientConnection]:
    async with connect(f"ws://127.0.0.1:{echo.port}/echo", proxy=None, **options) as connection:  # type: ignore[arg-type]
        yield connection


class Raw:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter):
        self.reader, self.writer = reader, writer

    async def frame(self) -> tuple[int, bytes]:
        """(first byte, payload) of a short or long frame from the server."""
        first, length = await self.reader.readexactly(2)
        if length == 126:
            (length,) = struct.unpack("!H", await self.reader.readexactly(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", await self.reader.readexactly(8))
        return first, await self.reader.readexactly(length)


@contextlib.asynccontextmanager
async def raw(echo: Echo, *data: bytes) -> AsyncIterator[Raw]:
    reader, writer = await asyncio.open_connection("127.0.0.1", echo.port)
    try:
        writer.writelines(data)
        async with asyncio.timeout(20):
            yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def masked(first: int, payload: bytes) -> bytes:
    """A client's frame whose mask changes nothing."""
    length = bytes([0x80 | len(payload)]) if len(payload) < 126 else bytes([0x80 | 127]) + struct.pack("!Q", len(payload))
    return bytes([first]) + length + bytes(4) + payload


async def test_messages_go_both_ways_and_a_handshake_names_its_protocol(echo: Echo) -> None:
    async with client(echo, subprotocols=["realtime", "other"], max_size=None) as talk:
        assert talk.subprotocol == "realtime"
        await talk.send("grüße")
        assert await talk.recv() == "grüße"
        await talk.send(["in ", "three ", "parts"])
        assert await talk.recv() == "in three parts"
        await talk.send(b"12345")
        assert await talk.recv() == "5 bytes"
        await (await talk.ping())
        large = "x" * 3_000_000
        await talk.send(large)
        assert await talk.recv() == str(large)
    assert talk.close_code == 1000
    await true(lambda: echo.talking == 0)


async def test_a_frame_sent_ahead_of_the_answer_is_heard(echo: Echo) -> None:
    async with raw(echo, HANDSHAKE + b"\r\n" + masked(0x81, b"early")) as eager:
        head = await eager.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 101 ")
        assert b"sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head  # as the RFC's example has it
        assert await eager.frame() == (0x81, b"early")


async def test_more_than_a_little_ahead_of_the_answer_is_not_kept(echo: Echo) -> None:
    async with raw(echo, HANDSHAKE + b"\r\n" + masked(0x82, b"x" * 2**18)) as hasty:
        with contextlib.suppress(ConnectionError):
            await hasty.reader.read()
    await true(lambda: echo.talking == 0)


async def test_a_client_that_left_before_the_upgrade_leaves_nothing(echo: Echo) -> None:
    for _ in range(5):
        async with raw(echo, HANDSHAKE + b"\r\n") as hasty:
            await hasty.writer.drain()
    assert echo.server is not None
    await true(lambda: not echo.server.server_state.tasks)
    assert echo.talking == 0


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        (b"", 426, "upgrade_required"),
        (b"Upgrade: h2c\r\nConnection: Upgrade\r\n", 426, "upgrade_required"),
        (b"Upgrade: websocket\r\nConnection: Upgrade\r\n", 400, "malformed_request"),
        (b"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: short\r\nSec-WebSocket-Version: 13\r\n", 400, None),
        (
            f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 8\r\n".encode(),
            426,
            "upgrade_required",
        ),
        (HANDSHAKE.partition(b"localhost\r\n")[2] + b"Content-Length: 3\r\n", 426, "upgrade_required"),
    ],
)
async def test_what_is_no_handshake_gets_an_ordinary_error(echo: Echo, lines: bytes, status: int, code: str | None) -> None:
    async with raw(echo, b"GET /echo HTTP/1.1\r\nHost: localhost\r\n" + lines + b"\r\n123") as other:
        head = await other.reader.readuntil(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 %d " % status)
        if status == 426:
            assert b"upgrade: websocket" in head.lower()
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        error = json.loads(await other.reader.readexactly(length))["error"]
        assert code is None or error["code"] == code


async def test_an_error_before_the_upgrade_is_an_answer_of_http(echo: Echo) -> None:
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"ws://127.0.0.1:{echo.port}/no", proxy=None):
            pass
    assert refused.value.response.status_code == 500
    assert json.loads(refused.value.response.body or b"")["error"]["message"] == "No."


async def test_a_handler_that_returns_or_fails_closes_with_a_code(echo: Echo) -> None:
    for word, code in (("stop", 1000), ("bug", 1011)):
        async with client(echo) as talk:
            await talk.send(word)
            with pytest.raises(ConnectionClosed):
                await talk.recv()
            assert talk.close_code == code


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x05hello", 1002),  # not masked
        (masked(0xF1, b"x"), 1002),  # reserved bits
        (masked(0x83, b"x"), 1002),  # an unknown opcode
        (masked(0x80, b"x"), 1002),  # the rest of nothing
        (masked(0x81, b"\xff\xfe"), 1007),
        (b"\x81" + bytes([0x80 | 127]) + struct.pack("!Q", 2**40), 1009),
        (masked(0x01, b"x" * 2**20) * 1 + masked(0x00, b"x" * 2**20) * 17, 1009),
        (masked(0x88, struct.pack("!H", 999)), 1002),
    ],
)
async def test_what_is_not_the_protocol_closes_with_its_code(echo: Echo, data: bytes, code: int) -> None:
    async with raw(echo, HANDSHAKE + b"\r\n") as rude:
        await rude.reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            for start in range(0, len(data), 2**16):
                rude.writer.write(data[start : start + 2**16])
                await rude.writer.drain()
        first, payload = await rude.frame()
        assert (first, struct.unpack("!H", payload[:2])[0]) == (0x88, code)
        assert await rude.reader.read() == b""
    await true(lambda: echo.talking == 0)


async def test_a_client_that_leaves_without_a_word_ends_the_handler(echo: Echo) -> None:
    async with raw(echo, HANDSHAKE + b"\r\n" + masked(0x81, b"flood")) as gone:
        await true(lambda: echo.talking == 1)
        gone.writer.transport.abort()
    await true(lambda: echo.talking == 0)


async def test_a_client_that_does_not_read_is_cut_off_after_the_write_timeout(echo: Echo) -> None:
    async with raw(echo, HANDSHAKE + b"\r\n" + masked(0x81, b"flood")) as stuck:
        stuck.reader._transport.pause_reading()  # type: ignore[attr-defined]
        await true(lambda: echo.talking == 1)
        await true(lambda: echo.talking == 0)


async def test_a_client_that_is_not_listened_to_is_made_to_wait(echo: Echo) -> None:
    """A handler that takes nothing holds back the client, not the messages."""
    async with raw(echo, HANDSHAKE + b"\r\n" + masked(0x81, b"stall")) as eager:
        await eager.reader.readuntil(b"\r\n\r\n")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1):
                for _ in range(400):
                    eager.writer.write(masked(0x82, b"x" * 2**18))
                    await eager.writer.drain()
        assert echo.talking == 1
    assert echo.server is not None
    for connection in echo.server.server_state.connections:
        connection.transport.abort()  # type: ignore[union-attr]
    for task in list(echo.server.server_state.tasks):
        task.cancel()
    await true(lambda: echo.talking == 0)


async def test_a_flood_of_pings_that_nobody_reads_the_answers_of_is_no_heap(echo: Echo) -> None:
    async with raw(echo, HANDSHAKE + b"\r\n") as pinging:
        await pinging.reader.readuntil(b"\r\n\r\n")
        pinging.reader._transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises((TimeoutError, ConnectionError)):
            async with asyncio.timeout(8):
                while True:
                    pinging.writer.write(masked(0x89, b"x" * 100) * 500)
                    await pinging.writer.drain()
    await true(lambda: echo.talking == 0)


async def test_a_client_that_answers_no_ping_is_gone(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "PING", 0.2)
    async with raw(echo, HANDSHAKE + b"\r\n") as silent:
        await silent.reader.readuntil(b"\r\n\r\n")
        first, payload = await silent.frame()
        while first == 0x89:
            first, payload = await silent.frame()
        assert (first, struct.unpack("!H", payload[:2])[0]) == (0x88, 1011)
    async with client(echo) as lively:  # the library answers pings by itself
        await asyncio.sleep(0.7)
        await lively.send("still here")
        assert await lively.recv() == "still here"


async def test_a_client_that_does_not_say_good_bye_back_is_cut_off(echo: Echo, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(websocket, "_LINGER", 0.3)
    async with raw(echo, HANDSHAKE + b"\r\n" + masked(0x81, b"stop")) as rude:
        await rude.reader.readuntil(b"\r\n\r\n")
        assert (await rude.frame())[0] == 0x88
        with contextlib.suppress(ConnectionError):
            assert await rude.reader.read() == b""


async def test_a_server_that_ends_says_so(echo: Echo) -> None:
    async with client(echo) as talk:
        assert echo.server is not None
        for connection in echo.server.server_state.connections:
            connection.shutdown()
        with pytest.raises(ConnectionClosed):
            await talk.recv()
        assert talk.close_code == 1001
