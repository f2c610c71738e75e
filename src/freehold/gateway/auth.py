"""Who may come in: the key, the Host a browser was told, and the Origin of a page."""

from __future__ import annotations

import functools
import hashlib
import hmac
import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers

from freehold.errors import Forbidden, Unauthenticated
from freehold.gateway.bind import is_loopback
from freehold.settings import Settings

_KEYS = ("x-api-key", "xi-api-key")


class KeyCheck:
    """The single key of this server, kept as a digest and compared in constant time."""

    def __init__(self, settings: Settings):
        key = settings.api_key.get_secret_value() if settings.api_key else None
        self._digest = hashlib.sha256(key.encode()).digest() if key else None

    def __call__(self, headers: Headers) -> None:
        """Raises Unauthenticated unless the bearer token is the key, or what stands in `x-api-key` or `xi-api-key`, as
        Anthropic's and ElevenLabs' clients have it; without a configured key, any caller passes."""
        if self._digest is None:
            return
        scheme, _, token = headers.get("authorization", "").partition(" ")
        given = [token.strip() if scheme.lower() == "bearer" else "", *(headers.get(name, "").strip() for name in _KEYS)]
        if not any(given):
            raise Unauthenticated("You did not give an API key. Send it as a header: Authorization: Bearer YOUR_KEY.")
        if not any(self._is_key(token, self._digest) for token in given):
            raise Unauthenticated("The API key is not the one this server was started with.")

    @staticmethod
    def _is_key(token: str, digest: bytes) -> bool:
        return hmac.compare_digest(hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest(), digest)


class HostCheck:
    """Refuses requests that a web page of somebody else's may have made a browser send (DNS rebinding, foreign origins)."""

    def __init__(self, settings: Settings):
        self._names = {"localhost", *(name.lower() for name in settings.allowed_hosts)}
        self._open = not is_loopback(settings.host)
        if self._open:
            self._names |= {settings.host.lower(), socket.gethostname().lower()}
        self._origins = {origin.lower().rstrip("/") for origin in settings.allowed_origins}

    def __call__(self, headers: Headers) -> None:
        """Raises Forbidden for a Host or an Origin that is not this server's."""
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not self._known(hosts[0]):
            raise Forbidden("The Host header is not a name of this server. Add it to `allowed_hosts` if it should be.")
        origin = headers.get("origin")
        if origin is not None and not self.allows(origin, hosts[0]):
            raise Forbidden("Web pages of that origin may not call this server. Add it to `allowed_origins` if they should.")

    def allows(self, origin: str, host: str) -> bool:
        """Whether pages of an origin may call: those from this server itself, as the request's Host calls it, those from this
        machine or this server's names, whatever their port, and those of `allowed_origins`."""
        scheme, _, authority = origin.lower().partition("://")
        if f"{scheme}://{authority}" in self._origins:
            return True
        if scheme not in {"http", "https"}:
            return False
        return self._known(authority) and (authority == host.lower() or not self._foreign(authority))

    def _known(self, authority: str) -> bool:
        try:
            parts = urlsplit(f"//{authority}")
            host, _ = parts.hostname, parts.port
        except ValueError:
            return False
        if not host or parts.path or parts.query or "@" in authority:
            return False
        # A rebound name is a name: an address literal cannot be one, so an open server answers to its own addresses.
        return host in self._names or _is_loopback_literal(host) or (self._open and _is_literal(host))

    def _foreign(self, authority: str) -> bool:
        """Whether a known authority is only known as some address, which may be anybody's."""
        host = urlsplit(f"//{authority}").hostname or ""
        return host not in self._names and not _is_loopback_literal(host)


def _is_literal(host: str) -> bool:
    return _address(host) is not None


def _is_loopback_literal(host: str) -> bool:
    address = _address(host)
    return address is not None and address.is_loopback


@functools.lru_cache(maxsize=256)  # callers say the same few names with every request
def _address(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None
