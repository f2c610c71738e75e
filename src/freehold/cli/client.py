"""The command line's HTTP client, on the standard library because it must start fast.

It follows no redirect and uses no proxy: the key and the prompt go to the address that was named, and nowhere else.
"""

from __future__ import annotations

import contextlib
import functools
import http.client
import itertools
import json
import os
import secrets
import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, BinaryIO
from urllib.parse import quote, urlencode, urlsplit

from freehold.errors import OperatorError, SettingsError

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

QUICK = 10.0  # seconds: the server answers these from memory
PATIENT = 1000.0  # seconds: beyond the server's own limits for queue, load and first token
_LONGEST_LINE = 16 * 2**20
_PIECE = 64 * 1024


class NoServer(OperatorError):
    """Nothing listens at that address."""


class ServerError(OperatorError):
    """The server answered with an error, or not as it should: its status, 0 without one, and the envelope's code."""

    def __init__(self, message: str, remedy: str = "", answered: int = 0, code: str | None = None):
        super().__init__(message, remedy)
        self.answered = answered
        self.code = code


class Client:
    """One server, by its address, with or without the /v1 that SDKs want. Raises SettingsError for what is no address."""

    def __init__(self, base: str, key: str | None = None):
        try:
            parts = urlsplit(base.rstrip("/"))
            self._scheme, self._host, self._port = parts.scheme, parts.hostname, parts.port
        except ValueError:
            raise SettingsError(f"{base!r} is not an address.", "It looks like http://127.0.0.1:8080.") from None
        if self._scheme not in ("http", "https") or not self._host or parts.username or parts.query or parts.fragment:
            raise SettingsError(f"{base!r} is not an address.", "It looks like http://127.0.0.1:8080.")
        if key is not None and not (key.isascii() and key.isprintable()):
            raise SettingsError("The API key has characters that no key has.", "Check --api-key and FREEHOLD_API_KEY.")
        self._prefix = parts.path.removesuffix("/v1")
        self.base = f"{self._scheme}://{parts.netloc}{self._prefix}"
        self._headers = {"Accept": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})

    def version(self) -> Any:
        """The server's name, version and pid. Raises ServerError when what answers is not Freehold."""
        stranger = ServerError(f"What answers at {self.base} is not Freehold.", "Name the server's address: --url.")
        try:
            answer = self.get("/api/version")
        except ServerError as error:
            # A Freehold that wants a key says so in OpenAI's words; others have neither the words nor the page.
            raise error if error.code in ("invalid_api_key", "forbidden", "shutting_down") else stranger from None
        if not isinstance(answer, dict) or answer.get("name") != "freehold":
            raise stranger
        return answer

    def models(self, everything: bool = False) -> list[Any]:
        """The installed models; with `everything`, those that other programs keep on the server's machine, too."""
        answer = self.get("/v1/models" + ("?all=true" if everything else ""))
        data = answer.get("data") if isinstance(answer, dict) else None
        if not isinstance(data, list):
            raise ServerError(f"{self.base}/v1/models is not a list of models.", "Is --url right?")
        return [card for card in data if isinstance(card, dict) and isinstance(card.get("id"), str)]

    def model(self, name: str) -> Any:
        return self.get(f"/v1/models/{quote(name, safe='/:')}")

    def delete_model(self, name: str) -> None:
        self.call("DELETE", f"/v1/models/{quote(name, safe='/:')}", seconds=60)

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, seconds: float = QUICK) -> Any:
        """The JSON answer. Raises NoServer or ServerError."""
        with self._sent(method, path, body, seconds) as response:
            try:
                return json.loads(response.read())
            except ValueError:
                raise ServerError(f"{self.base}{path} did not answer with JSON.", "Is --url right?") from None

    def stream(self, path: str, body: Mapping[str, Any]) -> Iterator[Any]:
        """The values of a stream of server-sent events, until its [DONE]. Closing the iterator hangs up, which stops the model.

        Raises ServerError for an error in the stream, and for a stream that just ends.
        """
        with self._sent("POST", path, {**body, "stream": True}, PATIENT) as response:
            while line := response.readline(_LONGEST_LINE):
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                try:
                    value = json.loads(data)
                except ValueError:
                    raise ServerError("The server sent something that is not JSON.") from None
                if isinstance(value, dict) and "error" in value:
                    raise _enveloped(value, 0)
                yield value
        raise ServerError("The answer broke off.", "Is the server still running?")

    def pieces(self, path: str, body: Mapping[str, Any]) -> Iterator[bytes]:
        """An answer's bytes as they come. Closing the iterator hangs up. Raises NoServer, and ServerError also for an answer
        that breaks off."""
        with self._sent("POST", path, body, PATIENT) as response:
            while piece := response.read1(_PIECE):
                yield piece

    @contextlib.contextmanager
    def socket(self, path: str, query: Mapping[str, str]) -> Iterator[ClientConnection]:
        """A WebSocket. Raises NoServer or ServerError."""
        from websockets.exceptions import InvalidHandshake, InvalidStatus
        from websockets.sync.client import connect

        address = f"{self.base.replace('http', 'ws', 1)}{path}?{urlencode(query)}"
        key = {name: value for name, value in self._headers.items() if name == "Authorization"}
        try:
            connection = connect(
                address, additional_headers=key, open_timeout=PATIENT, compression=None, proxy=None, max_size=_LONGEST_LINE
            )
        except InvalidStatus as error:
            raise _enveloped(_json(error.response.body), error.response.status_code) from None
        except (InvalidHandshake, EOFError):
            raise ServerError(f"{self.base}{path} is no WebSocket.", "Is --url right?") from None
        except OSError as error:
            raise NoServer(f"No server answers at {self.base} ({error.strerror or error}).", "Start one: freehold up") from None
        with connection:
            yield connection

    @contextlib.contextmanager
    def answer(self, path: str, body: Mapping[str, Any]) -> Iterator[http.client.HTTPResponse]:
        """The response to a POST, to be read as it comes."""
        with self._sent("POST", path, body, PATIENT) as response:
            yield response

    @contextlib.contextmanager
    def upload(self, path: str, fields: Mapping[str, str], file: BinaryIO) -> Iterator[http.client.HTTPResponse]:
        """The response to a form with that file as its `file`, which is read as it is sent; to be read as it comes."""
        boundary = secrets.token_hex(24)
        head = "".join(_part(boundary, f'name="{name}"', value) for name, value in fields.items())
        head += _part(boundary, 'name="file"; filename="file"\r\nContent-Type: application/octet-stream', "")
        ends = head.removesuffix("\r\n").encode(), f"\r\n--{boundary}--\r\n".encode()
        size = len(ends[0]) + file.seek(0, os.SEEK_END) + len(ends[1])
        file.seek(0)
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Content-Length": str(size)}
        pieces = itertools.chain(ends[:1], iter(functools.partial(file.read, 1 << 16), b""), ends[1:])
        with self._sent("POST", path, None, PATIENT, upload=(headers, pieces)) as response:
            yield response

    @contextlib.contextmanager
    def _sent(
        self,
        method: str,
        path: str,
        body: Mapping[str, Any] | None,
        seconds: float,
        upload: tuple[Mapping[str, str], Iterable[bytes]] | None = None,
    ) -> Iterator[http.client.HTTPResponse]:
        """A request's response with a good status; whatever the network does becomes NoServer or ServerError."""
        connection = self._connect(seconds)
        headers = self._headers | ({"Content-Type": "application/json"} if body is not None else {})
        sent: str | Iterable[bytes] | None = None if body is None else json.dumps(body)
        if upload is not None:
            headers, sent = {**headers, **upload[0]}, upload[1]
        try:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # it answers before all is sent: a refusal
                connection.request(method, self._prefix + path, sent, headers)
            response = connection.getresponse()
            if response.status >= 300:
                raise self._refusal(response)
            yield response
        except TimeoutError:
            raise ServerError(f"The server at {self.base} does not answer.", "Is it overloaded?") from None
        except (OSError, http.client.HTTPException) as error:
            raise ServerError(f"The connection to {self.base} broke ({error or type(error).__name__}).", "Try again.") from None
        finally:
            connection.close()

    def _connect(self, seconds: float) -> http.client.HTTPConnection:
        assert self._host is not None  # noqa: S101 - checked in __init__
        connection: http.client.HTTPConnection
        if self._scheme == "https":
            connection = http.client.HTTPSConnection(
                self._host, self._port, timeout=seconds, context=ssl.create_default_context()
            )
        else:
            connection = http.client.HTTPConnection(self._host, self._port, timeout=seconds)
        try:
            connection.timeout = QUICK
            connection.connect()
            connection.sock.settimeout(seconds)
        except ssl.SSLError as error:
            raise ServerError(
                f"No secure connection to {self.base}: {error.reason or error}.", "Is it http:// there?"
            ) from None
        except (ConnectionRefusedError, socket.gaierror, TimeoutError, OSError) as error:
            reason = "" if isinstance(error, ConnectionRefusedError) else f" ({error.strerror or error})"
            raise NoServer(f"No server answers at {self.base}{reason}.", "Start one: freehold up") from None
        return connection

    def _refusal(self, response: http.client.HTTPResponse) -> ServerError:
        if response.status < 400:
            return ServerError(f"{self.base} redirects to another address.", "Name that one: --url.", response.status)
        try:
            value = json.loads(response.read(2**20))
        except ValueError:
            value = None
        return _enveloped(value, response.status)


def _json(body: bytes | bytearray | None) -> Any:
    try:
        return json.loads(body or b"")
    except ValueError:
        return None


def _part(boundary: str, disposition: str, value: str) -> str:
    return f"--{boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n"


def _enveloped(value: Any, status: int) -> ServerError:
    """The error in OpenAI's envelope; for anything else, the bare status."""
    error = value.get("error") if isinstance(value, dict) else None
    if not isinstance(error, dict) or not isinstance(error.get("message"), str):
        return ServerError(
            f"The server answered with status {status}." if status else "The server ended with an error.", "", status
        )
    remedy = "Give it with --api-key or FREEHOLD_API_KEY." if status == 401 else ""
    return ServerError(error["message"], remedy, status, error.get("code"))
