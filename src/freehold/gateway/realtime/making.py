"""How a response is made: chat, and its sentences spoken one after the other while the next are written."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

from freehold.errors import ContextLengthExceeded, EngineBadResponse, FreeholdError, InvalidRequest
from freehold.fleet.client import EngineClient
from freehold.gateway.audio import for_task
from freehold.gateway.calls import stream_all
from freehold.gateway.models import served_as
from freehold.gateway.relayed import from_worker
from freehold.gateway.retry import Retry
from freehold.gateway.seeing import seen
from freehold.gateway.services import Services
from freehold.protocol.chat import chat_plan
from freehold.protocol.plan import Plan, encode
from freehold.protocol.realtime import prompt
from freehold.protocol.realtime.effects import Call, Finished, Order, Progress, Sentence, Sound, Text
from freehold.protocol.requests import ChatRequest, parse
from freehold.protocol.sentences import Sentences
from freehold.protocol.values import Usage
from freehold.protocol.voices import Voices, check_words
from freehold.routing.catalog import Entry
from freehold.routing.scheduler import Terms

_PIECE = 24_000  # bytes of audio in one event: half a second, or three of G.711
_FORMATS = {"audio/pcm": ("pcm", 24_000), "audio/pcmu": ("ulaw", 8_000), "audio/pcma": ("alaw", 8_000)}
_TRIES = 5  # prompts, each half as long, before a conversation is given up as too long

Tell = Callable[[Progress], Awaitable[None]]


class Making:
    """One response. The model's slot is held while it writes, that of the voice for each sentence."""

    def __init__(self, services: Services, entry: Entry, terms: Terms, order: Order, tell: Tell):
        self._services = services
        self._entry = entry
        self._terms = terms
        self._order = order
        self._tell = tell
        self._begun = False
        self._reason = "stop"
        self._usage: Usage | None = None
        self._sentences = Sentences()
        self._to_say: asyncio.Queue[str | None] = asyncio.Queue()
        self._speaker: asyncio.Task[None] | None = None

    async def run(self) -> None:
        """Tells all of it, the end last. Raises FreeholdError when it cannot be made."""
        if (voice := self._order.voice) is not None:
            mouth = Mouth(self._services, self._terms, self._order, voice, self._tell)
            self._speaker = asyncio.create_task(mouth.say(self._to_say), name="realtime voice")
        try:
            await self._written()
            if self._speaker is not None:
                self._say(self._sentences.rest())
                self._to_say.put_nowait(None)
                await self._speaker
        finally:
            if self._speaker is not None:
                self._speaker.cancel()
                await asyncio.gather(self._speaker, return_exceptions=True)
        await self._tell(Finished(self._reason, self._usage))

    async def _written(self) -> None:
        target = served_as(self._services, self._entry)
        limit = self._order.fields.get("max_completion_tokens") or target.max_output_tokens
        groups = prompt.kept(self._order, target.context - min(limit, target.context // 4))
        for tries in range(1, _TRIES + 1):
            try:
                await self._write(groups)
                return
            except ContextLengthExceeded:
                if self._order.truncation == "disabled" or self._begun or len(groups) < 2 or tries == _TRIES:
                    raise
                groups = prompt.fewer(groups)

    async def _write(self, groups: Sequence[Sequence[Mapping[str, Any]]]) -> None:
        services, name = self._services, self._entry.manifest.name
        plan = await self._plan(groups)
        outcome = "failed"
        try:
            async with services.scheduler.lease(self._entry.deployment, self._terms) as lease:
                services.telemetry.queue_wait.labels(name).observe(lease.waited)
                retry = Retry(services.supervisor, services.suspects, services.telemetry, services.settings.queue.timeout)
                deployment = self._entry.deployment

                async def attempt(client: EngineClient) -> None:
                    await self._stream(client, plan)

                await retry.run(lease.client, deployment, plan.bodies, attempt, lambda death: not self._begun)
            outcome = "completed"
        except asyncio.CancelledError:
            outcome = "abandoned"
            raise
        except FreeholdError as error:
            outcome = error.code or outcome
            raise
        finally:
            services.telemetry.outcomes.labels(name, outcome).inc()
            if self._usage is not None:
                services.telemetry.tokens.labels(name, "prompt").inc(self._usage.prompt_tokens)
                services.telemetry.tokens.labels(name, "cached").inc(self._usage.cached_tokens)
                services.telemetry.tokens.labels(name, "completion").inc(self._usage.completion_tokens)

    async def _plan(self, groups: Sequence[Sequence[Mapping[str, Any]]]) -> Plan:
        messages = prompt.messages(self._order, groups)
        if not messages:
            raise InvalidRequest("There is nothing to answer: no instructions, and nothing was said.", code="invalid_value")
        body = {"model": self._entry.manifest.name, "messages": messages, "stream": True, **self._order.fields}
        request, target = parse(ChatRequest, encode(body)).value, served_as(self._services, self._entry)
        plan = chat_plan(request, target)
        if plan.images and (pictures := await seen(self._services, plan.images)):
            return chat_plan(request, replace(target, pictures=pictures))
        return plan

    async def _stream(self, client: EngineClient, plan: Plan) -> None:
        joiner = plan.joiner(())
        async with aclosing(stream_all(client, plan, self._services.settings.timeouts)) as chunks:
            async for call, chunk in chunks:
                for made in joiner.chunk(call, chunk):
                    await self._take(made)
        self._usage = joiner.usage

    async def _take(self, chunk: Any) -> None:
        if self._speaker is not None and self._speaker.done():
            self._speaker.result()
        for choice in chunk.get("choices") or ():
            delta = choice.get("delta") or {}
            if text := delta.get("content"):
                self._begun = True
                await self._tell(Text(text))
                for sentence in self._sentences.feed(text) if self._speaker is not None else ():
                    self._say(sentence)
            for call in delta.get("tool_calls") or ():
                self._begun = True
                function = call.get("function") or {}
                await self._tell(
                    Call(call.get("index") or 0, call.get("id"), function.get("name"), function.get("arguments") or "")
                )
            self._reason = choice.get("finish_reason") or self._reason

    def _say(self, sentence: str) -> None:
        if sentence:
            self._to_say.put_nowait(sentence)


class Mouth:
    """Speaks sentences as they are handed over."""

    def __init__(self, services: Services, terms: Terms, order: Order, voice: str, tell: Tell):
        self._services = services
        self._terms = terms
        self._order = order
        self._tell = tell
        self._entry = for_task(services, services.settings.default_speech, "speech")
        self._entry.check()
        self._voice = Voices.of(self._entry.manifest.options).find(voice).id

    async def say(self, sentences: asyncio.Queue[str | None]) -> None:
        """Until a None comes."""
        while (sentence := await sentences.get()) is not None:
            await self._tell(Sentence(sentence))
            try:
                check_words(sentence)
            except InvalidRequest:
                continue  # dots and dashes have no sound
            await self._speak(sentence)

    async def _speak(self, sentence: str) -> None:
        services, timeouts = self._services, self._services.settings.timeouts
        kind, rate = _FORMATS[self._order.audio_format]
        order = {"input": sentence, "voice": self._voice, "response_format": kind, "sample_rate": rate}
        body = json.dumps({**order, "speed": float(self._order.speed)}).encode()
        deployment = self._entry.deployment
        sounded = False

        async def attempt(client: EngineClient) -> None:
            nonlocal sounded
            async with client.stream("/v1/audio/speech", body, timeouts.first_token, timeouts.idle) as stream:
                if stream.status != 200:
                    raise from_worker(stream.status, await stream.read_all())
                rest = b""
                while data := await stream.read():
                    data = rest + data
                    whole = len(data) & ~1  # an event has whole samples
                    rest = data[whole:]
                    for start in range(0, whole, _PIECE):
                        sounded = True
                        await self._tell(Sound(data[start : min(start + _PIECE, whole)]))
                if rest:
                    await self._tell(Sound(rest))

        async with services.scheduler.lease(deployment, replace(self._terms, stay=self._entry.stay)) as lease:
            retry = Retry(services.supervisor, services.suspects, services.telemetry, services.settings.queue.timeout)
            await retry.run(lease.client, deployment, (body,), attempt, lambda death: not sounded)
        if not sounded:
            raise EngineBadResponse("The voice made no sound.")
