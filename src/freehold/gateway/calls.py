"""The engine calls of one request: one or many, whole or streamed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from freehold.errors import EngineBadResponse, FreeholdError, WorkerDied
from freehold.fleet.client import Answer, EngineClient, Stream
from freehold.gateway.stream import chunks_of
from freehold.protocol.assemble import Assembly, unstreamed
from freehold.protocol.engine_errors import from_engine, from_external
from freehold.protocol.plan import Chunk, Plan
from freehold.protocol.shape import sound
from freehold.settings import TimeoutSettings

_WAITING_CHUNKS = 64  # bounded, so that a slow client slows the engine down instead of filling memory


def parse_answer(answer: Answer, param: str, constraint: str = "grammar") -> dict[str, Any]:
    """A whole answer as JSON. Raises what an error status means, EngineBadResponse for what is not a JSON object."""
    if answer.status != 200:
        raise _meaning(answer, answer.body, param, constraint)
    try:
        value = json.loads(answer.body)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise EngineBadResponse("The model's worker sent something that is not JSON.")
    if not sound(value):
        raise EngineBadResponse("The model's worker sent something that is no answer.")
    return value


def _meaning(answer: Answer | Stream, body: bytes, param: str, constraint: str) -> FreeholdError:
    """What an error status means."""
    if answer.external:
        return from_external(answer.status, body, param=param, retry_after=answer.retry_after)
    return from_engine(answer.status, body, param=param, constraint=constraint)


async def call_all(client: EngineClient, plan: Plan, timeouts: TimeoutSettings) -> list[dict[str, Any]]:
    """Whole answers to all of a plan's bodies, in their order. The first failure ends the others."""
    gate = asyncio.Semaphore(plan.concurrency)

    async def one(call: int) -> dict[str, Any]:
        async with gate:
            if plan.streamed:
                return await _assembled(client, plan, call, timeouts)
            answer = await client.post(plan.path, plan.bodies[call], timeouts.first_token)
            return parse_answer(answer, plan.param, plan.constraint)

    if len(plan.bodies) == 1:
        return [await one(0)]
    tasks = [asyncio.create_task(one(call)) for call in range(len(plan.bodies))]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        await _ended(tasks)


async def _assembled(client: EngineClient, plan: Plan, call: int, timeouts: TimeoutSettings) -> dict[str, Any]:
    """One call's stream as the engine's whole answer. One that may lack its end is dropped, and asked for again, whole."""
    async with checked_stream(client, plan, call, timeouts) as stream:
        assembly = Assembly(plan.param, plan.constraint, external=stream.external)
        while not assembly.complete:
            data = await stream.read()
            if not data:
                raise WorkerDied("The model's worker ended in the middle of its answer.", reached=True)
            assembly.feed(data)
    if assembly.lacks:
        answer = await client.post(plan.path, unstreamed(plan.bodies[call]), timeouts.first_token)
        return parse_answer(answer, plan.param, plan.constraint)
    return assembly.answer()


async def stream_all(client: EngineClient, plan: Plan, timeouts: TimeoutSettings) -> AsyncGenerator[tuple[int, Chunk], None]:
    """(call, chunk) of all calls as they come. Close it (`aclosing`) to end the calls that still run."""
    gate = asyncio.Semaphore(plan.concurrency)
    arrived: asyncio.Queue[tuple[int, Chunk] | FreeholdError | None] = asyncio.Queue(_WAITING_CHUNKS)

    async def one(call: int) -> None:
        try:
            async with gate, checked_stream(client, plan, call, timeouts) as stream:
                async for chunk in chunks_of(stream):
                    await arrived.put((call, chunk))
        except FreeholdError as error:
            await arrived.put(error)
        else:
            await arrived.put(None)

    tasks = [asyncio.create_task(one(call)) for call in range(len(plan.bodies))]
    left = len(tasks)
    try:
        while left:
            item = await arrived.get()
            if isinstance(item, FreeholdError):
                raise item
            if item is None:
                left -= 1
            else:
                yield item
    finally:
        await _ended(tasks)


@asynccontextmanager
async def checked_stream(client: EngineClient, plan: Plan, call: int, timeouts: TimeoutSettings) -> AsyncIterator[Stream]:
    """One call's stream, open. Raises what an error status means before the first byte."""
    idle = max(timeouts.idle, timeouts.first_token) if plan.reported else timeouts.idle  # between two reports a batch is read
    async with client.stream(plan.path, plan.bodies[call], timeouts.first_token, idle) as stream:
        if stream.status != 200:
            raise _meaning(stream, await stream.read_all(), plan.param, plan.constraint)
        yield stream


async def _ended(tasks: list[asyncio.Task[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
