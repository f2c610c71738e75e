"""The life of an engine of another maker: found, looked at, missed; where a command starts it, from its start to its end."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from freehold.errors import EngineTimeout, FreeholdError, WorkerDied
from freehold.external import Address
from freehold.fleet.endings import Ended, Ending
from freehold.fleet.loading import ending_of, finished
from freehold.fleet.process import Process
from freehold.fleet.remote import Remote, RemoteClient, key_of, place_of
from freehold.protocol.external import Served, served
from freehold.store.manifest import Task

_WITHIN = 10.0  # seconds for an answer that takes no work
_MISSES = 3  # looks without an answer after which an engine is gone
_SHOWN = 10  # names in a message
_LONGEST = 80  # letters of one
_PAUSE = 0.2  # seconds between two looks at one that is starting


class _Busy(Ended):
    """It is there, and has no time."""


class Elsewhere:
    """One model of an engine of another maker. `name` is what the model is called here, `context` its tokens where the engine
    does not say, `server` this server's number, which tells a way that leads back here."""

    def __init__(self, remote: Remote, name: str, context: int, server: str):
        self._remote = remote
        self._name = name
        self._context = context
        self._server = server

    async def connected(self, address: Address) -> RemoteClient:
        """A client of the model. Raises Ended with the reason when the engine or the model is not there."""
        client = await self._client(address)
        client.model = await self.found(client)
        return client

    async def started(self, process: Process, address: Address, task: Task, within: float) -> RemoteClient:
        """A client of the model, once an engine that has just been started has answered a real request.

        Raises Ended when the process ends, or that takes more than `within` seconds, or the answer is an error."""
        client = await self._client(address)
        await finished(process, self._proven(client, task, within), within)
        return client

    async def gone(self, client: RemoteClient, heartbeat: Callable[[], float], seldom: int = 1) -> Ending:
        """Returns when the engine has not answered several looks in a row, or does not have the model any more. There are
        `seldom` times `heartbeat` seconds between two looks, and one heartbeat after a miss; a look comes at once when a call
        met nobody."""
        missed = 0
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(heartbeat() * (1 if missed else seldom)):
                    await client.doubt.wait()
            client.doubt.clear()
            began = loop.time()
            try:
                now = await self.found(client)
            except _Busy:
                missed = 0
            except Ended as ended:
                if ended.ending.kind == "cannot_start":
                    return ended.ending
                missed = 1 if client.heard >= began else missed + 1
                if missed >= _MISSES:
                    client.hang_up()
                    return ended.ending
            else:
                if now != client.model:
                    return Ending("not_ready", "its engine serves it differently from now on")
                missed = 0

    async def found(self, client: RemoteClient) -> Served:
        """What the engine says of the model. Raises Ended."""
        models = await self._models(client)
        names = [each.name for each in models]
        wanted = self._remote.model or (self._name if self._name in names or len(names) != 1 else names[0])
        where = self._remote.shown
        if wanted not in names:
            some = ", ".join(map(_plain, names[:_SHOWN])) or "no model"
            more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
            raise _wrong(f"{where} serves {some}{more}, and not {wanted}: name one of them in the setting `upstream`")
        model = models[names.index(wanted)]
        if self._server in model.via:
            raise _wrong(f"{where} leads back to this server: a request would go round for ever")
        return replace(model, context=model.context or self._context)

    async def _client(self, address: Address) -> RemoteClient:
        key = key_of(self._remote)
        place = await asyncio.to_thread(place_of, self._remote, address, key)
        return RemoteClient(place, address.prefix, self._name, Served("", self._context), key)

    async def _models(self, client: RemoteClient) -> list[Served]:
        where = self._remote.shown
        try:
            answer = await client.models(_WITHIN)
        except WorkerDied as error:
            raise _missing(f"{where} broke the connection" if error.reached else error.message.rstrip(".")) from None
        except EngineTimeout:
            raise _missing(f"{where} does not answer within {_WITHIN:.0f} s") from None
        except FreeholdError:
            raise _missing(f"{where} does not answer as an HTTP server does") from None
        match answer.status:
            case 200:
                with contextlib.suppress(ValueError):
                    return served(answer.body)
                raise _missing(f"what {where} answers when it is asked for its models is no list of them")
            case 401 | 403:
                took = "does not take its key" if self._remote.key_env else "wants a key, which `key_env` is to name"
                raise _missing(f"{where} {took} (status {answer.status})")
            case 404:
                raise _missing(f"{where} has no list of models where its url says (status 404): the url is its base, with /v1")
            case 429:
                raise _Busy(Ending("not_ready", f"{where} is too busy to say what it serves (status 429)"))
        raise _missing(f"{where} answers with status {answer.status} when it is asked for its models")

    async def _proven(self, client: RemoteClient, task: Task, within: float) -> None:
        while True:
            try:
                client.model = await self.found(client)
                break
            except Ended as ended:
                if ended.ending.kind == "cannot_start":
                    raise
            await asyncio.sleep(_PAUSE)
        path, body = _question(task)
        answer = await client.post(path, json.dumps(body).encode(), within)
        if answer.status != 200:
            raise Ended(Ending("not_ready", f"its first answer was an error (status {answer.status})"))


async def ended(process: Process, gone: asyncio.Task[Ending]) -> Ending:
    """Why an engine that was started here ended: by itself, or because it does not answer any more."""
    exited = asyncio.create_task(process.exited())
    try:
        await asyncio.wait({exited, gone}, return_when=asyncio.FIRST_COMPLETED)
        return await ending_of(process, exited.result()) if exited.done() else gone.result()
    finally:
        exited.cancel()
        gone.cancel()


def is_public(peer: str) -> bool | None:
    """Whether an address is one of the internet's; None where it is none."""
    try:
        return ipaddress.ip_address(peer.partition("%")[0]).is_global
    except ValueError:
        return None


def _question(task: Task) -> tuple[str, dict[str, Any]]:
    if task == "embedding":
        return "/v1/embeddings", {"input": "ready"}
    return "/v1/chat/completions", {"messages": [{"role": "user", "content": "ready"}], "max_tokens": 1}


def _plain(name: str) -> str:
    """Another server's word, for a message."""
    shown = "".join(letter if letter.isprintable() else "?" for letter in name)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}…"


def _missing(reason: str) -> Ended:
    return Ended(Ending("not_ready", reason))


def _wrong(reason: str) -> Ended:
    """It is there, and something has to be changed."""
    return Ended(Ending("cannot_start", reason))
