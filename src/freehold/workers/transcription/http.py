"""OpenAI's transcription endpoints over one loaded model."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import BinaryIO, TypeVar

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Route, WebSocketRoute

from freehold.errors import FreeholdError
from freehold.protocol import sse, transcripts
from freehold.protocol.requests.audio import ServerVad, TranscriptionRequest, TranslationRequest, parse_form
from freehold.protocol.transcripts import Segment, Transcript
from freehold.workers.serve import Refused, while_wanted
from freehold.workers.transcription.cutting import Cut
from freehold.workers.transcription.families import Asked
from freehold.workers.transcription.listening import Listening
from freehold.workers.transcription.live import Live
from freehold.workers.transcription.recognise import Recogniser
from freehold.workers.transcription.turns import Turns
from freehold.workers.transcription.vad import Sensitivity

_LINE = 8.0  # seconds of a piece that becomes a line of subtitles, or an event of a stream
_FIRST = 5.0  # seconds of a stream's first piece: its words come early
_MOST_OF_TURNS = 64 << 20  # bytes
_MOST_TOLD = 16  # files whose progress is told
_BETWEEN = 2.0  # seconds until a stream tells how far it is

T = TypeVar("T", TranscriptionRequest, TranslationRequest)


class Endpoints:
    """`most` is how many seconds of audio a request may have."""

    def __init__(self, recogniser: Recogniser, most: float):
        self._recogniser = recogniser
        self._most = most
        self._files: list[Listening] = []  # that are being listened to, and some that were

    @property
    def routes(self) -> Sequence[BaseRoute]:
        return (
            Route("/v1/audio/transcriptions", self._transcribe, methods=["POST"]),
            Route("/v1/audio/translations", self._translate, methods=["POST"]),
            Route("/progress", self._progress),
            WebSocketRoute("/v1/realtime", Live(self._recogniser).listen),
        )

    async def _transcribe(self, request: Request) -> Response:
        asked, file, turns = await _read(request, TranscriptionRequest)
        with contextlib.ExitStack() as unless:
            unless.callback(file.close)
            self._check(asked, turns)
            longest = _LINE if asked.stream else self._longest(asked)
            cut = Cut(longest, min(longest, _FIRST) if asked.stream else longest)
            listening = self._listening(file, cut, asked.chunking_strategy, Asked(asked.spoken or ""), turns)
            unless.pop_all()
        if asked.stream:
            segments = listening.segments()
            # A file that is none is refused with a status.
            first = await while_wanted(request, lambda: _following(segments), listening.stop)
            return StreamingResponse(_events(listening, first, segments), media_type="text/event-stream")
        return await _answer(request, listening, asked.form, asked.timestamp_granularities or ())

    async def _translate(self, request: Request) -> Response:
        asked, file, _ = await _read(request, TranslationRequest)
        if not self._recogniser.model.translates:
            file.close()
            raise Refused("This model does not translate; Whisper models do: freehold models whisper", param="model")
        longest = self._longest(asked)
        listening = self._listening(file, Cut(longest, longest), None, Asked(translate=True), None)
        return await _answer(request, listening, asked.form, ())

    def _check(self, asked: TranscriptionRequest, turns: Turns | None) -> None:
        """What only some models can."""
        if (asked.form == "diarized_json") != (turns is not None):
            raise Refused("Who speaks when must be told.", param="response_format", code="unsupported_value")
        model = self._recogniser.model
        if asked.words and not model.family.timed:
            raise Refused(
                "This model does not tell when each word is said; it has the times of segments.",
                param="timestamp_granularities",
                code="unsupported_value",
            )
        if asked.spoken and model.languages and asked.spoken not in model.languages:
            known = ", ".join(model.languages)
            raise Refused(
                f"This model does not know the language {asked.spoken!r}; it knows: {known}.",
                param="language" if asked.language else "languages",
                code="unsupported_language",
            )

    def _longest(self, asked: TranscriptionRequest | TranslationRequest) -> float:
        longest = self._recogniser.model.longest
        return longest if asked.form in ("json", "text", "diarized_json") else min(longest, _LINE)

    def _listening(self, file: BinaryIO, cut: Cut, chunking: object, asked: Asked, turns: Turns | None) -> Listening:
        sensitivity = Sensitivity()
        if isinstance(chunking, ServerVad):
            before = chunking.prefix_padding_ms / 1000
            sensitivity = Sensitivity(chunking.threshold, chunking.silence_duration_ms / 1000)
            cut = Cut(cut.longest, cut.first, cut.pause, before)
        listening = Listening(file, self._recogniser, asked, cut, sensitivity, self._most, turns)
        self._files = [each for each in self._files if not each.over] + [listening]
        return listening

    async def _progress(self, request: Request) -> Response:
        """How many seconds of each file have been heard, and how many it says it has."""
        files = [each for each in self._files if not each.over][:_MOST_TOLD]
        return JSONResponse({"files": [{"heard_s": round(each.heard, 1), "claimed_s": each.claimed} for each in files]})


async def _read(request: Request, kind: type[T]) -> tuple[T, BinaryIO, Turns | None]:
    """The request, its file, which is the caller's to close, and who speaks when, where the gateway tells that."""
    async with request.form(max_files=1, max_part_size=_MOST_OF_TURNS) as form:
        given = form.get("file")
        if not isinstance(given, UploadFile):
            raise Refused("The file 'file' is required.", param="file", code="missing_required_parameter")
        if not given.size:
            raise Refused("The file is empty.", param="file", code="invalid_audio")
        told = form.get("turns")
        turns = Turns.parsed(told) if isinstance(told, str) else None
        fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str) and name != "turns"]
        try:
            asked = parse_form(kind, fields).value
        except FreeholdError as error:
            raise Refused(error.message, param=error.param, code=error.code, status=error.status) from None
        return asked, os.fdopen(os.dup(given.file.fileno()), "rb"), turns  # the form closes its own


async def _answer(request: Request, listening: Listening, form: str, granularities: Sequence[str]) -> Response:
    segments = await while_wanted(request, lambda: list(listening.segments()), listening.stop)
    language = next((each.language for each in segments if each.language), listening.recogniser.model.language)
    task = "translate" if listening.asked.translate else "transcribe"
    language = "en" if listening.asked.translate else language
    whole = Transcript(segments, listening.heard, language, task)
    body = await asyncio.to_thread(whole.render, form, granularities)
    return Response(body, headers={"content-type": transcripts.CONTENT_TYPES[form]})


async def _events(listening: Listening, segment: Segment | None, following: Iterator[Segment]) -> AsyncIterator[bytes]:
    """A delta for each piece, then the end; what fails on the way ends it with an error event. Comments say how far it is."""
    text, number = "", 0
    try:
        while segment is not None:
            longer = transcripts.joined((text, segment.text))
            yield transcripts.delta(longer[len(text) :], segment, number)
            text, number = longer, number + 1
            waiting = asyncio.ensure_future(asyncio.to_thread(_following, following))
            while not (await asyncio.wait({waiting}, timeout=_BETWEEN))[0]:
                yield _far(listening)
            segment = waiting.result()
            yield _far(listening)
        yield transcripts.done(text, listening.heard)
    except Refused as error:
        yield sse.encode(error.envelope())
    finally:
        listening.stop()


def _far(listening: Listening) -> bytes:
    """A comment: seconds that were heard, of those that the file says it has."""
    claimed = f"/{listening.claimed:.1f}" if listening.claimed else ""
    return f": heard {listening.heard:.1f}{claimed}\n\n".encode()


def _following(segments: Iterator[Segment]) -> Segment | None:
    return next(segments, None)
