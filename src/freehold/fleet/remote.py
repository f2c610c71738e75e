"""Engines that are not children of this process: where one is, how it is called, and whether it is there.

Connections go to the configured address and nowhere else: no redirect is followed, no proxy asked; certificates are verified.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import NoReturn
from urllib.parse import urlsplit

from freehold.errors import FreeholdError, InvalidRequest
from freehold.external import ExternalSettings
from freehold.fleet.client import Answer, EngineClient, Stream
from freehold.fleet.endings import Ended, Ending
from freehold.fleet.exchange import Place, Upload
from freehold.protocol.external import Served, outgoing, served

_WITHIN = 10.0  # seconds for an answer that takes no work
_MISSES = 3  # looks without an answer after which the engine is gone
_SHOWN = 10  # names in a message


@dataclass(frozen=True)
class Remote:
    """An engine's address: `prefix` is the path before /models and the others; `key_env` names the environment variable
    with the key; `model` is what the model is called there, "" where that is to be found out."""

    host: str
    port: int
    tls: bool
    prefix: str
    key_env: str = ""
    model: str = ""

    @property
    def shown(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.host}:{self.port}"


def remote_of(settings: ExternalSettings) -> Remote:
    parts = urlsplit(settings.url)
    tls = parts.scheme == "https"
    port = parts.port or (443 if tls else 80)
    return Remote(parts.hostname or "", port, tls, parts.path.rstrip("/"), settings.key_env, settings.upstream)


class RemoteClient(EngineClient):
    """As a worker's client: calls have the paths and bodies of a worker, which are translated here."""

    def __init__(self, remote: Remote, context: int):
        """Raises Ended when the key is not there."""
        key = os.environ.get(remote.key_env, "") if remote.key_env else ""
        if remote.key_env and (not key or not key.isascii() or not key.isprintable()):
            _ended(f"the environment variable {remote.key_env}, which has its key, is not set", lasting=True)
        context_of = ssl.create_default_context() if remote.tls else None
        head = f"Host: {_host(remote)}\r\n" + (f"Authorization: Bearer {key}\r\n" if key else "")
        super().__init__(Place(remote.host, remote.port, context_of, head))
        self._remote = remote
        self._context = context

    async def models(self) -> list[Served]:
        """What the engine serves. Raises Ended with the reason when that cannot be learnt."""
        try:
            answer = await self.get(f"{self._remote.prefix}/models", _WITHIN)
        except FreeholdError:
            trust = ", or its certificate cannot be verified" if self._remote.tls else ""
            _ended(f"nothing answers at {self._remote.shown}{trust}")
        if answer.status in (401, 403):
            _ended(f"{self._remote.shown} does not take the key (status {answer.status})")
        if answer.status != 200:
            _ended(f"{self._remote.shown} answers with status {answer.status} when it is asked for its models")
        try:
            return served(answer.body)
        except ValueError:
            _ended(f"what {self._remote.shown} answers when it is asked for its models is no list of them")

    async def post(self, path: str, body: bytes, within: float) -> Answer:
        return await super().post(self._path(path), self._body(path, body), within)

    @contextlib.asynccontextmanager
    async def stream(self, path: str, body: bytes | Upload, first: float, idle: float) -> AsyncIterator[Stream]:
        if isinstance(body, Upload):
            raise InvalidRequest("Files cannot be sent to an external engine.", code="unsupported_parameter")
        async with super().stream(self._path(path), self._body(path, body), first, idle) as stream:
            yield stream

    def _path(self, path: str) -> str:
        return self._remote.prefix + path.removeprefix("/v1")

    def _body(self, path: str, body: bytes) -> bytes:
        return outgoing(path, body, self._remote.model, self._context)


async def connected(remote: Remote, name: str, context: int) -> tuple[RemoteClient, int]:
    """A client of the engine's model, and the model's context in tokens (`context` where the engine does not say). `name` is
    what the model is called here. Raises Ended with the reason when the engine or the model is not there."""
    models = await RemoteClient(remote, context).models()
    names = [each.name for each in models]
    wanted = remote.model or (name if name in names or len(names) != 1 else names[0])
    if wanted not in names:
        some = ", ".join(names[:_SHOWN]) or "no model"
        _ended(f"{remote.shown} serves {some}, and not {wanted}: name one of them in the setting `upstream`")
    known = models[names.index(wanted)].context or context
    return RemoteClient(replace(remote, model=wanted), known), known


async def gone(client: RemoteClient, heartbeat: float) -> Ending:
    """Returns when the engine has not answered several looks in a row."""
    missed = 0
    while True:
        await asyncio.sleep(heartbeat)
        try:
            await client.models()
            missed = 0
        except Ended as ended:
            missed += 1
            if missed >= _MISSES:
                return ended.ending


def _host(remote: Remote) -> str:
    host = f"[{remote.host}]" if ":" in remote.host else remote.host
    return f"{host}:{remote.port}"


def _ended(reason: str, *, lasting: bool = False) -> NoReturn:
    raise Ended(Ending("not_ready", reason, lasting=lasting)) from None
