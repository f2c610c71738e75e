"""GET of an address that a client gave, when the client must not be able to make this server call into its own network.

A name is resolved once, and the connection goes to an address that was checked: all that a name stands for must be public,
anew at every redirect. Nothing is asked of the environment, no proxy, no stored password; nothing is remembered. Whatever is
wrong before a public server has answered is said with one sentence, so that nobody learns from it what there is inside.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import re
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urljoin, urlsplit

from freehold.gateway.web.answer import Answer, Broken, NotFetched, TooLarge, answer_from
from freehold.gateway.web.resolve import Resolver
from freehold.store.sources.addresses import is_global

_HOPS = 3  # redirects that are followed
_CONNECT = 5.0  # seconds until a connection stands, and TLS on it
_ADDRESSES = 3  # of a name, that are tried one after the other
_LONGEST = 8192  # characters of an address
_PORTS = {"http": 80, "https": 443}
_REDIRECTS = (301, 302, 303, 307, 308)
_HOST = re.compile(r"[a-z0-9_]([a-z0-9_.-]{0,251}[a-z0-9_])?\.?|[0-9a-f:.]{2,45}")
_ACCEPT = "Accept: image/png, image/jpeg, image/gif\r\n"  # who is not told sends WebP, which no engine here reads
_UNREACHABLE = "The image's address cannot be reached from here."

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Dial = Callable[["Place", str], Awaitable[Streams]]


@dataclass(frozen=True)
class Place:
    """Where an address leads. `tls` verifies the host's certificate; None for plain http."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    target: str

    @property
    def name(self) -> str:
        """As the Host header has it (RFC 9112 §3.2)."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.tls else 80) else f"{host}:{self.port}"


async def dial(place: Place, address: str) -> Streams:
    """A connection to one address of a place, as text. Raises OSError."""
    return await asyncio.open_connection(address, place.port, ssl=place.tls, server_hostname=place.host if place.tls else None)


class Fetcher:
    """`hosts` are those that may be asked: `example.com`, `*.example.com`, either with `:8443`; where there are none, every
    public host is, at the usual ports. `resolve`, `dial` and `tls` are what stands between this and the network."""

    def __init__(
        self,
        hosts: Sequence[str] = (),
        *,
        resolve: Resolve | None = None,
        dial: Dial = dial,
        tls: Callable[[], ssl.SSLContext] = ssl.create_default_context,
    ):
        self._hosts = tuple(host.lower() for host in hosts)
        self._resolve = resolve or Resolver()
        self._dial = dial
        self._new_tls = tls
        self._tls: ssl.SSLContext | None = None

    async def fetch(self, url: str, most: int) -> bytes:
        """The body behind an address, of at most so many bytes. How long it takes is the caller's to limit.

        Raises NotFetched.
        """
        for _ in range(_HOPS + 1):
            place = self._place(url)
            try:
                answer = await self._get(place, most)
            except (Broken, OSError, ValueError):  # ValueError: a host that TLS cannot name
                raise NotFetched(_UNREACHABLE) from None
            except TooLarge:
                raise TooLarge(f"The image behind the address has more than {most:,} bytes.") from None
            if answer.status not in _REDIRECTS:
                return _body(answer)
            url = _next(place, url, answer)
        raise NotFetched("The image's address redirects too often.")

    def _place(self, url: str) -> Place:
        if len(url) > _LONGEST or not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
            raise NotFetched("The image's address is not one: it is too long, or has characters that must be escaped.")
        try:
            parts = urlsplit(url)
            host, usual = (parts.hostname or "").lower(), _PORTS.get(parts.scheme, 0)
            port = parts.port or usual
        except ValueError:
            raise NotFetched("The image's address is not one.") from None
        if not usual or not _HOST.fullmatch(host):
            raise NotFetched("The image's address is not one of http or https.")
        if parts.username is not None or parts.password is not None:
            raise NotFetched("An image's address with a password in it is not used.")
        self._check_host(host.removesuffix("."), port, port == usual)
        target = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
        return Place(host, port, self._verified() if parts.scheme == "https" else None, target)

    def _check_host(self, host: str, port: int, usual: bool) -> None:
        if not self._hosts and not usual:
            raise NotFetched("Images are fetched from the ports 80 and 443 alone.")
        if not self._hosts or any(_listed(entry, host, port, usual) for entry in self._hosts):
            return
        raise NotFetched("This server fetches no images from that host (setting `images.hosts`).")

    def _verified(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = self._new_tls()
        return self._tls

    async def _get(self, place: Place, most: int) -> Answer:
        reader, writer = await self._connected(place)
        try:
            writer.write(
                f"GET {place.target} HTTP/1.1\r\nHost: {place.name}\r\nUser-Agent: freehold\r\n{_ACCEPT}"
                "Accept-Encoding: identity\r\nConnection: close\r\n\r\n".encode("ascii")
            )
            return await answer_from(reader, most)
        finally:
            writer.transport.abort()  # also in the middle of what is not wanted

    async def _connected(self, place: Place) -> Streams:
        """Raises OSError, also where an address is not public."""
        addresses = await self._resolve(place.host, place.port)
        if not addresses or not all(map(_public, addresses)):
            raise OSError("not public")
        for address in addresses[:_ADDRESSES]:
            with contextlib.suppress(OSError):
                async with asyncio.timeout(_CONNECT):  # TimeoutError is an OSError
                    return await self._dial(place, address)
        raise OSError("nobody there")


def _public(address: str) -> bool:
    try:
        return is_global(ipaddress.ip_address(address))  # one with a zone (%eth0) is of this network, and not global
    except ValueError:
        return False


def _listed(entry: str, host: str, port: int, usual: bool) -> bool:
    name, _, its_port = entry.partition(":")
    if its_port != str(port) and not (usual and not its_port):
        return False
    return host.endswith(name[1:]) if name.startswith("*.") else host == name


def _next(place: Place, url: str, answer: Answer) -> str:
    to = urljoin(url, answer.headers.get("location", ""))
    if place.tls and not to.lower().startswith("https:"):
        raise NotFetched("The image's address redirects to one that is not https.")
    return to


def _body(answer: Answer) -> bytes:
    if answer.status != 200:
        raise NotFetched(f"The image's address answers with status {answer.status}.")
    if answer.headers.get("content-encoding", "identity").lower() != "identity":
        raise NotFetched("The image's address answers in an encoding that was not asked for.")
    return bytes(answer.body)
