"""The one handler of everything that a model answers: parse, plan, lease, call, relay, account."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from freehold.errors import FreeholdError, QueueTimeout
from freehold.fleet.client import EngineClient
from freehold.gateway.calls import call_all, call_each
from freehold.gateway.http import ClientGone, Json, UntilGone, read_json_body
from freehold.gateway.models import find
from freehold.gateway.services import Services
from freehold.gateway.stream import Meter, Outgoing, encoded, relay
from freehold.protocol import sse
from freehold.protocol.plan import Plan, chat_plan, completion_plan, embedding_plan
from freehold.protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest, parse
from freehold.protocol.values import Target
from freehold.routing.catalog import Entry

_LARGE = 256 * 1024  # bytes of an answer past which joining it leaves the event loop


async def chat_completions(request: Request) -> Response:
    return await _plan(request, ChatRequest, chat_plan)


async def completions(request: Request) -> Response:
    return await _plan(request, CompletionRequest, completion_plan)


async def embeddings(request: Request) -> Response:
    return await _plan(request, EmbeddingRequest, embedding_plan)


async def _plan(request: Request, kind: Any, planner: Callable[[Any, Target], Plan]) -> Response:
    """Everything that needs no worker: what is wrong with a request is said before it waits for anything."""
    services: Services = request.app.state.services
    raw = await read_json_body(request, services.settings.max_body_bytes)
    parsed = parse(kind, raw, unknown=services.settings.unknown_parameters)
    entry = find(services, parsed.value.model)
    request.scope["freehold.model"] = entry.manifest.name
    headers = {"x-freehold-ignored": ", ".join(parsed.ignored)} if parsed.ignored else {}
    return LeasedAnswer(services, entry, planner(parsed.value, entry.target), headers)


class LeasedAnswer(Response):
    """An answer that holds its model's lease from before the first byte until after the last one."""

    def __init__(self, services: Services, entry: Entry, plan: Plan, headers: dict[str, str]):
        super().__init__()
        self._services = services
        self._entry = entry
        self._plan = plan
        self._extra = headers
        self._meter = Meter(services.telemetry.inter_token.labels(entry.manifest.name).observe)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        outcome = "failed"
        try:
            async with UntilGone(receive), self._leased() as client:
                if self._plan.stream:
                    await self._stream(client, send)
                else:
                    response = await self._whole(client)
                    await response(scope, receive, send)
            outcome = "completed"
        except ClientGone:
            outcome = "abandoned"
        except FreeholdError as error:
            outcome = error.code or "failed"
            raise
        finally:
            self._account(outcome)

    @asynccontextmanager
    async def _leased(self) -> AsyncIterator[EngineClient]:
        """A lease, then a worker that is ready: waiting for both is bounded by the queue's timeout."""
        services, deployment = self._services, self._entry.deployment
        limit = services.settings.queue.timeout
        need = self._plan.concurrency
        async with services.scheduler.lease(deployment.name, deployment.slots, need) as lease:
            services.telemetry.queue_wait.labels(deployment.name).observe(lease.waited)
            try:
                async with asyncio.timeout(limit - lease.waited):
                    client = await services.supervisor.ensure_ready(deployment)
            except TimeoutError:
                raise QueueTimeout(
                    f"The model {deployment.name!r} is still loading after {limit:g} s, the limit of waiting.", retry_after=5.0
                ) from None
            yield client

    async def _whole(self, client: EngineClient) -> Response:
        plan = self._plan
        joiner = plan.joiner()
        answers = await call_all(client, plan, self._entry.target, self._services.settings.timeouts.first_token)
        if sum(map(len, plan.bodies)) > _LARGE or len(answers) > 4:
            body, usage = await asyncio.to_thread(joiner.whole, answers)
        else:
            body, usage = joiner.whole(answers)
        self._meter.add(usage)
        return Json(body, headers=self._extra)

    async def _stream(self, client: EngineClient, send: Send) -> None:
        timeouts = self._services.settings.timeouts
        out = Outgoing(send, self._extra, timeouts.write)
        try:
            if self._plan.relay:
                async with call_each(client, self._plan, 0, timeouts) as stream:
                    await relay(stream.chunks(), out, self._meter, self._plan.include_usage)
            else:
                await self._joined(client, out)
        except FreeholdError as error:
            if not out.begun:
                raise
            self._services.telemetry.outcomes.labels(self._entry.manifest.name, "broken").inc()
            await out.fail(error)
