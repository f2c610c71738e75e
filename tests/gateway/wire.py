"""Requests as bytes over a socket, for what no HTTP client would send."""

from __future__ import annotations

import contextlib
import http.client
import io
import json
import socket
from typing import Any

CHAT = "/v1/chat/completions"


def directive(**faults: Any) -> str:
    """What tells the fake engine how an answer goes."""
    return f"[[fake:{json.dumps(faults)}]]"


def payload(text: str, **fields: Any) -> bytes:
    return json.dumps({"model": "fake", "messages": [{"role": "user", "content": text}], **fields}).encode()


def get(path: str = "/livez", *headers: str) -> bytes:
    return "".join(f"{line}\r\n" for line in (f"GET {path} HTTP/1.1", "Host: localhost", *headers, "")).encode()


def post(body: bytes, *headers: str, path: str = CHAT, length: bool = True) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", *headers]
    lines += [f"Content-Length: {len(body)}"] if length else []
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode() + body


def chunked(*pieces: bytes) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)


class Raw:
    """A connection; `answers` reads as many responses as were asked for."""

    def __init__(self, port: int, *data: bytes, timeout: float = 20):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=timeout)
        for piece in data:
            self.socket.sendall(piece)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def answer(self, method: str = "POST") -> tuple[int, dict[str, str], Any]:
        """(status, headers, JSON or bytes) of the next response."""
        response = http.client.HTTPResponse(self.socket, method=method)
        response.fp.close()
        response.fp = _Unbuffered(self.socket)  # or it would read into the next response
        response.begin()
        body = response.read()
        headers = {name.lower(): value for name, value in response.headers.items()}
        return response.status, headers, json.loads(body) if body and "json" in headers.get("content-type", "") else body

    def ended(self) -> bool:
        """Whether the server closes, after whatever it still had to say."""
        with contextlib.suppress(ConnectionError):
            while self.socket.recv(65536):
                pass
        return True

    def rest(self) -> bytes:
        data = b""
        while piece := self.socket.recv(65536):
            data += piece
        return data


class _Unbuffered(io.RawIOBase):
    """Reads from a socket no more than it is asked for."""

    def __init__(self, source: socket.socket):
        self._source = source

    def readinto(self, buffer: Any) -> int:
        return self._source.recv_into(buffer)

    def readable(self) -> bool:
        return True

    def readline(self, limit: int | None = -1) -> bytes:
        line = bytearray()
        while not line.endswith(b"\n") and (limit is None or limit < 0 or len(line) < limit):
            piece = self._source.recv(1)
            if not piece:
                break
            line += piece
        return bytes(line)
