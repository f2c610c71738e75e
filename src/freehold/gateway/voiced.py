"""Chats that are heard or spoken: recognition, chat and speech, one after the other, for models that know text alone."""

from __future__ import annotations

import asyncio
import base64
import json
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from typing import Any

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from freehold.errors import FreeholdError
from freehold.gateway.http import ClientGone, Json, UntilGone
from freehold.gateway.said import LASTS
from freehold.gateway.services import Services
from freehold.gateway.voice import heard, listener, spoken, voice_of
from freehold.protocol import sse
from freehold.protocol.requests import ChatRequest
from freehold.protocol.sentences import Sentences
from freehold.protocol.speech import Container
from freehold.protocol.voiced import as_text, recordings
from freehold.routing.scheduler import Terms

_EVENTS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]


class VoicedAnswer(Response):
    """`answer` makes the ordinary answer to a request of text alone; what it says is passed on, or spoken."""

    def __init__(self, services: Services, request: ChatRequest, terms: Terms, answer: Callable[[ChatRequest], ASGIApp]):
        super().__init__()
        self._services = services
        self._request = request
        self._terms = terms
        self._answer = answer
        self._said = recordings(request)
        # What is missing is said at once, not when the model has answered.
        if self._said:
            listener(services)
        self._voice = voice_of(services, request.audio.name) if request.audio is not None else ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            async with UntilGone(receive):
                texts = [await heard(self._services, item.data, f"{item.param}.data", self._terms) for item in self._said]
        except ClientGone:
            return
        plain = as_text(self._request, texts, self._services.spoken.get)
        answer = self._answer(plain)
        if not self._request.spoken:
            await answer(scope, receive, send)
            return
        try:
            async with UntilGone(receive):
                await _Speaking(self._services, self._request, self._voice, self._terms, scope=scope, send=send).run(answer)
        except ClientGone:
            return


class _Speaking:
    """One answer, spoken. The chat runs ahead on its own: its slot is free as soon as its text is complete."""

    def __init__(self, services: Services, request: ChatRequest, voice: str, terms: Terms, *, scope: Scope, send: Send):
        assert request.audio is not None  # noqa: S101 - the request was checked
        self._services = services
        self._format: Container = "pcm" if request.audio.format == "pcm16" else request.audio.format
        self._voice = voice
        self._streams = bool(request.stream)
        self._terms = terms
        self._scope = scope
        self._send = send
        self._identity = f"audio_{secrets.token_hex(12)}"
        self._expires = int(time.time() + LASTS)

    async def run(self, answer: ASGIApp) -> None:
        """Sends the answer. Raises what went wrong before its first byte."""
        messages: asyncio.Queue[Message | None] = asyncio.Queue()  # as many as an answer's text has
        chat = asyncio.create_task(self._chat(answer, messages), name="chat to be spoken")
        try:
            first = await messages.get()
            if first is None:
                await chat  # raises what went wrong before the first byte
            elif self._streams and first["status"] == 200:
                await self._stream(messages)
            else:
                await self._whole(first["status"], messages)
            await chat
        finally:
            chat.cancel()
            await asyncio.gather(chat, return_exceptions=True)

    async def _chat(self, answer: ASGIApp, messages: asyncio.Queue[Message | None]) -> None:
        async def never() -> Message:
            await asyncio.Event().wait()
            raise AssertionError

        try:
            await answer(self._scope, never, messages.put)
        finally:
            messages.put_nowait(None)

    async def _whole(self, status: int, messages: asyncio.Queue[Message | None]) -> None:
        body = b""
        while (message := await messages.get()) is not None:
            body += message.get("body", b"")
        answer = json.loads(body)
        for choice in answer.get("choices", ()):
            said = choice["message"]
            if text := said.get("content"):
                sound = b"".join([piece async for piece in self._sound(text)])
                said |= {"content": None, "audio": self._spoken(text, sound)}
        await Json(answer, status_code=status)(self._scope, _nothing, self._send)

    def _spoken(self, text: str, sound: bytes) -> dict[str, Any]:
        self._services.spoken.keep(self._identity, text)
        data = base64.b64encode(sound).decode()
        return {"id": self._identity, "expires_at": self._expires, "data": data, "transcript": text}

    async def _stream(self, messages: asyncio.Queue[Message | None]) -> None:
        await self._send({"type": "http.response.start", "status": 200, "headers": _EVENTS})
        try:
            async with aclosing(self._events(_payloads(messages))) as events:
                async for event in events:
                    await self._send({"type": "http.response.body", "body": event, "more_body": True})
        except FreeholdError as error:
            await self._send({"type": "http.response.body", "body": sse.encode(error.envelope()), "more_body": True})
        await self._send({"type": "http.response.body", "body": sse.DONE, "more_body": False})

    async def _events(self, payloads: AsyncIterator[bytes]) -> AsyncGenerator[bytes, None]:
        """The chat's events, its text as a transcript, and after each sentence the sound of it."""
        sentences, said = Sentences(), ""
        async for payload in payloads:
            chunk = json.loads(payload)
            if chunk.get("error") is not None or not chunk.get("choices"):  # an error's event, or the usage
                yield sse.encode(chunk)
                continue
            choice = chunk["choices"][0]
            text = choice["delta"].pop("content", None) or ""
            if text:
                said += text
                yield self._event(chunk, {"transcript": text})
            for sentence in sentences.feed(text):
                async for event in self._sounds(chunk, sentence):
                    yield event
            if choice.get("finish_reason") is not None:
                async for event in self._sounds(chunk, sentences.rest()):
                    yield event
                if said:
                    self._services.spoken.keep(self._identity, said)
                    yield self._event(chunk, {"expires_at": self._expires})
            if choice["delta"] or choice.get("finish_reason") is not None:
                yield sse.encode(chunk)

    async def _sounds(self, chunk: dict[str, Any], text: str) -> AsyncGenerator[bytes, None]:
        if not text.strip():
            return
        odd = b""
        async for piece in self._sound(text):
            whole = odd + piece
            odd = whole[len(whole) & ~1 :]  # a sample has two bytes
            if len(whole) > 1:
                yield self._event(chunk, {"data": base64.b64encode(whole[: len(whole) & ~1]).decode()})

    def _event(self, chunk: dict[str, Any], audio: dict[str, Any]) -> bytes:
        delta = {"audio": {"id": self._identity, **audio}}
        return sse.encode({**chunk, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})

    def _sound(self, text: str) -> AsyncGenerator[bytes, None]:
        return spoken(self._services, text, self._voice, self._format, self._terms)


async def _payloads(messages: asyncio.Queue[Message | None]) -> AsyncIterator[bytes]:
    """What the chat's events say."""
    cutter = sse.EventCutter()
    while (message := await messages.get()) is not None:
        for payload in sse.payloads(cutter.feed(message.get("body", b""))):
            if payload != b"[DONE]":
                yield payload


async def _nothing() -> Message:
    raise AssertionError("nothing is received while an answer is sent")
