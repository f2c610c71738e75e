"""The fake engine itself: routes, slots, and the faults in the order in which a request meets them."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from itertools import cycle, islice
from typing import Any

from freehold.workers.fake import shapes
from freehold.workers.fake.generation import Answer, Generation, Stats
from freehold.workers.fake.http import Connection, Pending, Reply, Request
from freehold.workers.fake.options import Faults, Options, directive
from freehold.workers.fake.shapes import Kind, Text, Vectors

_WORDS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_CAPABILITIES = (
    "supports_parallel_tool_calls",
    "supports_string_content",
    "supports_system_role",
    "supports_tool_calls",
    "supports_tools",
)


class Engine:
    """Answers requests. `ready` is set by whoever plays the load."""

    def __init__(self, options: Options):
        self.options = options
        self.ready = False
        self.stats = Stats()
        self._slots = asyncio.Semaphore(options.slots)
        self._last: bytes = b"null"
        self._number = 0
        self._kinds: dict[str, Kind] = {
            "/v1/chat/completions": "chat",
            "/v1/completions": "completion",
            "/completion": "native",
        }

    def connection(self) -> Connection:
        return Connection(self.serve, self._client_left, self.options.requests_per_connection)

    def serve(self, request: Request, connection: Connection) -> Reply | Pending:
        """Answers `request`, at once or by the coroutine it returns."""
        path = request.path.partition("?")[0]
        if path.startswith("/fake/"):
            return Reply(self._last if path == "/fake/last" else shapes.dumps(self.stats.as_json()))
        self.stats.requests[path] += 1
        if not self.ready:
            return Reply(shapes.error(shapes.LOADING), 503)
        if path == "/lora-adapters":
            return self._adapters()
        if request.method == "GET":
            return self._get(path)
        try:
            return self._post(path, request.body, connection)
        except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
            return Reply(shapes.bad_request(f"the fake engine cannot read this request: {error}"), 400)

    def _get(self, path: str) -> Reply:
        match path:
            case "/health":
                return Reply(shapes.dumps({"status": "ok"}))
            case "/metrics":
                stats = self.stats
                return Reply(shapes.metrics(stats.tokens, stats.active, stats.waiting), kind="text/plain; version=0.0.4")
            case "/props":
                return Reply(shapes.dumps(self._props()))
            case "/v1/models":
                return Reply(shapes.dumps({"object": "list", "data": [self._model()]}))
            case _:
                return Reply(shapes.error(shapes.NOT_FOUND), 404)

    async def _adapters(self) -> Reply:
        """As with llama.cpp, the main loop answers this between two steps of it."""
        await self.stats.turning.wait()
        return Reply(b"[]")

    def _props(self) -> dict[str, Any]:
        return {
            "default_generation_settings": {"params": {}, "n_ctx": self.options.n_ctx},
            "total_slots": self.options.slots,
            "model_alias": self.options.alias,
            "chat_template_caps": dict.fromkeys(_CAPABILITIES, True),
        }

    def _model(self) -> dict[str, Any]:
        context = self.options.n_ctx
        meta = {"n_vocab": 256, "n_ctx": context, "n_ctx_train": context, "n_embd": self.options.embedding_size}
        return {"id": self.options.alias, "object": "model", "created": 0, "owned_by": "llamacpp", "meta": meta}

    def _post(self, path: str, body: bytes, connection: Connection) -> Reply | Pending:
        if kind := self._kinds.get(path):
            self._last = body
            return self._generate(kind, json.loads(body), connection)
        match path:
            case "/v1/embeddings":
                self._last = body
                return self._embed(json.loads(body), connection)
            case "/apply-template":
                prompt = _conversation(json.loads(body)["messages"]).decode()
                return Reply(shapes.dumps({"prompt": prompt}))
            case "/tokenize":
                tokens = list(json.loads(body)["content"].encode())
                return Reply(shapes.dumps({"tokens": tokens}))
            case "/detokenize":
                return Reply(shapes.dumps({"content": bytes(json.loads(body)["tokens"]).decode(errors="replace")}))
            case _:
                return Reply(shapes.error(shapes.NOT_FOUND), 404)

    # Generation.

    def _generate(self, kind: Kind, body: dict[str, Any], connection: Connection) -> Reply | Pending:
        prompts = [_conversation(body["messages"])] if kind == "chat" else _prompts(body["prompt"])
        text = _last_user_text(body["messages"]) if kind == "chat" else prompts[-1].decode(errors="replace")
        faults, text = directive(text, self.options.faults)
        if exceeded := self._exceeds(max(map(len, prompts))):
            return Reply(exceeded, 400)
        answer = self._answer(kind, body, prompts, text, faults)
        streamed = bool(body.get("stream"))
        if faults.quiet and not streamed:
            self.stats.tokens += answer.steps
            return Reply(answer.whole())
        return self._in_slot(answer, faults, streamed, connection)

    def _answer(self, kind: Kind, body: dict[str, Any], prompts: list[bytes], text: str, faults: Faults) -> Text:
        words = text.split() or _WORDS
        count = len(words) if faults.tokens is None else faults.tokens
        limit = next((body[k] for k in ("max_completion_tokens", "max_tokens", "n_predict") if body.get(k) is not None), -1)
        cut = 0 <= limit <= count  # the end-of-text token would have been one more
        said = list(islice(cycle(words), limit if cut else count))
        self._number += 1
        return Text(
            kind=kind,
            words=[word if i == 0 else f" {word}" for i, word in enumerate(said)],
            finish="length" if cut else "stop",
            choices=(body.get("n") or 1) * len(prompts),
            prompt_tokens=len(prompts[0]),
            include_usage=bool((body.get("stream_options") or {}).get("include_usage")),
            model=self.options.alias,
            number=self._number,
        )

    async def _in_slot(self, answer: Answer, faults: Faults, streamed: bool, connection: Connection) -> Reply | None:
        async with self._slot():
            return await Generation(faults, connection, self.stats).run(answer, streamed=streamed)

    @contextlib.asynccontextmanager
    async def _slot(self) -> AsyncIterator[None]:
        stats = self.stats
        stats.waiting += 1
        try:
            await self._slots.acquire()
        finally:
            stats.waiting -= 1
        stats.active += 1
        stats.peak_active = max(stats.peak_active, stats.active)
        try:
            yield
        finally:
            stats.active -= 1
            self._slots.release()

    # Embeddings.

    def _embed(self, body: dict[str, Any], connection: Connection) -> Reply | Pending:
        texts = _prompts(body["input"])
        faults, _ = directive(texts[-1].decode(errors="replace"), self.options.faults)
        if exceeded := self._exceeds(max(map(len, texts))):
            return Reply(exceeded, 400)
        encoding = body.get("encoding_format") or "float"
        answer = Vectors(texts, self.options.embedding_size, encoding, self.options.alias)
        if faults.quiet:
            return Reply(answer.whole())
        return self._in_slot(answer, faults, False, connection)

    def _exceeds(self, tokens: int) -> bytes | None:
        limit = self.options.context_limit
        return shapes.context_exceeded(tokens, limit) if limit is not None and tokens > limit else None

    def _client_left(self) -> bool:
        self.stats.disconnects += 1
        return self.options.ignore_disconnect


def _prompts(value: Any) -> list[bytes]:
    """A prompt or input in any of its four forms, as tokens: strings and token arrays, one or several."""
    if isinstance(value, str):
        return [value.encode()]
    if not isinstance(value, list) or not value:
        raise ValueError("neither text nor tokens")
    if isinstance(value[0], int):
        return [bytes(token & 255 for token in value)]
    return [_prompts(item)[0] for item in value]


def _conversation(messages: Any) -> bytes:
    if not isinstance(messages, list):
        raise ValueError("Expected 'messages' to be an array")
    return "".join(_text(message.get("content")) for message in messages).encode()


def _last_user_text(messages: list[dict[str, Any]]) -> str:
    return next((_text(m.get("content")) for m in reversed(messages) if m.get("role") == "user"), "")


def _text(content: Any) -> str:
    if isinstance(content, list):
        return "".join(part.get("text", "") for part in content)
    return content or ""
