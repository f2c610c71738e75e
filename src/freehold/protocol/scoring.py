"""Log-probabilities of a prompt's own tokens, in OpenAI's older shape: what the engine is asked for them, and what it says."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

from freehold.errors import ContextLengthExceeded, EngineBadResponse
from freehold.protocol.plan import encode

Scores = dict[str, list[Any]]

_FORCE = 1e6  # above any logit
_LIKELY = (100, 5000)  # of how many likely tokens one is looked for, before it is looked for among all


@dataclass(frozen=True)
class Run:
    """Tokens of a prompt that one call scores: several whole ones, or one "special" one or one "piece" of a letter. The first
    stands at `start`."""

    start: int
    tokens: tuple[int, ...]
    kind: Literal["whole", "special", "piece"]


def runs(tokens: Sequence[int], whole: Collection[int], pieces: Collection[int], context: int) -> Iterator[Run]:
    """All tokens but the first, which follows nothing. `whole` are those that a grammar lets through: texts of their own, and
    no marks. Raises ContextLengthExceeded for a prompt of more tokens than `context`."""
    if len(tokens) > context:
        raise ContextLengthExceeded(
            f"This model's maximum context length is {context} tokens. However, your prompt has {len(tokens)} tokens.",
            param="prompt",
        )

    def kind(token: int) -> Literal["whole", "special", "piece"]:
        return "whole" if token in whole else "piece" if token in pieces else "special"

    start = 1
    for sort, group in groupby(tokens[1:], kind):
        for run in (tuple(group),) if sort == "whole" else ((token,) for token in group):
            yield Run(start, run, sort)
            start += len(run)


def score_body(tokens: Sequence[int], run: Run, scores: int) -> bytes:
    """The engine call that scores a run exactly: a grammar of token ids makes the engine generate the prompt itself, token by
    token, and it reports each one's log-probability from the raw logits, which the grammar does not touch. A special token,
    such as the one that ends a turn, passes no grammar: a bias forces it."""
    if run.kind == "whole":
        constraint: dict[str, Any] = {"grammar": "root ::= " + " ".join(f"<[{token}]>" for token in run.tokens)}
    else:
        constraint = {"logit_bias": [[run.tokens[0], _FORCE]]}
    return _body(tokens, run, {**constraint, "n_probs": max(1, scores)})


def look_bodies(tokens: Sequence[int], run: Run, stand_in: int, vocabulary: int) -> Iterator[bytes]:
    """The calls that find a piece of a letter, which the engine does not report, among the likely tokens beside another that
    it does: each looks at more of them than the one before."""
    for likely in (*_LIKELY, vocabulary):
        yield _body(tokens, run, {"logit_bias": [[stand_in, _FORCE]], "n_probs": likely})


def _body(tokens: Sequence[int], run: Run, fields: Mapping[str, Any]) -> bytes:
    """What stands before the run is read already where it is not the first."""
    given = {"prompt": list(tokens[: run.start]), "n_predict": len(run.tokens), "temperature": 0}
    return encode({**given, "cache_prompt": run.start > 1, **fields})


def items_of(answer: Mapping[str, Any], run: Run) -> list[Mapping[str, Any]]:
    """The engine's items for a run. Raises EngineBadResponse when it did not generate it."""
    items = list(answer.get("completion_probabilities") or ())
    if [item.get("id") for item in items] != list(run.tokens):
        raise EngineBadResponse("The model's engine could not score the prompt.")
    return items


def found_in(answer: Mapping[str, Any], token: int, scores: int) -> dict[str, Any] | None:
    """A token's item from among the likely ones beside another; None where it is not among them."""
    items: Sequence[Mapping[str, Any]] = answer.get("completion_probabilities") or ()
    likely = items[0].get("top_logprobs") or () if items else ()
    found = next((item for item in likely if item.get("id") == token), None)
    return None if found is None else {**found, "top_logprobs": likely[: max(1, scores)]}


def prompt_scores(first: int, items: Sequence[Mapping[str, Any]], texts: Mapping[int, str], scores: int) -> Scores:
    """OpenAI's `logprobs` of a prompt. Its first token follows nothing: it has no score. `texts` are those of the first token
    and of the tokens that the engine reports without one."""
    table = no_scores()
    table["tokens"].append(texts[first])
    table["token_logprobs"].append(None)
    table["top_logprobs"].append(None)
    table["text_offset"].append(0)
    told = ({**item, "token": item["token"] or texts.get(item["id"], "")} for item in items)
    return extended(table, told, scores, len(texts[first]))


def no_scores() -> Scores:
    return {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}


def extended(table: Scores, items: Iterable[Mapping[str, Any]], scores: int, offset: int) -> Scores:
    """Adds the engine's token items; `offset` is the number of characters before the first of them. Several tokens may be
    pieces of one character."""
    letters = getincrementaldecoder("utf-8")("ignore")
    for item in items:
        table["tokens"].append(item["token"])
        table["token_logprobs"].append(item["logprob"])
        others = item.get("top_logprobs") or ()
        table["top_logprobs"].append({other["token"]: other["logprob"] for other in others[:scores]} if scores else None)
        table["text_offset"].append(offset)
        offset += len(letters.decode(bytes(item.get("bytes") or item["token"].encode())))
    return table
