"""The one HTTP client of all sources: https, the user's proxy and certificates, and every hop of a redirect checked.

Credentials are sent to the host they are for and never follow a redirect to another.
"""

from __future__ import annotations

import http.client
import json
import ssl
import urllib.error
import urllib.request
from collections.abc import Mapping
from email.message import Message
from typing import IO, Any
from urllib.parse import urlsplit

import freehold
from freehold.errors import SourceUnreachable
from freehold.store.sources import addresses

MAX_HOPS = 5
_NEXT = "Check the network, and try again."


class Refused(Exception):
    """A status that says no: 4xx or 5xx. `after` is the Retry-After in seconds, where there is one."""

    def __init__(self, host: str, status: int, reason: str, after: float | None, headers: Mapping[str, str]):
        super().__init__(f"{host} answers {status} {reason}".strip())
        self.host = host
        self.status = status
        self.after = after
        self.headers = headers


class Broken(Exception):
    """The network failed in a way that it may not the next time."""


def open_(url: str, headers: Mapping[str, str], secrets: Mapping[str, str], silence: float) -> Any:
    """The response to a GET, to be closed by the caller. `silence` is the longest wait for a byte, in seconds.

    Raises Refused, Broken; StoreError where the address or a redirect leads to what is not fetched.
    """
    addresses.check(url)
    request = urllib.request.Request(  # noqa: S310 - the scheme was checked
        url, headers={"User-Agent": f"freehold/{freehold.__version__}", "Accept-Encoding": "identity", **headers}
    )
    for name, value in secrets.items():
        request.add_unredirected_header(name, value)
    way = addresses.Way(url)
    # http is for this machine alone, where a proxy has no business.
    proxies = {scheme: proxy for scheme, proxy in urllib.request.getproxies().items() if scheme == "https"}
    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler(proxies), _Http(way), _Https(way), _Redirects(url, way, secrets)
    )
    try:
        return opener.open(request, timeout=silence)
    except urllib.error.HTTPError as error:
        error.close()
        plain = {name.lower(): value for name, value in error.headers.items()}
        raise Refused(_host(error.url or url), error.code, str(error.reason)[:100], _seconds(error.headers), plain) from None
    except (TimeoutError, OSError, http.client.HTTPException) as error:
        raise Broken(why(error)) from None


def read(url: str, *, headers: Mapping[str, str], limit: int, silence: float = 30.0) -> bytes:
    """A small document. Raises SourceUnreachable when it is larger than `limit` bytes; Refused, Broken, StoreError."""
    with open_(url, headers, {}, silence) as response:
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise SourceUnreachable(f"{_host(url)} answers in an encoding that was not asked for.", _NEXT)
        data = bytearray()
        try:
            while piece := response.read1(1 << 16):
                data += piece
                if len(data) > limit:
                    raise SourceUnreachable(f"What {_host(url)} answers is larger than it can be.", "Do not trust that host.")
        except (TimeoutError, OSError, http.client.HTTPException) as error:
            raise Broken(why(error)) from None
    return bytes(data)


def read_json(url: str, *, headers: Mapping[str, str], limit: int) -> Any:
    """A small JSON document, as `read`."""
    try:
        return json.loads(read(url, headers=headers, limit=limit))
    except (ValueError, RecursionError):
        raise SourceUnreachable(f"What {_host(url)} answers is not JSON.", "Is that the right host?") from None


def why(error: BaseException) -> str:
    """What the network did, in a few words."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, TimeoutError):
        return "no byte came in time"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not valid ({reason.verify_message})"
    return str(getattr(reason, "strerror", None) or reason or type(reason).__name__)[:200]


def _host(url: str) -> str:
    return urlsplit(url).netloc


def _seconds(headers: Message) -> float | None:
    """Retry-After in seconds; the form with a date is left alone (RFC 9110 §10.2.3)."""
    text = headers.get("Retry-After", "").strip()
    return float(text) if text.isdecimal() and len(text) < 9 else None


class _Http(urllib.request.HTTPHandler):
    def __init__(self, way: addresses.Way):
        super().__init__()
        self._way = way

    def http_open(self, req: urllib.request.Request) -> Any:
        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            made = http.client.HTTPConnection(host, **options)
            made._create_connection = self._way.connect  # type: ignore[attr-defined]
            return made

        return self.do_open(connection, req)


class _Https(urllib.request.HTTPSHandler):
    def __init__(self, way: addresses.Way):
        super().__init__()
        self._way = way

    def https_open(self, req: urllib.request.Request) -> Any:
        def connection(host: str, **options: Any) -> http.client.HTTPConnection:
            made = http.client.HTTPSConnection(host, context=ssl.create_default_context(), **options)
            if not req._tunnel_host:  # type: ignore[attr-defined]  # a proxy resolves names itself
                made._create_connection = self._way.connect  # type: ignore[attr-defined]
            return made

        return self.do_open(connection, req)


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that might have been given in the first place, and never from https to http."""

    max_redirections = MAX_HOPS

    def __init__(self, first: str, way: addresses.Way, secrets: Mapping[str, str]):
        self._origin = addresses.origin(first)
        self._way = way
        self._secrets = secrets

    def redirect_request(  # noqa: PLR0917 - the library's signature
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        parts = addresses.check(newurl)
        if self._origin[0] == "https" and parts.scheme != "https":
            raise SourceUnreachable("The address redirects to one that is not https.", "Use another address.")
        self._way.redirect(newurl)
        request = super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]
        if request is not None and addresses.origin(newurl) == self._origin:
            for name, value in self._secrets.items():
                request.add_unredirected_header(name, value)
        return request
