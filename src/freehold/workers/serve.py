"""What our own workers share: how they are told what to run, and OpenAI's HTTP on a unix socket.

    python -m freehold.workers.<package> --parent PID --config JSON

The first line on stdout says how the worker is confined. GET /health tells that the process turns, POST /ready does one real
piece of work. Errors are OpenAI's envelope; what a request says is never in the log.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import socket
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from freehold.workers.confine import bound_memory, confine

_MORE_THREADS = 8  # than slots, each of which may keep one busy for hours; the others do what is short, for anybody

T = TypeVar("T")
_MOST_KEPT = 5  # seconds that an idle connection stays; the gateway opens one for each request


@dataclass(frozen=True)
class WorkerConfig:
    """What a worker is told. `files` are the model's by role, `folder` those of a model that is one; `options` come from its
    manifest; `threads` are for one piece of work, `slots` pieces run at a time. `environment` is the folder of the engine
    environment that it runs in, and `place` where its weights are to lie (freehold.hardware.plan.Place)."""

    name: str
    socket: str
    engine: str
    sandbox: str = "auto"
    files: Mapping[str, str] = field(default_factory=dict)
    folder: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1
    slots: int = 1
    memory_limit_mib: int = 0
    environment: str | None = None
    place: Mapping[str, Any] = field(default_factory=dict)


class Refused(Exception):
    """A request that cannot be answered: OpenAI's envelope with that status, and a sentence a person can act on."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = "invalid_value", status: int = 400):
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code
        self.status = status

    def envelope(self) -> dict[str, Any]:
        kind = "invalid_request_error" if self.status < 500 else "server_error"
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}


def begin(program: str) -> WorkerConfig:
    """Reads the command line and confines the process; the first thing a worker does, before it imports an engine."""
    parser = argparse.ArgumentParser(prog=program)
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--config", required=True)
    arguments = parser.parse_args()
    config = WorkerConfig(**json.loads(arguments.config))
    confine(arguments.parent, config.sandbox)
    bound_memory(config.memory_limit_mib)
    Path(config.socket).unlink(missing_ok=True)  # a stale socket file makes the bind fail
    return config


def serve(config: WorkerConfig, routes: Sequence[BaseRoute], ready: Callable[[], Awaitable[None]]) -> None:
    """Serves until a signal ends the process. The model must be loaded before; `ready` does one real piece of work."""

    async def health(request: Request) -> Response:
        return JSONResponse({"status": "ok"})

    async def prove(request: Request) -> Response:
        await ready()
        return JSONResponse({"status": "ok"})

    app = Starlette(
        routes=[Route("/health", health), Route("/ready", prove, methods=["POST"]), *routes],
        exception_handlers={Refused: _refused, Exception: _failed},
    )
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL + 1)  # it would print whole tracebacks, with words of requests
    settings = uvicorn.Config(
        app,
        uds=config.socket,
        log_config=None,
        access_log=False,
        lifespan="off",
        server_header=False,
        date_header=False,
        timeout_keep_alive=_MOST_KEPT,
        ws="websockets-sansio",
        ws_max_size=2**20,
    )
    _Server(settings, config.slots + _MORE_THREADS).run()


class _Server(uvicorn.Server):
    """With so many threads for what would block the event loop: asyncio's own number knows nothing of slots."""

    def __init__(self, settings: uvicorn.Config, threads: int):
        super().__init__(settings)
        self._threads = threads

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(self._threads, "work"))
        await super().serve(sockets)


async def while_wanted(request: Request, work: Callable[[], T], stop: Callable[[], None]) -> T:
    """What `work` gives, in a thread; `stop` ends it when the client leaves. The request's body must have been read before."""
    working = asyncio.create_task(asyncio.to_thread(work))
    gone: asyncio.Future[Any] = asyncio.ensure_future(request.receive())  # only the client's leave can come
    await asyncio.wait({working, gone}, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        stop()
    gone.cancel()
    return await working


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, Refused)  # noqa: S101 - Starlette calls it for no other
    return JSONResponse(error.envelope(), status_code=error.status)


def complain(error: Exception) -> None:
    """Of a bug, or an engine's own failure: its kind and place go to the log, its words do not, which may be a user's."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    print(f"{type(error).__name__} in {last.name}, line {last.lineno}", file=sys.stderr, flush=True)  # noqa: T201


async def _failed(request: Request, error: Exception) -> Response:
    complain(error)
    envelope = Refused("The worker met an error of its own.", code="engine_error", status=500).envelope()
    return JSONResponse(envelope, status_code=500)
