"""Texts as a model's tokens and back: requests to engine calls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from freehold.errors import InvalidRequest
from freehold.protocol.chat import chat_plan
from freehold.protocol.plan import Joiner, OpenAIJoiner, Plan, encode
from freehold.protocol.requests.chat import ChatRequest
from freehold.protocol.requests.tokens import DetokenizeRequest, TemplateRequest, TokenizeRequest
from freehold.protocol.values import Target, Usage

_READS = frozenset({"chat", "embedding", "rerank"})


@dataclass(frozen=True)
class TokenizePlan(Plan):
    """The one body of a text is a call; that of a chat has to become a text first, which `options` then go with."""

    options: Mapping[str, Any] | None = None


def tokenize_plan(request: TokenizeRequest, target: Target) -> TokenizePlan:
    """Raises InvalidRequest for a model that reads no text."""
    _check(target)
    pieces = bool(request.with_pieces or request.return_token_strs)
    options = {
        "add_special": request.special,
        "parse_special": request.parse_special is not False,
        "with_pieces": pieces,
    }

    def joiner(_: object) -> Joiner:
        return Tokenized(lambda answer: _tokenized(answer, request, target))

    if request.text is not None:
        return TokenizePlan(**_plain("/tokenize", {"content": request.text, **options}, request.prompt is not None, joiner))
    plan = _chat(request, request.messages or [], target)
    if plan.images:
        problem = "What a picture comes to is known once it has been read: leave pictures out."
        raise InvalidRequest(problem, param="messages", code="invalid_value")
    fields = {name: getattr(plan, name) for name in Plan.__dataclass_fields__}
    return TokenizePlan(**{**fields, "path": "/tokenize", "joiner": joiner, "priority": "urgent"}, options=options)


def detokenize_plan(request: DetokenizeRequest, target: Target) -> Plan:
    """Raises InvalidRequest for a token that the model does not have."""
    _check(target)
    for token in request.tokens:
        if token >= target.vocab_size:
            raise InvalidRequest(
                f"Invalid 'tokens': {token} is not a token of this model, which has {target.vocab_size}.",
                param="tokens",
                code="invalid_value",
            )

    def joiner(_: object) -> Joiner:
        return Tokenized(lambda answer: {"content": answer["content"], "prompt": answer["content"]})

    return Plan(**_plain("/detokenize", {"tokens": request.tokens}, False, joiner))


def template_plan(request: TemplateRequest, target: Target) -> Plan:
    """Raises InvalidRequest for a model that does not chat, and for what its template cannot say."""

    def joiner(_: object) -> Joiner:
        return Tokenized(lambda answer: {"prompt": answer["prompt"]})

    plan = _chat(request, request.messages, target)
    return replace(plan, path="/apply-template", joiner=joiner, priority="urgent")


class Tokenized(OpenAIJoiner):
    """One call's answer, made into the client's. No token is read or written by the model, so none is counted."""

    usage = Usage()

    def __init__(self, shape: Callable[[Mapping[str, Any]], dict[str, Any]]):
        self._shape = shape

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return self._shape(answers[0])


def _check(target: Target) -> None:
    if target.task not in _READS:
        raise InvalidRequest(f"The model {target.name!r} has no tokens of text.", param="model", code="invalid_value")


def _plain(path: str, body: Mapping[str, Any], prompt: bool, joiner: Callable[[Any], Joiner]) -> dict[str, Any]:
    return {
        "path": path,
        "bodies": (encode(body),),
        "concurrency": 1,
        "stream": False,
        "include_usage": False,
        "relay": False,
        "param": "prompt" if prompt else "content" if path == "/tokenize" else "tokens",
        "joiner": joiner,
        "priority": "urgent",
    }


def _chat(request: TemplateRequest | TokenizeRequest, messages: Sequence[Any], target: Target) -> Plan:
    """A chat's plan; its one body is what the template is applied to."""
    chat = ChatRequest(
        model=request.model,
        messages=list(messages),
        tools=request.tools,
        reasoning_effort=request.reasoning_effort,
        max_completion_tokens=1,
    )
    begun = {} if request.add_generation_prompt is not False else {"add_generation_prompt": False}
    return replace(chat_plan(chat, target, begun), streamed=False)


def _tokenized(answer: Mapping[str, Any], request: TokenizeRequest, target: Target) -> dict[str, Any]:
    tokens = answer["tokens"]
    told: dict[str, Any] = {"count": len(tokens), "max_model_len": target.context, "tokens": tokens}
    if request.return_token_strs:
        told["token_strs"] = [_string(item["piece"]) for item in tokens]
    if not request.with_pieces and tokens and isinstance(tokens[0], dict):
        told["tokens"] = [item["id"] for item in tokens]
    return told


def _string(piece: str | Sequence[int]) -> str:
    return piece if isinstance(piece, str) else bytes(piece).decode(errors="replace")
