"""Answers of our own workers: one call, and its bytes passed on as they come."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from freehold.errors import (
    Conflict,
    EngineBadResponse,
    FreeholdError,
    InvalidRequest,
    NotFound,
    NotSupported,
    PayloadTooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from freehold.fleet.client import EngineClient, Stream
from freehold.fleet.exchange import Upload
from freehold.fleet.patience import Patience
from freehold.gateway.http import ClientGone, UntilGone
from freehold.gateway.retry import Retry
from freehold.gateway.services import Services
from freehold.gateway.stream import Outgoing
from freehold.protocol import sse
from freehold.routing.catalog import Entry
from freehold.routing.scheduler import Terms

_KIND = re.compile(r"[\w.+-]+/[\w.+-]+(?:; ?charset=[\w-]+)?")
_LONGEST = 1000  # characters of a worker's sentence
_STATUSES: Mapping[int, type[FreeholdError]] = MappingProxyType(
    {
        400: InvalidRequest,
        404: NotFound,
        409: Conflict,
        413: PayloadTooLarge,
        415: UnsupportedMediaType,
        501: NotSupported,
    }
)


@dataclass(frozen=True)
class Call:
    """What a worker is asked. `headers` are added to the client's answer; `first` is the seconds until its first byte, None for
    those of the settings. `rewrite` makes the client's answer of the worker's whole one, and `after` is done with the worker
    when the answer is complete but for its end."""

    path: str
    body: bytes | Upload
    headers: Mapping[str, str] = field(default_factory=dict)
    first: float | None = None
    rewrite: Callable[[bytes], Awaitable[bytes]] | None = None
    after: Callable[[EngineClient], Awaitable[None]] | None = None

    @property
    def identity(self) -> bytes:
        """Tells this request from others, should it kill its worker."""
        return self.body.digest if isinstance(self.body, Upload) else self.body


class RelayedAnswer(Response):
    """An answer that holds its model's lease from before the first byte until after the last one.

    `held` is closed after it: what must outlive the request's handler, such as an uploaded file.
    """

    def __init__(self, services: Services, entry: Entry, call: Call, terms: Terms, held: contextlib.ExitStack | None = None):
        super().__init__()
        self._services = services
        self._entry = entry
        self._call = call
        self._terms = terms
        self._held = held or contextlib.ExitStack()
        self._outcome = "failed"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        services, name = self._services, self._entry.manifest.name
        try:
            async with UntilGone(receive), services.scheduler.lease(self._entry.deployment, self._terms) as lease:
                services.telemetry.queue_wait.labels(name).observe(lease.waited)
                with Patience(services.settings.timeouts.write, ClientGone) as patience:
                    await self._answer(lease.client, Outgoing(send, self._call.headers, patience))
        except ClientGone:
            self._outcome = "abandoned"
        except FreeholdError as error:
            self._outcome = error.code or "failed"
            raise
        finally:
            self._held.close()
            services.telemetry.outcomes.labels(name, self._outcome).inc()

    async def _answer(self, client: EngineClient, out: Outgoing) -> None:
        """An error before the first byte is the answer. One after it ends a stream of events with an error event, and
        anything else without its end, which a client sees."""
        services, call = self._services, self._call

        async def attempt(client: EngineClient) -> None:
            timeouts = services.settings.timeouts
            async with client.stream(call.path, call.body, call.first or timeouts.first_token, timeouts.idle) as stream:
                if stream.status != 200:
                    raise from_worker(stream.status, await stream.read_all())
                if call.rewrite is None:
                    await _pass_on(stream, out)
                else:
                    body = await call.rewrite(await stream.read_all())
                    out.content_type = stream.content_type
                    await out.write(body)
            if call.after is not None:
                await call.after(client)
            await out.close()  # from here on the client may leave, which ends this

        retry = Retry(services.supervisor, services.suspects, services.telemetry, services.settings.queue.timeout)
        try:
            await retry.run(client, self._entry.deployment, (call.identity,), attempt, lambda death: not out.begun)
            self._outcome = "completed"
        except FreeholdError as error:
            if not out.begun:
                raise
            self._outcome = error.code or "failed"
            if out.events:
                await out.write(sse.encode(error.envelope()))
                await out.close()


async def _pass_on(stream: Stream, out: Outgoing) -> None:
    """The head goes with the first piece: until then nothing has been promised.
    Raises what ended the stream too soon."""
    out.content_type = stream.content_type if _KIND.fullmatch(stream.content_type) else "application/octet-stream"
    while piece := await stream.read():
        await out.write(piece)
    if not out.begun:
        raise EngineBadResponse("The model's worker sent an empty answer.")


def from_worker(status: int, body: bytes) -> FreeholdError:
    """What an error answer of a worker of ours means: its own sentence, and its parameter."""
    try:
        error = json.loads(body)["error"]
        message, param, code = error["message"], error.get("param"), error.get("code")
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return EngineBadResponse("The model's worker met an error and could not answer.")
    if not isinstance(message, str) or not all(value is None or isinstance(value, str) for value in (param, code)):
        return EngineBadResponse("The model's worker met an error and could not answer.")
    if status == 503:
        return Unavailable(message[:_LONGEST], code=code)
    return _STATUSES.get(status, EngineBadResponse)(message[:_LONGEST], param=param, code=code)
