"""Echoed prompts of text completions: their text, and the scores of their tokens where they were asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from freehold.errors import EngineBadResponse
from freehold.fleet.client import EngineClient
from freehold.gateway.calls import parse_answer
from freehold.protocol.plan import Echo, Echoed, encode
from freehold.protocol.scoring import found_in, items_of, look_bodies, prompt_scores, runs, score_body
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
    items = await _items(client, tokens, scores, target, within)
    nameless = {item["id"] for item in items if not item["token"] and not item.get("bytes")}
    texts = {token: await _text(client, [token], within) for token in {tokens[0]} | nameless}
    return Echoed(
        prompt if isinstance(prompt, str) else await _text(client, tokens, within),
        prompt_scores(tokens[0], items, texts, scores),
    )


async def _items(
    client: EngineClient, tokens: Sequence[int], scores: int, target: Target, within: float
) -> list[Mapping[str, Any]]:
    """The engine's items of all tokens but the first."""
    whole, pieces = await _sorted(client, tokens, within)
    stand_in = next(iter(whole)) if whole else (await _tokens(client, "a", within))[-1]
    items: list[Mapping[str, Any]] = []
    for run in runs(tokens, whole, pieces, target.context):
        if run.kind != "piece":
            items += items_of(await _post(client, "/completion", score_body(tokens, run, scores), within), run)
            continue
        for body in look_bodies(tokens, run, stand_in, target.vocab_size):
            if found := found_in(await _post(client, "/completion", body, within), run.tokens[0], scores):
                items.append(found)
                break
        else:
            raise EngineBadResponse("The model's engine could not score the prompt.")
    return items


async def _sorted(client: EngineClient, tokens: Sequence[int], within: float) -> tuple[frozenset[int], frozenset[int]]:
    """The tokens that are texts of their own, and those that are pieces of a letter. All others a text has only where its marks
    are read, or they are a zero. (Of a prompt that was cut into tokens in another way, more are taken for such.)"""
    plain = (await _text(client, tokens, within)).replace("\0", "")
    body = {"content": plain, "add_special": False, "parse_special": False, "with_pieces": True}
    cut = (await _post(client, "/tokenize", encode(body), within))["tokens"]
    pieces = frozenset(item["id"] for item in cut if not isinstance(item["piece"], str))  # but bytes
    return frozenset(item["id"] for item in cut) - pieces, pieces


async def _tokens(client: EngineClient, text: str, within: float) -> tuple[int, ...]:
    body = {"content": text, "add_special": True, "parse_special": True}
    return tuple((await _post(client, "/tokenize", encode(body), within))["tokens"])


async def _text(client: EngineClient, tokens: Sequence[int], within: float) -> str:
    return str((await _post(client, "/detokenize", encode({"tokens": list(tokens)}), within))["content"])


async def _post(client: EngineClient, path: str, body: bytes, within: float) -> dict[str, Any]:
    return parse_answer(await client.post(path, body, within), "prompt")
