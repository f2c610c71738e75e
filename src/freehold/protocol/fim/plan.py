"""From a request to fill in, whatever API it came by, to the engine's calls and back in that API's shape."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from freehold.errors import InvalidRequest
from freehold.protocol.completions import completion_plan
from freehold.protocol.fim.chat import CHAT, Question, question
from freehold.protocol.fim.families import NAMES, Family, family_of
from freehold.protocol.fim.fill import Extra, Fill, Filled
from freehold.protocol.fim.shapes import Infill, Joined, Mistral, OpenAI, Shape, Tabby
from freehold.protocol.framing import CHUNKS, Framing
from freehold.protocol.plan import Echoed, Plan
from freehold.protocol.requests.completion import CompletionRequest
from freehold.protocol.requests.fim import FimRequest, InfillRequest, TabbyRequest
from freehold.protocol.values import Target

_DEFAULT = 128  # tokens of an answer where an editor's API sets no number
_BAN = -100.0


@dataclass(frozen=True)
class FillPlan(Plan):
    """A plan that is not complete until the fill's texts are tokens: `finish` takes the prompt and gives the plan that is run.
    `room` is how many tokens the prompt may have; `question` is how a model is asked that has no tokens for it; `warm` says
    that the prompt is only to be read, and `fields` what the answer to that has."""

    fill: Fill = field(default_factory=lambda: Fill("", ""))
    family: Family = field(default_factory=lambda: Family("", "", ""))
    marks: Mapping[str, int] = field(default_factory=dict)
    room: int = 0
    question: Question | None = None
    warm: bool = False
    fields: tuple[str, ...] | None = None
    finish: Callable[[Filled], Plan] = field(default=lambda filled: _unfinished())


def openai_plan(request: CompletionRequest, target: Target) -> Plan:
    """Text completions, with a suffix or without. Raises InvalidRequest for what goes not together with one."""
    if not request.suffix:
        return completion_plan(request, target)
    if len(request.prompt) != 1 or not isinstance(request.prompt[0], str):
        raise InvalidRequest("With a 'suffix', 'prompt' is one string.", param="prompt", code="invalid_value")
    for name in ("echo", "logprobs", "grammar"):
        if getattr(request, name):
            raise InvalidRequest(f"'{name}' cannot be given together with 'suffix'.", param=name, code="invalid_value")
    return _plan(request, Fill(request.prompt[0], request.suffix), target, OpenAI)


def fim_plan(request: FimRequest, target: Target) -> Plan:
    given = {name: getattr(request, name) for name in ("temperature", "top_p", "stop", "presence_penalty", "frequency_penalty")}
    limit = request.max_tokens or target.max_output_tokens
    completion = _completion(request, stream=request.stream, max_tokens=limit, seed=request.random_seed, **given)
    return _plan(completion, Fill(request.prompt, request.suffix or ""), target, Mistral)


def infill_plan(request: InfillRequest, target: Target) -> Plan:
    given = {name: getattr(request, name) for name in ("temperature", "top_k", "top_p", "min_p", "seed", "stop")}
    wanted = request.n_predict
    limit = target.max_output_tokens if wanted == -1 else _DEFAULT if wanted is None else wanted
    extras = tuple(Extra(extra.filename, extra.text) for extra in request.input_extra)
    fill = Fill(request.input_prefix + request.prompt, request.input_suffix, extras=extras)
    completion = _completion(request, stream=request.stream, max_tokens=max(limit, 1), **given)

    def shape(joined: Joined) -> Shape:
        return Infill(joined, request.response_fields)

    plan = _plan(completion, fill, target, shape, param="input_prefix", framing=_INFILL)
    fields = None if request.response_fields is None else tuple(request.response_fields)
    return plan if limit else replace(plan, warm=True, stream=False, fields=fields)


def tabby_plan(request: TabbyRequest, target: Target) -> Plan:
    segments = request.segments
    snippets = (
        *(segments.declarations or ()),
        *(segments.relevant_snippets_from_changed_files or ()),
        *(segments.relevant_snippets_from_recently_opened_files or ()),
    )
    extras = tuple(Extra(snippet.filepath, snippet.body) for snippet in reversed(snippets))  # Tabby's best come first
    if segments.clipboard:
        extras = (Extra("", segments.clipboard), *extras)
    repo = (segments.git_url or "").rstrip("/").removesuffix(".git").rpartition("/")[2]
    fill = Fill(segments.prefix, segments.suffix or "", segments.filepath or "", repo, extras)
    completion = _completion(request, max_tokens=_DEFAULT, temperature=request.temperature, seed=request.seed)
    return _plan(completion, fill, target, Tabby, param="segments")


_INFILL = Framing(CHUNKS.content_type, CHUNKS.encode)  # as OpenAI's, without its end


def _completion(request: Any, **fields: Any) -> CompletionRequest:
    given = {name: value for name, value in fields.items() if value is not None}
    return CompletionRequest(model=request.model, prompt=[""], keep_alive=request.keep_alive, **given)


def _plan(
    request: CompletionRequest,
    fill: Fill,
    target: Target,
    shape: Callable[[Joined], Shape],
    *,
    param: str = "prompt",
    framing: Framing = CHUNKS,
) -> FillPlan:
    family = _family(target)
    room = target.context - min(request.limit, target.context // 2)
    worded = question(fill) if family is CHAT else None
    changed: dict[str, Any] = {"suffix": None}
    if worded is None:
        banned = {str(target.marks[mark]): _BAN for mark in family.banned}
        changed["logit_bias"] = {**banned, **(request.logit_bias or {})}
    else:
        given = request.stop if "stop" in request.model_fields_set else target.sampling.get("stop")
        changed["stop"] = [*(given if isinstance(given, list | tuple) else ()), *worded.stops]
    asked = request.model_copy(update=changed)

    def finish(filled: Filled) -> Plan:
        plan = completion_plan(asked.model_copy(update={"prompt": [list(filled.tokens)]}), target)

        def joiner(echoed: Sequence[Echoed]) -> Shape:
            return shape(Joined(plan.joiner(echoed), fill.suffix, filled, worded.blanks if worded else ""))

        return replace(plan, joiner=joiner, param=param, framing=framing)

    draft = completion_plan(asked.model_copy(update={"prompt": [fill.prefix + fill.suffix]}), target)
    values = {name: getattr(draft, name) for name in Plan.__dataclass_fields__}
    return FillPlan(
        **values | {"param": param, "framing": framing, "priority": "urgent"},
        fill=fill,
        family=family,
        marks=target.marks,
        room=room,
        question=worded,
        finish=finish,
    )


def _family(target: Target) -> Family:
    if "completion" not in target.capabilities:
        raise InvalidRequest(
            f"The model {target.name!r} does not complete text; choose a code model.", param="model", code="invalid_value"
        )
    if target.external:
        raise InvalidRequest(
            f"The model {target.name!r} is an external engine's; those are not asked to fill in. Choose one that runs here.",
            param="model",
            code="unsupported_parameter",
        )
    family = CHAT if "fim_by_chat" in target.capabilities else family_of(target.marks, target.fim)
    if family is not None:
        return family
    if target.fim:
        reason = f"lacks the tokens of the family {target.fim!r} (setting `fim`; there are {', '.join(NAMES)})"
    else:
        reason = "has no tokens for filling in the middle"
    raise InvalidRequest(
        f"The model {target.name!r} {reason}. Code models have them: freehold models --task fim. "
        f'Any chat model can be asked in words instead, where `fim = "{CHAT.name}"` is set for it.',
        param="model",
        code="unsupported_parameter",
    )


def _unfinished() -> Plan:
    raise AssertionError("a fill plan is made with its finish")
