"""Which addresses are fetched, and where a redirect may lead."""

from __future__ import annotations

import ipaddress
import socket
from typing import Any
from urllib.parse import SplitResult, urlsplit, urlunsplit

from freehold.errors import SourceUnreachable, StoreError

_UNICAST = ipaddress.ip_network("2000::/3")  # all that is given out for the internet (RFC 4291 §2.4)
_RELAYS = ipaddress.ip_network("192.88.99.0/24")  # led anywhere, once (RFC 7526)
_EXAMPLE = "It looks like https://example.com/model.gguf."


def check(url: str) -> SplitResult:
    """Raises StoreError unless the address is https, or http to this machine, and holds no password."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise StoreError("This is not an address.", _EXAMPLE) from None
    if not host or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise StoreError("This is not an address.", _EXAMPLE)
    if parts.username is not None or parts.password is not None:
        raise StoreError("An address with a password in it is not used.", "Use one without.")
    if parts.scheme != "https" and not (parts.scheme == "http" and is_this_machine(host)):
        raise StoreError("Models are downloaded over https only.", _EXAMPLE)
    return parts


def public(url: str) -> str:
    """The address without its query, which may hold a secret."""
    return urlunsplit(urlsplit(url)._replace(query="", fragment=""))


def origin(url: str) -> tuple[str, str, int]:
    """Scheme, host and port: what a credential is for."""
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or (443 if parts.scheme == "https" else 80)


def is_this_machine(host: str) -> bool:
    address = _literal(host)
    return address.is_loopback if address else host.lower() == "localhost"


def is_private(host: str) -> bool:
    """Whether a host, as written, is no public one. What a name stands for is looked at when it is connected to."""
    address = _literal(host)
    return not is_global(address) if address else host.lower().rstrip(".") == "localhost"


def is_global(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    """Whether packets to it leave for the internet; an IPv4 address inside an IPv6 one is looked at as what it is."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if inner is not None:
            return inner.is_global
        if address in ipaddress.ip_network("64:ff9b::/96"):  # NAT64 (RFC 6052)
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF).is_global
        if address not in _UNICAST:  # so also those that hold an IPv4 address in ways long gone
            return False
    return address.is_global and not address.is_multicast and address not in _RELAYS


class Way:
    """The hops of one request. From a public address no redirect leads into a private network, whatever its name resolves to.

    The address that was given may be private itself: a mirror in the user's own network. Then its redirects may be, too.
    """

    def __init__(self, url: str):
        self._begun = False
        self._inside = is_private(urlsplit(url).hostname or "")

    def redirect(self, url: str) -> None:
        """Raises SourceUnreachable when a redirect may not lead there, judged by what is written."""
        if not self._inside and is_private(urlsplit(url).hostname or ""):
            _refuse()

    def connect(self, place: tuple[str, int], timeout: Any, source: Any = None) -> socket.socket:
        """A connection to an address that was checked, not to a name that could resolve anew in between."""
        found = socket.getaddrinfo(*place, type=socket.SOCK_STREAM)
        inside = any(not is_global(ipaddress.ip_address(str(item[4][0]).partition("%")[0])) for item in found)
        if self._begun and inside and not self._inside:
            _refuse()
        self._inside = self._inside or inside
        self._begun = True
        failure: OSError = OSError("no address")
        for *_, address in found:
            try:
                return socket.create_connection((str(address[0]), int(address[1])), timeout, source)
            except OSError as error:
                failure = error
        raise failure


def _refuse() -> None:
    raise SourceUnreachable("The address redirects into a private network.", "Use another address.")


def _literal(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """The address that a host is, in any notation that the system's resolver would accept ("127.1", "0x7f000001")."""
    try:
        return ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        pass
    try:
        return ipaddress.IPv4Address(socket.inet_aton(host))
    except (OSError, UnicodeError):
        return None
