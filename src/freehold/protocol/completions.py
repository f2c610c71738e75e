"""Text completions: a request to engine calls, and their answers back, in OpenAI's older shape of log-probabilities."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from freehold.errors import InvalidRequest
from freehold.protocol.plan import Chunk, Echo, Echoed, OpenAIJoiner, Plan, encode, together
from freehold.protocol.requests.completion import CompletionRequest
from freehold.protocol.requests.sampling import has_stops, sampling_fields, streaming
from freehold.protocol.scoring import extended, no_scores
from freehold.protocol.values import Target, Usage


def completion_plan(request: CompletionRequest, target: Target) -> Plan:
    """Raises InvalidRequest for what this model cannot do."""
    if "completion" not in target.capabilities:
        raise InvalidRequest(
            f"The model {target.name!r} does not complete text; {target.does}.",
            param="model",
            code="invalid_value",
        )
    _check_tokens(request, target.vocab_size)
    choices = request.n or 1
    bodies = together(
        encode(_body(request, target, prompt) | sampling_fields(request, target, choice))
        for prompt in (request.prompt if request.limit else ())
        for choice in range(choices)
    )

    def joiner(echoed: Sequence[Echoed]) -> CompletionJoiner:
        return CompletionJoiner(
            target.name,
            prompts=len(request.prompt),
            choices=choices,
            scores=request.logprobs,
            include_usage=_shows_usage(request),
            echoed=echoed,
        )

    return Plan(
        path="/v1/completions",
        bodies=bodies,
        concurrency=max(1, min(len(bodies), target.slots)),
        stream=bool(request.stream),
        streamed=_streamed(request, target),
        include_usage=_shows_usage(request),
        relay=False,  # the engine's last text chunk carries the usage, and its ids are those of chats
        param="prompt",
        joiner=joiner,
        echo=_echo(request),
    )


def _echo(request: CompletionRequest) -> Echo | None:
    if not request.echo:
        return None
    return Echo(tuple(prompt if isinstance(prompt, str) else tuple(prompt) for prompt in request.prompt), request.logprobs)


def _streamed(request: CompletionRequest, target: Target) -> bool:
    """Whether the engine is asked for a stream, which it ends sooner when its client leaves. What llama.cpp's stream has too
    much of: the log-probabilities of a stop string's tokens."""
    return bool(request.stream or request.logprobs is None or not has_stops(request, target))


def _shows_usage(request: CompletionRequest) -> bool:
    return bool(request.stream_options and request.stream_options.include_usage)


def _body(request: CompletionRequest, target: Target, prompt: str | list[int]) -> dict[str, Any]:
    body: dict[str, Any] = {
        "prompt": prompt,
        "max_tokens": min(request.limit, target.context),
        **streaming(request, target, _streamed(request, target)),
    }
    if request.logprobs is not None:
        body["logprobs"] = max(1, request.logprobs)  # the engine takes 0 as "none at all"
    return body


def _check_tokens(request: CompletionRequest, vocabulary: int) -> None:
    for index, prompt in enumerate(request.prompt):
        for token in prompt if isinstance(prompt, list) else ():
            if token >= vocabulary:
                raise InvalidRequest(
                    f"Invalid 'prompt': {token} is not a token of this model, which has {vocabulary}.",
                    param="prompt" if len(request.prompt) == 1 else f"prompt[{index}]",
                    code="invalid_value",
                )


class CompletionJoiner(OpenAIJoiner):
    """One request's choices: with n choices a prompt, call k is choice k % n of prompt k // n."""

    def __init__(
        self, model: str, *, prompts: int, choices: int, scores: int | None, include_usage: bool, echoed: Sequence[Echoed]
    ):
        self._prompts = prompts
        self._choices = choices
        self._scores = scores
        self._include_usage = include_usage
        self._echoed = echoed
        self._usages: dict[int, Usage] = {}
        self._offsets = [len(self._echo(call).text) for call in range(prompts * choices)]
        self._head = {
            "id": f"cmpl-{secrets.token_hex(14)}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }

    @property
    def usage(self) -> Usage:
        """Each prompt counts once, however many choices were made of it."""
        if not self._usages and self._echoed:
            return Usage(sum(len((echo.logprobs or {}).get("tokens", ())) for echo in self._echoed))
        total = Usage()
        for call, usage in self._usages.items():
            first = call % self._choices == 0
            total += usage if first else Usage(0, usage.completion_tokens)
        return total

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        choices = []
        for call in range(self._prompts * self._choices):
            echo = self._echo(call)
            text, reason, items = echo.text, "length", None
            if answers:
                self._usages[call] = Usage.from_engine(answers[call].get("usage") or {})
                choice = answers[call]["choices"][0]
                text, reason = text + choice["text"], choice["finish_reason"]
                items = (choice.get("logprobs") or {}).get("content") or ()
            choices.append(
                {"text": text, "index": call, "logprobs": self._logprobs(call, echo, items), "finish_reason": reason}
            )
        return {**self._head, "choices": choices, "usage": self.usage.as_json()}

    def opening(self) -> Iterable[Chunk]:
        for call in range(self._prompts * self._choices) if self._echoed else ():
            echo = self._echo(call)
            yield self._chunk(call, echo.text, dict(echo.logprobs) if echo.logprobs else None, None)

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        if usage := chunk.get("usage"):
            self._usages[call] = Usage.from_engine(usage)
        for choice in chunk.get("choices", ()):
            items = (choice.get("logprobs") or {}).get("content")
            logprobs = None
            if items and self._scores is not None:
                logprobs = extended(no_scores(), items, self._scores, self._offsets[call])
            self._offsets[call] += len(choice["text"])
            yield self._chunk(call, choice["text"], logprobs, choice["finish_reason"])

    def closing(self) -> Iterable[Chunk]:
        return [{**self._head, "choices": [], "usage": self.usage.as_json()}] if self._include_usage else []

    def _echo(self, call: int) -> Echoed:
        return self._echoed[call // self._choices] if self._echoed else Echoed("")

    def _logprobs(self, call: int, echo: Echoed, items: Iterable[Mapping[str, Any]] | None) -> dict[str, Any] | None:
        if self._scores is None:
            return None
        table = {key: list(value) for key, value in echo.logprobs.items()} if echo.logprobs else no_scores()
        return extended(table, items or (), self._scores, self._offsets[call])

    def _chunk(self, call: int, text: str, logprobs: Mapping[str, Any] | None, reason: str | None) -> Chunk:
        return {**self._head, "choices": [{"text": text, "index": call, "logprobs": logprobs, "finish_reason": reason}]}
