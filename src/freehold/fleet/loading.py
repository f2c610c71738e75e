"""A process that has been started becomes a worker: it has answered a real request."""

from __future__ import annotations

import asyncio
import json
import math
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar

from freehold.errors import FreeholdError, StoreError
from freehold.fleet.client import EngineClient
from freehold.fleet.endings import Ended, Ending, of_exit
from freehold.fleet.engines import Deployment, question
from freehold.fleet.process import Process
from freehold.fleet.vitals import oom_kills
from freehold.store import integrity

Result = TypeVar("Result")
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1
_LATE = 0.03  # share of a load by which its end may be noticed late
_TOKENS = 16  # of the question that shows the worker's pace
_LEAST = 30.0  # seconds that any model gets
_SLOWEST = 20e6  # bytes a second: a network drive, or a hard disk that others use


async def checked(deployment: Deployment) -> None:
    """Returns when the model's files are known to be those that were installed; raises Ended when they are not."""
    left = threading.Event()

    def on_bytes(count: int) -> None:
        if left.is_set():  # a thread cannot be cancelled, and must not keep the server from ending
            raise StoreError("The check was broken off.")

    try:
        await asyncio.to_thread(integrity.check, deployment.pins, on_bytes)
    except StoreError as error:
        raise Ended(Ending("damaged", str(error), lasting=True)) from None
    finally:
        left.set()


async def load(process: Process, client: EngineClient, deployment: Deployment, within: float) -> float:
    """Waits until the worker has answered, and returns the seconds it took for each token of the question.

    Raises Ended when the process ends, or is not ready `within` seconds (or sooner: see `time_for`), or answers with an error.
    """
    within = min(within, time_for(deployment))
    return await finished(process, _prove(client, deployment, within), within)


async def finished(process: Process, proof: Coroutine[Any, Any, Result], within: float) -> Result:
    """What `proof` gives once a process that has just started serves. Raises Ended as `load` does."""
    exited = asyncio.create_task(process.exited())
    proven = asyncio.create_task(proof)
    try:
        await asyncio.wait({exited, proven}, timeout=within, return_when=asyncio.FIRST_COMPLETED)
        if exited.done():
            raise Ended(await ending_of(process, exited.result()))
        if not proven.done():
            raise Ended(Ending("not_ready", f"it was not ready after {within:.0f} s. {process.last_words()}".strip()))
        return proven.result()
    except FreeholdError as error:
        raise Ended(Ending("not_ready", error.message)) from None
    finally:
        for task in (exited, proven):
            task.cancel()


def time_for(deployment: Deployment) -> float:
    """Seconds after which a model of that size is not loading but stuck, such as in a chat template without an end: loads take
    turns, so it must not keep others from theirs. A GPU's kernels may have to be compiled first, so there it is no bound.
    """
    plan, weights = deployment.plan, deployment.weights
    if weights is None or plan.gpu_layers:
        return math.inf
    try:
        size = sum(share.weights for share in plan.memory) or weights.stat().st_size
    except OSError:
        return _LEAST
    return _LEAST + size / _SLOWEST


async def ending_of(process: Process, code: int) -> Ending:
    """The ending of a process that has exited, told from its whole log."""
    await process.stop(0)
    killed = max(0, (oom_kills() or 0) - (process.oom_kills_before or 0))
    return of_exit(code, process.log, process.last_words(), killed)


async def _prove(client: EngineClient, deployment: Deployment, within: float) -> float:
    await _listening(client)
    await _ask(client, deployment, 1, within)  # weights are read from the disk, and kernels compiled, when they are first used
    asked = time.monotonic()
    await _ask(client, deployment, _TOKENS, within)
    return (time.monotonic() - asked) / _TOKENS


async def _listening(client: EngineClient) -> None:
    """Returns when the worker says that its model is loaded."""
    began = time.monotonic()
    while True:
        try:
            if (await client.get("/health", within=2.0)).status == 200:
                return
        except FreeholdError:  # not listening yet
            pass
        await asyncio.sleep(min(max(_SHORTEST_PAUSE, _LATE * (time.monotonic() - began)), _LONGEST_PAUSE))


async def _ask(client: EngineClient, deployment: Deployment, tokens: int, within: float) -> None:
    path, body = question(deployment, tokens)
    answer = await client.post(path, json.dumps(body).encode(), within=within)
    if answer.status != 200:
        raise Ended(Ending("not_ready", f"its first answer was an error (status {answer.status})."))
