"""The one handler of everything that a model answers: parse, plan, lease, call, relay, account."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from freehold.errors import EngineBadResponse, FreeholdError, WorkerDied
from freehold.fleet.client import EngineClient
from freehold.fleet.patience import Patience
from freehold.gateway.asked import ignored, terms_of
from freehold.gateway.calls import call_all, checked_stream, stream_all
from freehold.gateway.echo import echoed
from freehold.gateway.http import ClientGone, Json, UntilGone, read_json_body
from freehold.gateway.models import find, served_as
from freehold.gateway.retry import Result, Retry
from freehold.gateway.seeing import seen
from freehold.gateway.services import Services
from freehold.gateway.stream import Meter, Outgoing, relay
from freehold.gateway.voiced import VoicedAnswer
from freehold.protocol.embeddings import embedding_plan
from freehold.protocol.plan import Chunk, Echoed, Joiner, Plan
from freehold.protocol.requests import ChatRequest, EmbeddingRequest, Parsed, parse
from freehold.protocol.values import Target
from freehold.protocol.voiced import has_sound, unheard
from freehold.routing.catalog import Entry
from freehold.routing.scheduler import Lease, Terms
from freehold.telemetry import log

Planner = Callable[[Any, Target], Plan]
_MANY = 64 * 1024  # bytes of request past which the answers are joined off the event loop


async def embeddings(services: Services, request: Request) -> Response:
    return await answer(services, request, EmbeddingRequest, embedding_plan)


async def answer(services: Services, request: Request, kind: Any, planner: Planner) -> Response:
    return await answered(services, request, await received(services, request, kind), planner)


async def received(services: Services, request: Request, kind: Any) -> Parsed[Any]:
    """The request's body; `kind` is its form, or tells it from the bytes."""
    raw = await read_json_body(request, services.settings.max_body_bytes)
    return parse(kind if isinstance(kind, type) else kind(raw), raw, unknown=services.settings.unknown_parameters)


async def answered(
    services: Services,
    request: Request,
    parsed: Parsed[Any],
    planner: Planner,
    *,
    resolve: Callable[[Services, str], Entry] = find,
    made: Callable[[Services, Entry, Plan, Terms, dict[str, str]], LeasedAnswer] | None = None,
) -> Response:
    """All that needs no worker: what is wrong with a request is said before it waits for anything. Another dialect has a
    `planner` of its own, and may have its own way to `resolve` names and its own kind of answer, which is then `made`."""
    made = made or LeasedAnswer
    entry = resolve(services, parsed.value.model)
    request.scope["freehold.model"] = entry.manifest.name
    entry.check()
    headers = ignored(parsed.ignored)
    target = served_as(services, entry)
    voiced = isinstance(parsed.value, ChatRequest) and has_sound(parsed.value)
    plan = planner(unheard(parsed.value, services.spoken.get) if voiced else parsed.value, target)
    if plan.images and (pictures := await seen(services, plan.images)):
        target = replace(target, pictures=pictures)
        plan = planner(unheard(parsed.value, services.spoken.get) if voiced else parsed.value, target)
    terms = terms_of(request, parsed.value, entry, need=plan.concurrency, usual=plan.priority)
    if voiced:
        return VoicedAnswer(
            services, parsed.value, terms, lambda heard: made(services, entry, planner(heard, target), terms, headers)
        )
    return made(services, entry, plan, terms, headers)


class LeasedAnswer(Response):
    """An answer that holds its model's lease from before the first byte until after the last one."""

    def __init__(self, services: Services, entry: Entry, plan: Plan, terms: Terms, headers: dict[str, str]):
        super().__init__()
        self._services = services
        self._entry = entry
        self._plan = plan
        self._terms = terms
        self._extra = headers
        self._meter = Meter(services.telemetry.inter_token.of(entry.manifest.name))
        self._outcome = "failed"
        self._joiner: Joiner | None = None  # of the stream that is being sent

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with UntilGone(receive), self._lease() as lease:
                self._services.telemetry.queue_wait.labels(self._entry.manifest.name).observe(lease.waited)
                if self._plan.stream:
                    await self._stream(lease.client, send)
                else:
                    response = await self._retried(lease.client, self._whole, lambda death: not death.reached)
                    await response(scope, receive, send)
                    self._outcome = "completed"
        except ClientGone:
            self._outcome = "abandoned"
        except FreeholdError as error:
            self._outcome = error.code or "failed"
            raise
        finally:
            self._account()

    def _lease(self) -> AbstractAsyncContextManager[Lease]:
        """Slots of the model, loaded: waiting for both together is bounded by the queue's timeout."""
        return self._services.scheduler.lease(self._entry.deployment, self._terms)

    async def _retried(
        self, client: EngineClient, attempt: Callable[[EngineClient], Awaitable[Result]], unseen: Callable[[WorkerDied], bool]
    ) -> Result:
        services = self._services
        retry = Retry(services.supervisor, services.suspects, services.telemetry, services.settings.queue.timeout)
        return await retry.run(client, self._entry.deployment, self._plan.bodies, attempt, unseen)

    async def _echoed(self, client: EngineClient) -> Sequence[Echoed]:
        echo = self._plan.echo
        if echo is None:
            return ()
        return await echoed(client, echo, self._entry.target, self._services.settings.timeouts.first_token)

    async def _whole(self, client: EngineClient) -> Response:
        plan = self._plan
        joiner = plan.joiner(await self._echoed(client))
        answers: Sequence[Mapping[str, Any]] = ()
        if plan.followed:
            await self._join(client, joiner, _unsent)
        else:
            answers = await call_all(client, plan, self._services.settings.timeouts)
        with _taken() if client.external else contextlib.nullcontext():
            whole, body = await _aside(plan, lambda: _written(joiner.whole(answers)))
        self._meter.usage = joiner.usage
        await self._settle(joiner, whole)
        return Json(body, headers=self._extra)

    async def _settle(self, joiner: Joiner, whole: Mapping[str, Any] | None) -> None:
        """The answer is complete, and the client not told so yet: here it is kept, where it is. `whole` is None of a stream."""

    async def _stream(self, client: EngineClient, send: Send) -> None:
        """Raises ClientGone when the client does not take what it is sent within the write timeout."""
        with Patience(self._services.settings.timeouts.write, ClientGone) as patience:
            await self._streamed(client, Outgoing(send, self._extra, patience, self._plan.framing.content_type))

    async def _streamed(self, client: EngineClient, out: Outgoing) -> None:
        async def attempt(client: EngineClient) -> None:
            if self._plan.relay:
                async with checked_stream(client, self._plan, 0, self._services.settings.timeouts) as stream:
                    await relay(stream, out, self._meter, self._plan.include_usage)
            else:
                await self._joined(client, out)

        try:
            await self._retried(client, attempt, lambda death: not out.begun)
            self._outcome = "completed"
        except FreeholdError as error:
            if not out.begun:
                raise
            self._outcome = error.code or "failed"
            events = (error.envelope(),) if self._joiner is None else self._joiner.failed(error)
            await out.write(self._plan.framing.frames(events) + self._plan.framing.end)
            await out.close()

    async def _joined(self, client: EngineClient, out: Outgoing) -> None:
        framing = self._plan.framing
        joiner = self._joiner = self._plan.joiner(await self._echoed(client))

        async def send(events: Iterable[Chunk]) -> None:
            if frames := framing.frames(events):
                await out.write(frames)

        await send(joiner.opening())
        await self._join(client, joiner, send)
        self._meter.usage = joiner.usage
        last = framing.frames(joiner.closing()) + framing.end
        await self._settle(joiner, None)
        await out.write(last)
        await out.close()

    async def _join(self, client: EngineClient, joiner: Joiner, send: Callable[[Iterable[Chunk]], Awaitable[None]]) -> None:
        """Every chunk of the engine, until one of them has said all."""
        async with aclosing(stream_all(client, self._plan, self._services.settings.timeouts)) as chunks:
            async for call, chunk in chunks:
                if "prompt_progress" not in chunk:
                    self._meter.piece()
                await send(_events(joiner, call, chunk) if client.external else joiner.chunk(call, chunk))
                if joiner.complete:
                    break

    def _account(self) -> None:
        """Once for each request, however it ended."""
        telemetry, model, meter = self._services.telemetry, self._entry.manifest.name, self._meter
        telemetry.outcomes.labels(model, self._outcome).inc()
        if meter.first is not None:
            telemetry.first_token.labels(model).observe(meter.first)
        if meter.usage is not None:
            telemetry.tokens.labels(model, "prompt").inc(meter.usage.prompt_tokens)
            telemetry.tokens.labels(model, "cached").inc(meter.usage.cached_tokens)
            telemetry.tokens.labels(model, "completion").inc(meter.usage.completion_tokens)


def _events(joiner: Joiner, call: int, chunk: Chunk) -> list[Chunk]:
    with _taken():
        return list(joiner.chunk(call, chunk))


@contextlib.contextmanager
def _taken() -> Iterator[None]:
    """Where an answer is made of what another maker's engine said, which may lack what ours never do, in more ways than can be
    looked for: raises EngineBadResponse for that."""
    try:
        yield
    except (LookupError, TypeError, AttributeError, ValueError) as error:
        log("an external engine's answer lacks something", level=40, error=type(error).__name__)
        raise EngineBadResponse("The external engine sent something that is no answer.") from None


def _written(whole: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    return whole, bytes(Json(whole).body)


async def _aside(plan: Plan, work: Callable[[], Result]) -> Result:
    """What takes long for a large request is done off the event loop."""
    return await asyncio.to_thread(work) if sum(map(len, plan.bodies)) > _MANY else work()


async def _unsent(events: Iterable[Chunk]) -> None:
    """For an answer that is told when it is whole: they only have to be made."""
    for _ in events:
        pass
