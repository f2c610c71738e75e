"""What a connection judges before there is a request: its head, and how much is kept for a client."""

from __future__ import annotations

import asyncio
import contextlib
import socket

from freehold.errors import HeadersTooLarge, InvalidRequest

MOST_HEAD = 64 * 1024  # bytes of request line and headers, of trailers, and of what may be sent ahead of an answer
# Bytes that the kernel keeps to be sent. By itself it would grow to 4 MiB for a client that takes nothing, and the time such
# a client is given would begin when all of it is full.
_MOST_UNSENT = 128 * 1024


def malformed(message: str) -> InvalidRequest:
    return InvalidRequest(message, code="malformed_request")


def too_large() -> HeadersTooLarge:
    return HeadersTooLarge(f"The request's head is larger than {MOST_HEAD:,} bytes, the limit.")


def too_much_ahead() -> HeadersTooLarge:
    return HeadersTooLarge("Too much was sent ahead of an answer.")


def offers_websocket(method: bytes, headers: list[tuple[bytes, bytes]]) -> bool:
    """Whether this is a handshake of RFC 6455 §4.1; one with a body is not."""
    body = any(name == b"transfer-encoding" or (name == b"content-length" and value != b"0") for name, value in headers)
    upgrades = [value.strip().lower() for name, value in headers if name == b"upgrade"]
    return method == b"GET" and upgrades == [b"websocket"] and not body


def size(headers: list[tuple[bytes, bytes]]) -> int:
    return sum(len(name) + len(value) for name, value in headers)


def address(transport: asyncio.BaseTransport, name: str) -> tuple[str, int] | None:
    found = transport.get_extra_info(name)
    return (str(found[0]), int(found[1])) if isinstance(found, tuple) and len(found) > 1 else None


def hold_little(transport: asyncio.BaseTransport) -> None:
    """Bounds what the kernel keeps for a client."""
    if hasattr(socket, "TCP_NOTSENT_LOWAT"):
        with contextlib.suppress(OSError):
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _MOST_UNSENT)
