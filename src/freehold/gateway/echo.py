"""Echoed prompts of text completions: their text, and the scores of their tokens where they were asked for."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from freehold.fleet.client import EngineClient
from freehold.gateway.calls import parse_answer
from freehold.protocol.completions import prompt_scores, score_bodies
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
    alone = await _specials(client, tokens, within)
    answers = [await _post(client, "/completion", body, within) for body in score_bodies(tokens, alone, scores, target.context)]
    texts = {token: await _text(client, [token], within) for token in {tokens[0]} | (alone & set(tokens))}
    table = prompt_scores(texts, tokens, answers, scores)
    return Echoed(prompt if isinstance(prompt, str) else "".join(table["tokens"]), table)


async def _specials(client: EngineClient, tokens: Sequence[int], within: float) -> frozenset[int]:
    """Those of a prompt's tokens that a text has only where its marks are read, or that are a zero: no grammar lets these
    through. (A prompt that was cut into tokens in another way has more of them here, which costs time alone.)"""
    plain = (await _text(client, tokens, within)).replace("\0", "")
    return frozenset(tokens) - frozenset(await _tokens(client, plain, within, special=False))


async def _tokens(client: EngineClient, text: str, within: float, special: bool = True) -> tuple[int, ...]:
    body = {"content": text, "add_special": special, "parse_special": special}
    return tuple((await _post(client, "/tokenize", encode(body), within))["tokens"])


async def _text(client: EngineClient, tokens: Sequence[int], within: float) -> str:
    return str((await _post(client, "/detokenize", encode({"tokens": list(tokens)}), within))["content"])


async def _post(client: EngineClient, path: str, body: bytes, within: float) -> dict[str, Any]:
    return parse_answer(await client.post(path, body, within), "prompt")
