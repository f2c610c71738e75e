"""Answers of a decision model: probabilities for typed questions, read from one look at the prompt; nothing is generated."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import count
from typing import Any

from freehold.errors import EngineBadResponse, InvalidRequest
from freehold.protocol.plan import OpenAIJoiner, Plan, encode
from freehold.protocol.requests.decision import (
    Asked,
    DecisionRequest,
    InputText,
    Instructions,
    Pick,
    Predicate,
    SystemOneRequest,
    text_of,
)
from freehold.protocol.values import Target, Usage

_MARK = re.compile(r"<\|(\w+)\|>")


def systemone_plan(request: SystemOneRequest, target: Target) -> Plan:
    """Both raise InvalidRequest for a model that decides nothing."""
    questions = {name: question.model_dump(exclude_none=True) for name, question in request.questions.items()}
    return _plan(request.state, questions, target, SystemOneJoiner(target.name), "state")


def decision_plan(request: DecisionRequest, target: Target) -> Plan:
    names = _names(request.questions)
    questions = dict(zip(names, map(_question, request.questions), strict=True))
    return _plan(_state(request.input), questions, target, DecisionJoiner(target.name, request.questions, names), "input")


def _plan(state: Any, questions: Mapping[str, Any], target: Target, joiner: SystemOneJoiner, param: str) -> Plan:
    if "decision" not in target.capabilities:
        raise InvalidRequest(
            f"The model {target.name!r} is no decision model: it has no probabilities for answers.",
            param="model",
            code="invalid_value",
        )
    if any(_MARK.search(key) for name, question in questions.items() for key in (name, *_keys(question))):
        problem = "A question or an option cannot be named like a special token."
        raise InvalidRequest(problem, param="questions", code="invalid_value")
    return Plan(
        path="/v1/systemone",
        bodies=(encode({"state": _letters(state), "questions": {name: _letters(asked) for name, asked in questions.items()}}),),
        concurrency=max(1, min(len(questions), target.slots)),  # the engine asks that many at once
        stream=False,
        include_usage=False,
        relay=False,
        param=param,
        joiner=lambda _: joiner,
    )


def _keys(question: Mapping[str, Any]) -> Iterable[str]:
    criteria = question.get("criteria")
    return criteria if isinstance(criteria, dict) else ()


def _letters(value: Any) -> Any:
    """The value without what the engine, which reads the whole prompt for special tokens, would take for one. (It does the
    same itself for some kinds of these models.)"""
    match value:
        case str():
            return _MARK.sub("<¦\\1¦>", value)
        case list():
            return [_letters(item) for item in value]
        case dict():
            return {_letters(name): _letters(item) for name, item in value.items()}
    return value


def _names(questions: Sequence[Asked]) -> list[str]:
    """The engine answers by name, and some models are shown it: the question's own, or its number where that is none."""
    names: list[str] = []
    for place, question in enumerate(questions, 1):
        own = question.name or f"question {place}"
        names.append(own if own not in names else next(name for n in count(2) if (name := f"{own} {n}") not in names))
    return names


def _question(question: Asked) -> dict[str, Any]:
    instructions = _instructions(question.instructions)
    if isinstance(question, Predicate):
        return {"type": "noul", "instructions": instructions}
    if isinstance(question, Pick):
        criteria = {text_of(option.value): option.description for option in question.choices}
        return {"type": "choice", "instructions": instructions, "criteria": criteria}
    levels = [f"{level.label}: {level.description}" if level.description else level.label for level in question.levels]
    return {"type": "score", "instructions": instructions, "criteria": levels}


def _instructions(given: Instructions) -> str:
    if isinstance(given, str):
        return given
    parts = [part.text if isinstance(part, InputText) else json.dumps(part.data, ensure_ascii=False) for part in given]
    return "\n".join(parts)


def _state(given: str | Sequence[Mapping[str, Any]]) -> Any:
    """Messages with their texts; whatever else there is, as it is. Raises InvalidRequest for a picture."""
    if isinstance(given, str):
        return given
    return [_item(item, f"input[{place}]") for place, item in enumerate(given)]


def _item(item: Mapping[str, Any], param: str) -> dict[str, Any]:
    made = {name: value for name, value in item.items() if name != "prompt_cache_breakpoint"}
    for name in ("content", "output"):
        if isinstance(parts := item.get(name), list):
            made[name] = "\n".join(_text(part, f"{param}.{name}[{place}]") for place, part in enumerate(parts))
    return made


def _text(part: Any, param: str) -> str:
    kind = part.get("type") if isinstance(part, dict) else None
    if kind == "input_json" and isinstance(part.get("data"), dict | list):
        return json.dumps(part["data"], ensure_ascii=False)
    text = part.get("refusal" if kind == "refusal" else "text") if isinstance(part, dict) else None
    if not isinstance(text, str):
        raise InvalidRequest(
            "A part must be a text or JSON: questions are answered about texts alone.", param=param, code="unsupported_content"
        )
    return text


class SystemOneJoiner(OpenAIJoiner):
    """The engine's own answers, by the questions' names."""

    def __init__(self, model: str):
        self._model = model
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        return self._usage

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        found, usage = self._read(answers)
        return {"model": self._model, "answers": found, "usage": usage}

    def _read(self, answers: Sequence[Mapping[str, Any]]) -> tuple[Mapping[str, Any], dict[str, int]]:
        found, usage = answers[0].get("answers"), answers[0].get("usage") or {}
        if not isinstance(found, dict):
            raise EngineBadResponse("The model's engine did not answer the questions.")
        self._usage = Usage(int(usage.get("input_tokens") or 0), int(usage.get("output_tokens") or 0))
        return found, {"input_tokens": self._usage.prompt_tokens, "output_tokens": self._usage.completion_tokens}


class DecisionJoiner(SystemOneJoiner):
    """OpenAI's list of answers, in the order of the questions."""

    def __init__(self, model: str, questions: Sequence[Asked], names: Sequence[str]):
        super().__init__(model)
        self._questions = tuple(zip(names, questions, strict=True))

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        found, usage = self._read(answers)
        try:
            told = [{"name": question.name, **_answer(question, found[name])} for name, question in self._questions]
        except (LookupError, TypeError, ValueError):
            raise EngineBadResponse("The model's engine did not answer every question.") from None
        return {
            "model": self._model,
            "answers": told,
            "usage": {
                **usage,
                "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
                "output_tokens_details": {"reasoning_tokens": 0},
                "total_tokens": self._usage.prompt_tokens + self._usage.completion_tokens,
            },
        }


def _answer(question: Asked, found: Mapping[str, Any]) -> dict[str, Any]:
    if isinstance(question, Predicate):
        return {"type": "predicate", "probability": float(found["noul"])}
    likely, confidence = found["probabilities"], float(found["confidence"])
    if isinstance(question, Pick):
        values = {text_of(option.value): option.value for option in question.choices}
        return {
            "type": "choice",
            "choice": values[found["choice"]],
            "confidence": confidence,
            "probabilities": [{"value": value, "probability": float(likely[text])} for text, value in values.items()],
        }
    levels = [
        {"value": number, "label": level.label, "probability": float(likely[str(number)])}
        for number, level in enumerate(question.levels)
    ]
    return {"type": "score", "score": float(found["score"]), "confidence": confidence, "probabilities": levels}
