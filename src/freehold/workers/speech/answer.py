"""The HTTP answer of one text: audio as it is made, or OpenAI's events with it."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from concurrent.futures import Executor
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from freehold.protocol import sse
from freehold.workers.speech.speaking import Speaking

_TOKEN = 0.05  # seconds of audio that OpenAI counts as a token


class SpokenAnswer(Response):
    """Begins with the first audio, so that a failure before it is an error and not a broken stream. When the client leaves,
    the synthesis ends. `gate` lets so many texts be spoken at a time, each in a thread of `threads`."""

    def __init__(self, speaking: Speaking, media_type: str, gate: asyncio.Semaphore, threads: Executor):
        super().__init__(media_type=media_type)
        self._speaking = speaking
        self._gate = gate
        self._threads = threads

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answering = asyncio.create_task(self._answer(send))
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._speaking.stop()
            leaving.cancel()
        if not answering.done():
            answering.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await answering
            return
        await answering

    async def _answer(self, send: Send) -> None:
        await self._gate.acquire()
        thread = asyncio.get_running_loop().run_in_executor(self._threads, self._speaking.run)
        thread.add_done_callback(self._ended)
        first = await self._speaking.next()
        if not first:
            await thread  # raises what went wrong
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers_of_a_stream()})
        piece = first
        while piece:
            await send({"type": "http.response.body", "body": self.dressed(piece), "more_body": True})
            piece = await self._speaking.next()
        await thread
        await send({"type": "http.response.body", "body": self.closing(), "more_body": False})

    def _ended(self, thread: asyncio.Future[None]) -> None:
        self._gate.release()
        if not thread.cancelled():
            thread.exception()  # of a client that left, nobody asks

    def raw_headers_of_a_stream(self) -> list[tuple[bytes, bytes]]:
        return [pair for pair in self.raw_headers if pair[0] != b"content-length"]

    def dressed(self, piece: bytes) -> bytes:
        return piece

    def closing(self) -> bytes:
        return b""


class SpokenEvents(SpokenAnswer):
    """OpenAI's speech.audio events. `rate` is the engine's, `characters` those of the text: what counts as its tokens, since
    no engine here has others; of the audio, each twentieth of a second counts as one."""

    def __init__(self, speaking: Speaking, gate: asyncio.Semaphore, threads: Executor, rate: int, characters: int):
        super().__init__(speaking, "text/event-stream", gate, threads)
        self._rate = rate
        self._characters = characters

    def dressed(self, piece: bytes) -> bytes:
        return sse.encode({"type": "speech.audio.delta", "audio": base64.b64encode(piece).decode()})

    def closing(self) -> bytes:
        spoken = round(self._speaking.samples / self._rate / _TOKEN)
        usage: dict[str, Any] = {"input_tokens": self._characters, "output_tokens": spoken}
        usage["total_tokens"] = self._characters + spoken
        return sse.encode({"type": "speech.audio.done", "usage": usage})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
