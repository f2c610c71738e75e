"""Engines that are no workers of ours: where one is, and how it is called.

Connections go to the configured address and nowhere else: no redirect is followed, no proxy asked; certificates are verified.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import ssl
import weakref
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from socket import socket as Socket
from typing import Any
from urllib.parse import unquote

import freehold
from freehold.errors import EngineBadResponse, InvalidRequest, WorkerDied
from freehold.external import Address, ExternalSettings, address_of
from freehold.fleet.client import Answer, EngineClient, Stream
from freehold.fleet.endings import Ended, Ending
from freehold.fleet.exchange import Exchange, Place, Upload
from freehold.fleet.patience import Patience
from freehold.protocol.external import Served, outgoing
from freehold.protocol.foreign import Events, renamed

UNTOLD = 2**24  # tokens of context, for as long as an engine has not said how many: more than any has
_MANY = 64 * 1024  # bytes of a body that is translated off the event loop


@dataclass(frozen=True)
class Remote:
    """An engine of another maker. `address` is where it is, None for one that `command` starts here, with `env` besides;
    `key_env` names the environment variable with its key; `ca` is the file of the certificates that its own is verified by;
    `model` is what the model is called there, "" where that is to be found out. With `folder`, it is Freehold's vLLM that
    serves that, with `args` of the user's, on `device`."""

    address: Address | None = None
    key_env: str = ""
    ca: Path | None = None
    model: str = ""
    command: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    folder: Path | None = None
    args: tuple[str, ...] = ()
    device: str = "host"

    @property
    def shown(self) -> str:
        """Where requests go, for people."""
        return self.address.shown if self.address else "here"


def remote_of(settings: ExternalSettings) -> Remote:
    return Remote(
        address=address_of(settings.url) if settings.url else None,
        key_env=settings.key_env,
        ca=settings.ca,
        model=settings.upstream,
        command=settings.command,
        env=settings.env,
        folder=settings.folder,
        args=settings.args,
        device=settings.device,
    )


def key_of(remote: Remote) -> str:
    """The key, "" where there is none. Raises Ended when it is named and not there, or is none."""
    key = os.environ.get(remote.key_env, "").strip() if remote.key_env else ""
    if remote.key_env and not key:
        raise Ended(_never(f"the environment variable {remote.key_env}, which has its key, is not set"))
    if not key.isascii() or not key.isprintable():
        raise Ended(_never(f"the environment variable {remote.key_env} has letters that no key has"))
    return key


def place_of(remote: Remote, address: Address, key: str) -> Place:
    """Where calls go. Reads certificates from the disk. Raises Ended for a file that has none."""
    try:
        tls = ssl.create_default_context(cafile=remote.ca) if address.tls else None
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        why = error.strerror if isinstance(error, OSError) and not isinstance(error, ssl.SSLError) else None
        raise Ended(_never(f"its `ca` is no file of certificates ({why or 'PEM is what they are in'})")) from None
    default = 443 if address.tls else 80
    host, _, zone = address.host.partition("%25")
    name = f"[{host}]" if ":" in host else host or "localhost"
    lines = [
        f"Host: {name}" + (f":{address.port}" if address.port not in (0, default) else ""),
        f"User-Agent: freehold/{freehold.__version__}",
        "Accept: */*",
        *([f"Authorization: Bearer {key}"] if key else []),
    ]
    return Place(
        shown=address.shown,
        host=f"{host}%{unquote(zone)}" if zone else host,
        port=address.port,
        socket=address.socket,
        tls=tls,
        head="".join(f"{line}\r\n" for line in lines),
    )


def listening_at(remote: Remote, socket: Path) -> Address:
    """Where an engine that is started here shall listen: on that unix socket where its command has a place for it, else on a
    free port of the loopback address."""
    if remote.folder is not None or any("{socket}" in word for word in remote.command):
        return Address(socket=socket)
    with Socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return Address("127.0.0.1", int(probe.getsockname()[1]))


class RemoteClient(EngineClient):
    """As a worker's client: calls have the paths and bodies of a worker, which are translated here. `name` is what the model is
    called here, `model` what its engine says of it."""

    external = True

    def __init__(self, place: Place, prefix: str, name: str, model: Served, key: str = ""):
        super().__init__(place)
        self.model = model
        self.doubt = asyncio.Event()  # set when a call met nobody
        self.heard = -math.inf  # the loop's time of the last bytes of an answer
        self.peer = ""
        self._prefix = prefix
        self._name = name
        self._key = key.encode()
        self._open: weakref.WeakSet[Exchange] = weakref.WeakSet()

    async def models(self, within: float) -> Answer:
        """The engine's list of models, unread."""
        return await self._call("GET", f"{self._prefix}/models", b"", within)

    def hang_up(self) -> None:
        """Ends all calls: whoever waits for them is told that the engine is gone."""
        for exchange in list(self._open):
            exchange.close()

    async def post(self, path: str, body: bytes, within: float) -> Answer:
        answer = await super().post(self._path(path), await self._translated(path, body), within)
        said = renamed(answer.body, self._name) if answer.status == 200 else self.private(answer.body)
        return replace(answer, body=said, external=True)

    @contextlib.asynccontextmanager
    async def stream(self, path: str, body: bytes | Upload, first: float, idle: float) -> AsyncIterator[Stream]:
        if isinstance(body, Upload):
            raise InvalidRequest("Files cannot be sent to an external engine.", code="unsupported_parameter")
        async with super().stream(self._path(path), await self._translated(path, body), first, idle) as stream:
            if stream.status == 200 and stream.content_type.startswith("application/json"):
                raise EngineBadResponse("The external engine does not stream its answers.")
            yield stream

    def private(self, body: bytes) -> bytes:
        """An error without the key, should an engine repeat it."""
        return body.replace(self._key, b"***") if self._key else body

    async def _begin(self, method: str, path: str, body: bytes | Upload) -> Exchange:
        try:
            exchange = await super()._begin(method, path, body)
        except WorkerDied:
            self.doubt.set()
            raise
        self.peer = exchange.peer
        self._open.add(exchange)
        return exchange

    def _streaming(self, exchange: Exchange, status: int, patience: Patience) -> Stream:
        return _Foreign(self, Events(self._name), exchange, status, patience)

    def _path(self, path: str) -> str:
        return self._prefix + path.removeprefix("/v1")

    async def _translated(self, path: str, body: bytes) -> bytes:
        told: Any = (path, body, self.model.name, self.model.context, self.model.kind)
        return await asyncio.to_thread(outgoing, *told) if len(body) > _MANY else outgoing(*told)


class _Foreign(Stream):
    """A stream of another maker's engine, as one of ours."""

    external = True

    def __init__(self, client: RemoteClient, events: Events, exchange: Exchange, status: int, patience: Patience):
        super().__init__(exchange, status, patience)
        self._client = client
        self._events = events

    async def read(self) -> bytes:
        if self.status != 200:
            return await super().read()
        loop = asyncio.get_running_loop()
        while data := await super().read():
            self._client.heard = loop.time()
            if events := self._events.feed(data):
                return events
        if rest := self._events.end():
            return rest
        if not self._events.done:
            raise WorkerDied("The external engine ended its answer before the end.", reached=True)
        return b""

    async def read_all(self) -> bytes:
        return self._client.private(await super().read_all())


def _never(reason: str) -> Ending:
    """What waiting does not mend."""
    return Ending("cannot_start", reason, lasting=True)
