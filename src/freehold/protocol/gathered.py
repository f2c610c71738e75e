"""A streamed chat, put together again as it passes, for who wants to keep it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from freehold.errors import FreeholdError
from freehold.protocol import sse
from freehold.protocol.assemble import Assembly
from freehold.protocol.plan import Chunk, Joiner
from freehold.protocol.values import Usage


class GatheringJoiner:
    """The chat's own joiner, whose chunks are also gathered, a choice each."""

    complete = False

    def __init__(self, inner: Joiner):
        self._inner = inner
        self._choices: dict[int, Assembly] = {}

    @property
    def usage(self) -> Usage:
        return self._inner.usage

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        return self._inner.whole(answers)

    def opening(self) -> Iterable[Chunk]:
        return self._inner.opening()

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        made = list(self._inner.chunk(call, chunk))
        for piece in made:
            for choice in piece["choices"]:
                self._choices.setdefault(choice["index"], Assembly("messages", "grammar")).feed(sse.encode(piece))
        return made

    def closing(self) -> Iterable[Chunk]:
        return self._inner.closing()

    def failed(self, error: FreeholdError) -> Iterable[Chunk]:
        return self._inner.failed(error)

    def completion(self) -> dict[str, Any]:
        """The whole completion, once all calls have ended."""
        answers = {index: self._choices[index].answer() for index in sorted(self._choices)}
        body = dict(next(iter(answers.values())))
        body["choices"] = [
            {
                "logprobs": None,
                **answer["choices"][0],
                "index": index,
                "message": {"content": None, "refusal": None, **answer["choices"][0]["message"]},
            }
            for index, answer in answers.items()
        ]
        return body | {"usage": self.usage.as_json()}
