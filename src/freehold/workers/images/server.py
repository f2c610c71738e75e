"""The worker's HTTP: drawings wait for their turn, and end when whoever wants them leaves."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import traceback
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Generic

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from freehold.workers.images import answers
from freehold.workers.images.canvas import decoded
from freehold.workers.images.drawing import Artist, Cancelled, J, Watch, seeds
from freehold.workers.images.request import Asked, Kind, parsed
from freehold.workers.serve import Refused

_BEAT = 10.0  # seconds of silence on an event stream after which a comment says that the picture is still being drawn
_MOST_PARTS = 20  # files and fields of a form
_LARGEST_FIELD = 1 << 20


class Server(Generic[J]):
    """Routes of one model."""

    def __init__(self, artist: Artist[J]):
        self._artist = artist
        self._preparing, self._turn = asyncio.Lock(), asyncio.Semaphore(1)

    def routes(self) -> list[Route]:
        return [
            Route("/v1/images/generations", self._generations, methods=["POST"]),
            Route("/v1/images/edits", self._edits, methods=["POST"]),
            Route("/v1/images/variations", self._variations, methods=["POST"]),
            Route("/v1/images/pace", self._pace),
        ]

    async def ready(self) -> None:
        """Draws a picture as small as the model can."""
        asked = self._artist.trial()
        job = await self._job(asked)
        async with self._turn:
            await asyncio.to_thread(self._artist.draw, asked, job, [0], Watch())
        self._artist.pace = None

    async def _generations(self, request: Request) -> Response:
        return await self._answer(request, parsed("generation", await request.json()))

    async def _edits(self, request: Request) -> Response:
        return await self._answer(request, await self._form(request, "edit"))

    async def _variations(self, request: Request) -> Response:
        return await self._answer(request, await self._form(request, "variation"))

    async def _pace(self, request: Request) -> Response:
        """What the last picture took; null before there was one."""
        pace = self._artist.pace
        return JSONResponse(None if pace is None else asdict(pace))

    async def _form(self, request: Request, kind: Kind) -> Asked:
        async with request.form(max_files=_MOST_PARTS, max_fields=_MOST_PARTS, max_part_size=_LARGEST_FIELD) as form:
            table = json.loads(str(form["request"]))
            images = [part for part in form.getlist("image") if isinstance(part, UploadFile)]
            mask = form.get("mask")
            read = await asyncio.gather(*(part.read() for part in images))
            most = int(table["max_pixels"])
            pictures = tuple([await asyncio.to_thread(decoded, data, most, "image") for data in read])
            gap = await asyncio.to_thread(decoded, await mask.read(), most, "mask") if isinstance(mask, UploadFile) else None
        return parsed(kind, table, pictures, gap)

    async def _job(self, asked: Asked) -> J:
        """Raises Refused. One after the other, and beside the event loop: a large picture takes its time to be taken apart."""
        async with self._preparing:
            return await asyncio.to_thread(self._artist.job, asked)

    async def _answer(self, request: Request, asked: Asked) -> Response:
        job = await self._job(asked)
        if asked.stream:
            return StreamingResponse(self._events(asked, job), media_type="text/event-stream")
        watch = Watch()
        drawing = asyncio.create_task(self._all(asked, job, watch))
        leaving = asyncio.create_task(_left(request))
        try:
            await asyncio.wait({drawing, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not drawing.done():
                watch.cancelled.set()
            with contextlib.suppress(Cancelled):
                return Response(await drawing, media_type="application/json")
            return Response(status_code=499)  # nobody reads it
        finally:
            watch.cancelled.set()
            leaving.cancel()

    async def _all(self, asked: Asked, job: J, watch: Watch) -> bytes:
        async with self._turn:
            drawn = await asyncio.to_thread(self._artist.draw, asked, job, seeds(asked), watch)
        tokens = self._artist.tokens(asked, job, len(drawn))
        return await asyncio.to_thread(answers.whole, asked, drawn, tokens, self._artist.native)

    async def _events(self, asked: Asked, job: J) -> AsyncIterator[bytes]:
        """Comments for steps, pictures in the making, and the finished one; or an error."""
        loop, queue = asyncio.get_running_loop(), asyncio.Queue[bytes | None]()
        shown = 0

        def tell(piece: bytes | None) -> None:
            loop.call_soon_threadsafe(queue.put_nowait, piece)

        def partial(data: bytes) -> None:
            nonlocal shown
            tell(answers.partial_event(asked, data, shown, job.width, job.height))
            shown += 1

        watch = Watch(lambda done, total: tell(answers.step_comment(done, total)), partial)
        drawing = asyncio.create_task(self._streamed(asked, job, watch, tell))
        try:
            yield answers.step_comment(0, job.steps)
            while (piece := await _next(queue)) is not None:
                yield piece
        finally:
            watch.cancelled.set()
            with contextlib.suppress(asyncio.CancelledError):
                await drawing

    async def _streamed(self, asked: Asked, job: J, watch: Watch, tell: Callable[[bytes | None], None]) -> None:
        """Draws, and tells the last event, whatever it is."""
        try:
            async with self._turn:
                (drawn,) = await asyncio.to_thread(self._artist.draw, asked, job, seeds(asked), watch)
            tell(answers.completed_event(asked, drawn, self._artist.tokens(asked, job, 1)))
        except Cancelled:
            pass
        except Refused as refusal:
            tell(answers.error_event(refusal.envelope()))
        except Exception as error:  # noqa: BLE001 - the stream has begun, and must end in an event whatever happened
            last = traceback.extract_tb(error.__traceback__)[-1]
            print(f"{type(error).__name__} in {last.name}, line {last.lineno}", file=sys.stderr, flush=True)  # noqa: T201
            broken = Refused("The worker met an error of its own.", code="engine_error", status=500)
            tell(answers.error_event(broken.envelope()))
        finally:
            tell(None)


async def _next(queue: asyncio.Queue[bytes | None]) -> bytes | None:
    """The next piece, or a comment when none comes for a while."""
    try:
        async with asyncio.timeout(_BEAT):
            return await queue.get()
    except TimeoutError:
        return b": drawing\n\n"


async def _left(request: Request) -> None:
    """Returns when the client is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
