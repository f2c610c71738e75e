"""The requests that are timed, and what the engine's own clock says of them."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from freehold.errors import EngineBadResponse
from freehold.fleet.client import EngineClient
from freehold.fleet.tune.texts import Writer

PATIENCE = 300.0  # seconds for one answer: with every core contended, some candidates are a hundred times slower
_SHORT = 16  # tokens of prompt where only writing is timed
_CLOSE = 0.1  # nats: two tokens that near are told apart by rounding, which depends on how many are computed at once


@dataclass(frozen=True)
class Sizes:
    """Tokens of a timed prompt, of a timed answer, of each of several answers at once, and of an answer on a busy machine."""

    prompt: int
    answer: int
    together: int
    busy: int


@dataclass(frozen=True)
class Answer:
    """A greedy answer: its tokens, and for each by how many nats it beat the next best one (empty where that was not asked)."""

    tokens: tuple[int, ...]
    leads: tuple[float, ...] = ()

    def differs_from(self, baseline: Answer) -> bool:
        """Whether the first token that differs was no close call for the baseline."""
        for mine, theirs, lead in zip(self.tokens, baseline.tokens, baseline.leads, strict=False):
            if mine != theirs:
                return lead > _CLOSE
        return False


class Probe:
    """Timed requests to one worker. Texts are never repeated, so that no cache helps. Raises what EngineClient raises, and
    EngineBadResponse for an answer without what was asked for."""

    def __init__(self, client: EngineClient, sizes: Sizes, writer: Writer):
        self._client, self._sizes, self._writer = client, sizes, writer

    async def alone(self, prompt: int, answer: int) -> tuple[float, float]:
        """Tokens a second of reading a prompt and of writing an answer to it, one request."""
        timings = (await self._complete(await self._prose(prompt), answer))["timings"]
        return float(timings["prompt_per_second"]), float(timings["predicted_per_second"])

    async def together(self, streams: int) -> float:
        """Tokens a second that several answers written at once have together."""
        prompts = [await self._prose(_SHORT) for _ in range(streams)]
        answers = await asyncio.gather(*(self._complete(prompt, self._sizes.together) for prompt in prompts))
        return sum(float(answer["timings"]["predicted_per_second"]) for answer in answers)

    async def repeating(self) -> float:
        """Tokens a second of an answer that says again what was in its prompt."""
        prompt = await self._tokens(self._writer.copying(60))
        answer = await self._complete(prompt, self._sizes.answer * 2, temperature=0)
        return float(answer["timings"]["predicted_per_second"])

    async def greedy(self, prompt: str, tokens: int, leads: bool = False) -> Answer:
        """The most probable answer to a prompt."""
        options = {"n_probs": 2, "post_sampling_probs": False} if leads else {}
        answer = await self._complete(await self._tokens(prompt), tokens, temperature=0, return_tokens=True, **options)
        given = tuple(answer["tokens"])
        return Answer(given, tuple(_lead(item) for item in answer["completion_probabilities"]) if leads else ())

    async def embed(self, texts: int, words: int) -> float:
        """Tokens a second of embedding several texts at once, by our clock: the engine gives none."""
        bodies = [{"input": self._writer.prose(words)} for _ in range(texts)]
        began = time.perf_counter()
        answers = await asyncio.gather(*(self._post("/v1/embeddings", body) for body in bodies))
        lasted = time.perf_counter() - began
        return sum(int(answer["usage"]["prompt_tokens"]) for answer in answers) / lasted

    async def _prose(self, tokens: int) -> list[int]:
        return (await self._tokens(self._writer.prose(tokens)))[:tokens]

    async def _tokens(self, text: str) -> list[int]:
        return list((await self._post("/tokenize", {"content": text, "add_special": True}))["tokens"])

    async def _complete(
        self, prompt: Sequence[int], tokens: int, temperature: float = 1.0, **options: Any
    ) -> Mapping[str, Any]:
        """A completion of exactly that many tokens. Sampled unless told otherwise: greedy small models fall into loops, which
        would make guessing ahead look good on any text."""
        body = {"prompt": prompt, "n_predict": tokens, "temperature": temperature, "cache_prompt": False, "ignore_eos": True}
        answer = await self._post("/completion", body | options)
        if answer["timings"].get("cache_n"):
            raise EngineBadResponse("The engine took a prompt from its cache, so the measurement says nothing.")
        return answer

    async def _post(self, path: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        answer = await self._client.post(path, json.dumps(body).encode(), within=PATIENCE)
        if answer.status != 200:
            raise EngineBadResponse(f"The engine answered {path} with status {answer.status}: {answer.body[:200]!r}")
        value: Mapping[str, Any] = json.loads(answer.body)
        return value


def _lead(item: Mapping[str, Any]) -> float:
    first, second = (item["top_logprobs"] + [{"logprob": float("-inf")}] * 2)[:2]
    return float(first["logprob"]) - float(second["logprob"])
