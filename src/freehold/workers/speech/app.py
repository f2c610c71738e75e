"""What the speech worker serves: POST /v1/audio/speech, in OpenAI's form with a few fields more."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from freehold.errors import InvalidRequest
from freehold.protocol.speech import Order
from freehold.protocol.voices import Voices, check_script, check_words
from freehold.workers.serve import Refused, WorkerConfig
from freehold.workers.speech.answer import SpokenAnswer, SpokenEvents
from freehold.workers.speech.clean import clean, has_words
from freehold.workers.speech.encode import FORMATS, encoder
from freehold.workers.speech.engine import Engine, EngineFailed
from freehold.workers.speech.speaking import Speaking, Speech
from freehold.workers.speech.split import pieces


class Speaker:
    """One loaded model. Texts take turns sentence by sentence, so that none waits for the end of a long one."""

    def __init__(self, config: WorkerConfig):
        self._engine = _engine(config)
        self._voices = Voices.of(config.options)
        self._gate = asyncio.Semaphore(config.slots)
        self._threads = ThreadPoolExecutor(config.slots + 1, thread_name_prefix="speech")
        self.routes: list[BaseRoute] = [Route("/v1/audio/speech", self._speech, methods=["POST"])]

    async def ready(self) -> None:
        """Speaks a word. Raises EngineFailed when nothing is heard."""
        heard = bytearray()

        def listen(pcm: bytes) -> bool:
            heard.extend(pcm)
            return True

        voice = self._voices.all[0]
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(self._threads, self._engine.speak, "Ready.", voice, 1.0, listen)
        if not heard:
            raise EngineFailed("the engine made no sound")

    async def _speech(self, request: Request) -> Response:
        order = _parsed(await request.body())
        try:
            voice = self._voices.find(order.voice)
            check_words(order.input)
            check_script(order.input, voice)
        except InvalidRequest as error:
            raise Refused(error.message, param=error.param, code=error.code) from None
        speech = Speech(_texts(order.input, voice.language, self._engine.longest), voice, order.speed)
        encoding = encoder(order.response_format, self._engine.rate, order.sample_rate, order.bit_rate)
        speaking = Speaking(self._engine, speech, encoding)
        if order.stream_format == "sse":
            return SpokenEvents(speaking, self._gate, self._threads, self._engine.rate, len(order.input))
        return SpokenAnswer(speaking, FORMATS[order.response_format].media_type, self._gate, self._threads)


def _texts(text: str, language: str, longest: int) -> Iterator[str]:
    """What is spoken of a text, piece by piece; nothing is done before the first is asked for, which a thread does.
    Raises Refused when there is nothing."""
    silent = True
    for piece in pieces(clean(text, language), longest):
        if has_words(piece):
            silent = False
            yield piece
    if silent:
        raise Refused("The input has no words to speak.", param="input")


def _engine(config: WorkerConfig) -> Engine:
    """The engine, with its model loaded. Each is imported only where it is used."""
    if config.engine == "espeak-ng":
        from freehold.workers.speech.espeak import Espeak

        return Espeak()
    from freehold.workers.speech.sherpa import loaded

    return loaded(config.folder, str(config.options.get("family", "")), config.threads)


def _parsed(body: bytes) -> Order:
    """The gateway has said what is wrong with a request in OpenAI's words, which are slow to import."""
    try:
        return Order.model_validate_json(body)
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        param = ".".join(map(str, problem["loc"]))
        raise Refused(f"Invalid value for '{param}': {problem['msg'][:200]}.", param=param or None) from None
