"""Speech as it is spoken: a WebSocket that takes samples and tells when somebody speaks, and what was said.

    GET /v1/realtime?intent=transcription

A client's text frames are JSON. {"type": "session.update", "session": {"rate": 24000, "format": "pcm16" | "g711_ulaw" |
"g711_alaw", "language", "turn_detection": {"threshold", "prefix_padding_ms", "silence_duration_ms"} | null, "deltas": false}}
says what its binary frames hold, one channel; samples of pcm16 are little-endian. {"type": "commit"} ends what was said until
now, {"type": "clear"} forgets it. Without turn detection only a commit ends it.

The worker's frames are JSON: {"type": "session.updated"}, {"type": "cleared"}; {"type": "speech_started", "audio_start_ms"};
{"type": "speech_stopped", "audio_end_ms", "committed"}, the last where a commit stopped it; {"type": "completed", "text",
"audio_start_ms", "audio_end_ms", "seconds"} for all that was said between two ends, in order; {"type": "error", "message",
"param", "code"}, whose message is null where the worker itself has failed, which is the end. Times count from the session's
first sample. With `deltas`, {"type": "delta", "text"} tells what of a turn is sure while it is spoken, and the rest of it
before it is completed; those of a turn come after the one before it is completed. Together they are the text that completes
it, but for words that were heard otherwise in the end.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from freehold.protocol.transcripts import Segment
from freehold.workers.serve import Refused, complain
from freehold.workers.transcription.agreement import Agreement
from freehold.workers.transcription.cutting import Piece
from freehold.workers.transcription.families import Asked
from freehold.workers.transcription.interim import Interim
from freehold.workers.transcription.listener import Event, Listener, Turn
from freehold.workers.transcription.recognise import Recogniser
from freehold.workers.transcription.streamed import Streamed

_FAILED = 1011  # RFC 6455, 7.4.1
_WAITING = 8  # turns that wait to be recognised, before the client is made to wait


class Live:
    """The route's handler."""

    def __init__(self, recogniser: Recogniser):
        self._recogniser = recogniser
        self._gate = asyncio.Semaphore(max(1, recogniser.at_once // 2))

    async def listen(self, socket: WebSocket) -> None:
        await socket.accept()
        try:
            async with asyncio.TaskGroup() as tasks:
                await _Client(self._recogniser, self._gate, socket, tasks).serve()
        except* WebSocketDisconnect:
            pass
        except* Exception as failures:  # noqa: BLE001 - a bug, or the engine's own failure, of which nobody else would tell
            complain(failures.exceptions[0])
            with contextlib.suppress(WebSocketDisconnect, RuntimeError):  # it may have left
                await socket.send_json({"type": "error", "message": None, "param": None, "code": "engine_error"})
                await socket.close(_FAILED)


class _Client:
    def __init__(self, recogniser: Recogniser, gate: asyncio.Semaphore, socket: WebSocket, tasks: asyncio.TaskGroup):
        self._model = recogniser.model
        self._socket = socket
        self._ear: Interim | Streamed
        if self._model.family.streaming:
            self._ear = Streamed(recogniser, self._delta, tasks)
        else:
            self._ear = Interim(recogniser, gate, self._delta, tasks)
        self._pieces: set[concurrent.futures.Future[Segment]] = set()  # that are being recognised
        self._listener = Listener(self._submit, self._model.longest)
        self._turns: asyncio.Queue[tuple[Turn, Agreement]] = asyncio.Queue(_WAITING)
        self._waiting = 0  # turns that have ended and are not completed
        self._tasks = tasks

    async def serve(self) -> None:
        """Until the client leaves."""
        telling = self._tasks.create_task(self._tell(), name="turns")
        try:
            while (message := await self._socket.receive())["type"] != "websocket.disconnect":
                await self._take(message)
        finally:
            telling.cancel()
            self._ear.stop()
            for piece in tuple(self._pieces):
                piece.cancel()

    def _submit(self, piece: Piece, asked: Asked) -> concurrent.futures.Future[Segment]:
        future = self._ear.submit(piece, asked)
        self._pieces.add(future)
        future.add_done_callback(self._pieces.discard)
        return future

    async def _take(self, message: Mapping[str, Any]) -> None:
        try:
            events, turn = await self._heard(message)
        except Refused as error:
            told = {"message": error.message, "param": error.param, "code": error.code}
            events, turn = [{"type": "error", **told}], None
        agreed = self._ear.restart() if turn is not None else None
        for event in events:
            await self._send(event)
        if turn is not None and agreed is not None:
            self._waiting += 1
            await self._turns.put((turn, agreed))
        elif not self._waiting:
            self._ear.offer(self._listener)

    async def _heard(self, message: Mapping[str, Any]) -> tuple[list[Event], Turn | None]:
        if (data := message.get("bytes")) is not None:
            return await asyncio.to_thread(self._listener.feed, data)
        asked = _parsed(message.get("text") or "")
        match asked.get("type"):
            case "session.update" if isinstance(asked.get("session"), dict):
                self._check(asked["session"].get("language"))
                await asyncio.to_thread(self._listener.update, asked["session"])
                self._ear.restart()
                return [{"type": "session.updated"}], None
            case "commit":
                return await asyncio.to_thread(self._listener.commit)
            case "clear":
                self._listener.clear()
                self._ear.restart()
                return [{"type": "cleared"}], None
        raise Refused("A frame is of type session.update (with a session), commit or clear.", param="type")

    def _check(self, language: object) -> None:
        known = self._model.languages
        if language and known and language not in known:
            raise Refused(
                f"This model does not know the language {str(language)[:20]!r}; it knows: {', '.join(known)}.",
                param="language",
                code="unsupported_language",
            )

    async def _tell(self) -> None:
        """Sends what was said, turn after turn."""
        while True:
            turn, agreed = await self._turns.get()
            completed = await turn.completed()
            await self._delta(agreed.rest(completed["text"]))
            await self._send(completed)
            self._waiting -= 1

    async def _delta(self, text: str) -> None:
        if text and self._listener.deltas:
            await self._send({"type": "delta", "text": text})

    async def _send(self, event: Event) -> None:
        try:
            await self._socket.send_json(event)
        except RuntimeError:  # Starlette's for a frame to a client that has left
            raise WebSocketDisconnect from None


def _parsed(text: str) -> Mapping[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise Refused("A text frame must be JSON.") from None
    if not isinstance(value, dict):
        raise Refused("A text frame must be a JSON object.")
    return value
