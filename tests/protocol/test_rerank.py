"""Scores as the engine's heads give them, and as clients are told them."""

from __future__ import annotations

import base64
import json
import math
import struct
from typing import Any

import pytest

from freehold.errors import EngineBadResponse, InvalidRequest
from freehold.protocol.plan import Plan
from freehold.protocol.requests import parse
from freehold.protocol.requests.rerank import CohereRequest, RerankRequest
from freehold.protocol.rerank import rerank_plan
from freehold.protocol.values import Target


def target(capability: str = "rerank", score: str = "logit") -> Target:
    return Target("m", capability, 512, 1, 1000, 0, frozenset({capability}), score=score)


def planned(body: dict[str, Any], to: Target, kind: type[RerankRequest] = RerankRequest) -> Plan:
    return rerank_plan(parse(kind, json.dumps({"query": "q", "documents": ["a", "b", "c"], **body}).encode()).value, to)


def ranked(body: dict[str, Any], raw: list[Any], to: Target, kind: type[RerankRequest] = RerankRequest) -> dict[str, Any]:
    """The whole answer, where the engine gives these scores."""
    rows = [{"index": index, "relevance_score": score} for index, score in enumerate(raw)]
    return planned(body, to, kind).joiner(()).whole([{"results": rows[::-1], "usage": {"prompt_tokens": 9}}])


def scores(answer: dict[str, Any]) -> list[float]:
    return [row["relevance_score"] for row in sorted(answer["results"], key=lambda row: row["index"])]


@pytest.mark.parametrize(
    ("score", "raw", "told"),
    [
        ("logit", [0.0, 2.0, -800.0], [0.5, 1 / (1 + math.exp(-2)), 0.0]),
        ("tanh", [0.0, math.tanh(2.0), -1.0], [0.5, 1 / (1 + math.exp(-2)), 0.00017]),
        ("probability", [0.25, 0.5, 1.0], [0.25, 0.5, 1.0]),
    ],
)
def test_whatever_the_head_gives_a_score_is_a_probability(score: str, raw: list[float], told: list[float]) -> None:
    assert scores(ranked({}, raw, target(score=score))) == pytest.approx(told, abs=1e-4)


def test_the_best_come_first_and_equals_stay_in_order() -> None:
    answer = ranked({"top_n": 2}, [1.0, 3.0, 1.0], target())
    assert [row["index"] for row in answer["results"]] == [1, 0]
    assert [row["index"] for row in answer["data"]] == [1, 0]
    assert answer["usage"] == {"prompt_tokens": 9, "total_tokens": 9}


def test_jina_shows_documents_and_cohere_does_not() -> None:
    documents = ["plain", {"text": "with more", "id": 7}]
    shown = ranked({"documents": documents}, [1.0, 0.0], target())
    assert [row["document"] for row in shown["results"]] == [{"text": "plain"}, {"text": "with more", "id": 7}]
    hidden = ranked({"documents": documents}, [1.0, 0.0], target(), CohereRequest)
    assert all(row.keys() == {"index", "relevance_score"} for row in hidden["results"])
    assert hidden["meta"]["api_version"] == {"version": "2"}


@pytest.mark.parametrize("raw", [[1.0, 2.0], [1.0, None, 2.0], [1.0, float("nan"), 2.0]])
def test_a_score_that_is_missing_or_no_number_is_an_error_of_the_engine(raw: list[Any]) -> None:
    with pytest.raises(EngineBadResponse):
        ranked({}, raw, target())


def test_many_documents_are_several_calls_and_keep_their_numbers() -> None:
    documents = [f"document {number}" for number in range(150)]
    plan = planned({"documents": documents}, target())
    sent = [json.loads(body)["documents"] for body in plan.bodies]
    assert [text for some in sent for text in some] == documents
    assert len(sent) == 3
    answers = [
        {"results": [{"index": place, "relevance_score": float(text.split()[1])} for place, text in enumerate(some)]}
        for some in sent
    ]
    answer = plan.joiner(()).whole(answers)
    assert [row["index"] for row in answer["results"]][-1] == 0
    assert answer["results"][0]["relevance_score"] == 1.0
    assert sorted(row["index"] for row in answer["results"]) == list(range(150))


def test_embeddings_are_compared_by_their_angle() -> None:
    vectors = [(1.0, 0.0), (0.0, 2.0), (5.0, 0.0), (-1.0, 0.0)]
    rows = [
        {"index": index, "embedding": base64.b64encode(struct.pack("<2f", *vector)).decode()}
        for index, vector in enumerate(vectors)
    ]
    plan = planned({}, target("embeddings"))
    assert plan.path == "/v1/embeddings"
    assert json.loads(plan.bodies[0])["input"] == ["q", "a", "b", "c"]
    answer = plan.joiner(()).whole([{"data": rows}])
    assert answer["method"] == "embedding-similarity"
    assert scores(answer) == pytest.approx([0.0, 1.0, -1.0])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"documents": []}, "documents"),
        ({"documents": ["a", ""]}, "documents[1]"),
        ({"documents": ["a", {"text": 1}]}, "documents[1].text"),
        ({"documents": ["a"] * 2049}, "documents"),
        ({"documents": ["a", 5]}, "documents[1]"),
        ({"documents": "a"}, "documents"),
        ({"query": ""}, "query"),
        ({"query": "what is {document}?"}, "query"),
        ({"top_n": 0}, "top_n"),
        ({"max_tokens_per_doc": 100}, "max_tokens_per_doc"),
        ({"rank_fields": ["title"]}, "rank_fields"),
    ],
)
def test_what_cannot_be_ranked_is_refused_by_name(body: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        planned(body, target())
    assert (refused.value.param or "").startswith(param)


def test_a_model_that_chats_ranks_nothing() -> None:
    with pytest.raises(InvalidRequest, match="does not rank"):
        planned({}, target("chat"))
