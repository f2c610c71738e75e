"""Moderations: the verdicts of a guard model as OpenAI's categories and scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from freehold.errors import EngineBadResponse, InvalidRequest
from freehold.protocol.guards import BY_NAME, CATEGORIES, PLACE, Guard
from freehold.protocol.plan import Joiner, OpenAIJoiner, Plan, encode, together
from freehold.protocol.requests.moderation import ModerationRequest
from freehold.protocol.values import Target, Usage

_FLAGGED = 0.5  # the verdict that a model would write: the likelier one
_LIFT = 100  # added to the logits of both verdicts, so that they are the likeliest tokens, in their own proportion


@dataclass(frozen=True)
class ModerationPlan(Plan):
    """The guard's prompts are made of tokens, once there is an engine that knows them: see `finish`."""

    guard: Guard = BY_NAME["llama-guard"]
    texts: tuple[str, ...] = ()
    model: str = ""

    def finish(self, prompts: Sequence[str], texts: Sequence[Sequence[int]], harmful: int, harmless: int) -> Plan:
        """The calls: for each text one a policy, in order. `prompts` are the policies' prompts with the text's place in them,
        `texts` the texts' tokens, the others the first tokens of the verdicts. What a text says of special tokens is text."""
        bodies = (encode(_body(prompt, text, harmful, harmless)) for text in texts for prompt in prompts)
        joiner = ModerationJoiner(self.guard, harmful, harmless, self.model)
        return replace(_finished(self), bodies=together(bodies, param="input"), joiner=lambda _: joiner)


def moderation_plan(request: ModerationRequest, target: Target) -> ModerationPlan:
    """Raises InvalidRequest for a model that is no guard."""
    guard = BY_NAME.get(target.guard)
    if guard is None:
        raise InvalidRequest(
            f"The model {target.name!r} is no guard model: it gives no verdicts.", param="model", code="invalid_value"
        )
    texts = tuple(request.texts)
    return ModerationPlan(
        path="/completion",
        bodies=(encode({"input": texts}),),
        concurrency=min(len(texts) * len(guard.policies), target.slots),
        stream=False,
        include_usage=False,
        relay=False,
        param="input",
        joiner=_unfinished,
        guard=guard,
        texts=texts,
        model=target.name,
    )


def _unfinished(_: object) -> Joiner:
    raise AssertionError("a moderation is finished before it is joined")


def _finished(plan: ModerationPlan) -> Plan:
    return Plan(**{name: getattr(plan, name) for name in Plan.__dataclass_fields__})


def _body(prompt: str, text: Sequence[int], harmful: int, harmless: int) -> dict[str, Any]:
    before, _, after = prompt.partition(PLACE)
    return {
        "prompt": [before, *text, after],
        "n_predict": 1,
        "temperature": 1,
        "samplers": ["temperature"],
        "seed": 0,
        "logit_bias": [[harmful, _LIFT], [harmless, _LIFT]],
        "n_probs": 2,
        "post_sampling_probs": True,
        "cache_prompt": True,
    }


class ModerationJoiner(OpenAIJoiner):
    """A category's score is the share of the guard's harmful verdict among both; one that the guard does not know has null."""

    def __init__(self, guard: Guard, harmful: int, harmless: int, model: str):
        self._guard = guard
        self._verdicts = (harmful, harmless)
        self._model = model
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        return self._usage

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        self._usage = Usage(prompt_tokens=sum(int(answer.get("tokens_evaluated") or 0) for answer in answers))
        scores = [self._score(answer) for answer in answers]
        each = len(self._guard.policies)
        results = [self._result(scores[start : start + each]) for start in range(0, len(scores), each)]
        return {"model": self._model, "results": results}

    def _score(self, answer: Mapping[str, Any]) -> float:
        try:
            found = {item["id"]: float(item["prob"]) for item in answer["completion_probabilities"][0]["top_probs"]}
            harmful, harmless = (found[token] for token in self._verdicts)
            return harmful / (harmful + harmless)
        except (LookupError, TypeError, ValueError, ZeroDivisionError):
            raise EngineBadResponse("The model's engine did not tell how likely the guard's verdicts are.") from None

    def _result(self, scores: Sequence[float]) -> dict[str, Any]:
        known = dict(zip(self._guard.policies, scores, strict=True))
        categories = {name: known[name] > _FLAGGED if name in known else None for name in CATEGORIES}
        return {
            "flagged": any(categories.values()),
            "categories": categories,
            "category_scores": {name: known.get(name) for name in CATEGORIES},
            "category_applied_input_types": {name: ["text"] if name in known else [] for name in CATEGORIES},
        }
