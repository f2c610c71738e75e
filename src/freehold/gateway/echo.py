"""Echoed prompts of text completions: their text, and the scores of their tokens where they were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freehold.fleet.client import EngineClient
from freehold.gateway.calls import parse_answer
from freehold.protocol.completions import prompt_scores, score_body
from freehold.protocol.plan import Echo, Echoed, encode
from freehold.protocol.values import Target


async def echoed(client: EngineClient, echo: Echo, target: Target, within: float) -> list[Echoed]:
    """Every prompt of a request, one after the other: all belong to one lease."""
    return [await _one(client, prompt, echo.scores, target, within) for prompt in echo.prompts]


async def _one(
    client: EngineClient, prompt: str | tuple[int, ...], scores: int | None, target: Target, within: float
) -> Echoed:
    if scores is None:
        return Echoed(prompt if isinstance(prompt, str) else await _text(client, prompt, within))
    tokens = await _tokens(client, prompt, within) if isinstance(prompt, str) else prompt
    if not tokens:
        return Echoed("")
    first = await _text(client, tokens[:1], within)
    answer = None
    if len(tokens) > 1:
        answer = await _post(client, "/completion", score_body(tokens, scores, target.context), within)
    table = prompt_scores(first, answer, scores)
    return Echoed(prompt if isinstance(prompt, str) else "".join(table["tokens"]), table)


async def _tokens(client: EngineClient, text: str, within: float) -> tuple[int, ...]:
    body = {"content": text, "add_special": True, "parse_special": True}
    return tuple((await _post(client, "/tokenize", encode(body), within))["tokens"])


async def _text(client: EngineClient, tokens: Sequence[int], within: float) -> str:
    return str((await _post(client, "/detokenize", encode({"tokens": list(tokens)}), within))["content"])


async def _post(client: EngineClient, path: str, body: bytes, within: float) -> dict[str, Any]:
    return parse_answer(await client.post(path, body, within), "prompt")
