"""Ranking documents by a query: by a model that reads both together, or by how near their embeddings are."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

from freehold.errors import EngineBadResponse, InvalidRequest
from freehold.protocol.embeddings import decoded
from freehold.protocol.plan import Echoed, OpenAIJoiner, Plan, encode, together
from freehold.protocol.requests.rerank import CohereRequest, RerankRequest
from freehold.protocol.values import Target, Usage

_BATCH = 64  # documents a call: small enough that others get their turn between two
_PLACE = "{document}"  # what the engine replaces by the document, wherever the query has it too


def rerank_plan(request: RerankRequest, target: Target) -> Plan:
    """Raises InvalidRequest for a model that neither ranks nor makes embeddings."""
    bodies: Iterable[bytes]
    joiner: type[RankJoiner]
    texts = request.texts
    if "rerank" in target.capabilities:
        if _PLACE in request.query:
            raise InvalidRequest(f"The query cannot have the text {_PLACE!r} in it.", param="query", code="invalid_value")
        path, joiner = "/v1/rerank", CrossEncoded
        bodies = (encode({"query": request.query, "documents": some}) for some in _batches(texts))
    elif "embeddings" in target.capabilities:
        path, joiner = "/v1/embeddings", Compared
        bodies = (encode({"input": some, "encoding_format": "base64"}) for some in _batches([request.query, *texts]))
    else:
        raise InvalidRequest(
            f"The model {target.name!r} does not rank documents. Choose a reranker, or an embedding model.",
            param="model",
            code="invalid_value",
        )

    def joined(echoed: Sequence[Echoed]) -> RankJoiner:
        return joiner(request, target)

    return Plan(
        path=path,
        bodies=together(bodies, param="documents"),
        concurrency=1,
        stream=False,
        include_usage=False,
        relay=False,
        param="documents",
        joiner=joined,
    )


def _batches(texts: Sequence[str]) -> Iterable[Sequence[str]]:
    return (texts[start : start + _BATCH] for start in range(0, len(texts), _BATCH))


class RankJoiner(OpenAIJoiner):
    """Documents with their scores, best first. `data` has them without texts, for clients that read lists by that name."""

    method: str

    def __init__(self, request: RerankRequest, target: Target):
        self._request = request
        self._target = target
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        return self._usage

    @abstractmethod
    def scores(self, answers: Sequence[Mapping[str, Any]]) -> list[float]:
        """A score for each document, in the documents' order."""

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        for answer in answers:
            self._usage += Usage.from_engine(answer.get("usage") or {})
        scores = self.scores(answers)
        if len(scores) != len(self._request.documents) or not all(map(math.isfinite, scores)):
            raise EngineBadResponse("The model's engine did not give every document a score.")
        order = sorted(range(len(scores)), key=lambda index: (-scores[index], index))[: self._request.top_n]
        tokens = self._usage.prompt_tokens
        return {
            "object": "list",
            "model": self._target.name,
            "method": self.method,
            "results": [self._result(index, scores[index]) for index in order],
            "data": [{"index": index, "relevance_score": scores[index]} for index in order],
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
            "meta": {
                "api_version": {"version": "2" if isinstance(self._request, CohereRequest) else "1"},
                "tokens": {"input_tokens": tokens},
            },
        }

    def _result(self, index: int, score: float) -> dict[str, Any]:
        result: dict[str, Any] = {"index": index, "relevance_score": score}
        if self._request.shows_documents:
            document = self._request.documents[index]
            result["document"] = {"text": document} if isinstance(document, str) else document.model_dump()
        return result


class CrossEncoded(RankJoiner):
    """By a model that reads the query and a document together: the probability that it answers the query."""

    method = "cross-encoder"

    def scores(self, answers: Sequence[Mapping[str, Any]]) -> list[float]:
        found: list[float] = []
        for answer in answers:
            rows = sorted(answer.get("results") or (), key=lambda row: row["index"])
            found += [float("nan") if row["relevance_score"] is None else float(row["relevance_score"]) for row in rows]
        return list(map(_PROBABILITIES[self._target.score or "logit"], found))


class Compared(RankJoiner):
    """By the cosine between the embedding of the query and that of each document, from -1 to 1."""

    method = "embedding-similarity"

    def scores(self, answers: Sequence[Mapping[str, Any]]) -> list[float]:
        rows = [row for answer in answers for row in sorted(answer["data"], key=lambda row: row["index"])]
        query, *documents = (decoded(row["embedding"]) for row in rows)
        return [_cosine(query, document) for document in documents]


def _cosine(one: Sequence[float], other: Sequence[float]) -> float:
    lengths = math.hypot(*one) * math.hypot(*other)
    return sum(a * b for a, b in zip(one, other, strict=True)) / lengths if lengths else 0.0


def _sigmoid(logit: float) -> float:
    small = math.exp(-abs(logit))
    return (1.0 if logit >= 0 else small) / (1.0 + small)


def _of_tanh(value: float) -> float:
    """The sigmoid of the logit that the head took the hyperbolic tangent of: 32 bits of it end at about ±8."""
    most = 1 - 2**-24
    return _sigmoid(math.atanh(max(-most, min(most, value)))) if math.isfinite(value) else value


_PROBABILITIES: Mapping[str, Callable[[float], float]] = MappingProxyType(
    {"logit": _sigmoid, "tanh": _of_tanh, "probability": float}
)
