"""Ranking by tiny cross-encoders with random weights, and by the embeddings of the starter model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving
from tests.zoo.build import write
from tests.zoo.shapes import zoo

RANKERS = ("bge-reranker", "qwen3-reranker")
DOCUMENTS = ["hello world", "what is the answer to it", "in the end"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    data = tmp_path_factory.mktemp("rerank")
    for shape in zoo():
        if shape.name in RANKERS:
            path = write(shape, tmp_path_factory.mktemp("file"))
            pull(Store(data), str(path), name=shape.name, on_progress=lambda progress: None)
    fake_model(data)
    fake_model(data, "vectors", "embedding")
    return data


@pytest.fixture(scope="module")
def ranker(data: Path) -> Iterator[Server]:
    env = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "vectors",
        "FREEHOLD_DEFAULT_RERANK": "bge-reranker",
        "FREEHOLD_PRELOAD": "false",
        "FREEHOLD_ENGINE_SLOTS": "2",
    }
    with serving(data, env=env, ready=False) as running:
        yield running


def ranked(server: Server, path: str = "/v1/rerank", **body: Any) -> dict[str, Any]:
    status, _, answer = server.post(path, {"query": "the answer", "documents": DOCUMENTS, **body})
    assert status == 200, answer
    return dict(answer)


def test_all_routes_and_the_names_of_cohere_and_jina_reach_the_default_reranker(ranker: Server) -> None:
    first = ranked(ranker)
    assert (first["model"], first["method"]) == ("bge-reranker", "cross-encoder")
    assert [row["document"]["text"] for row in first["results"]] == [DOCUMENTS[row["index"]] for row in first["results"]]
    for path, model in (("/rerank", "jina-reranker-v2-base-multilingual"), ("/v2/rerank", "rerank-v3.5")):
        again = ranked(ranker, path, model=model)
        assert again["data"] == first["data"]


def test_a_documents_score_depends_on_the_query_and_not_on_its_neighbours(ranker: Server) -> None:
    by_index = {row["index"]: row["relevance_score"] for row in ranked(ranker)["data"]}
    alone = ranked(ranker, documents=DOCUMENTS[1:2])["data"][0]["relevance_score"]
    assert alone == pytest.approx(by_index[1], abs=1e-5)
    assert ranked(ranker, query="hello", documents=DOCUMENTS[1:2])["data"][0]["relevance_score"] != pytest.approx(
        alone, abs=1e-5
    )


def test_more_documents_than_one_call_takes_are_all_ranked(ranker: Server) -> None:
    answer = ranked(ranker, documents=DOCUMENTS * 50, top_n=100)
    assert len({row["index"] for row in answer["data"]}) == 100
    assert answer["data"][0]["relevance_score"] == pytest.approx(answer["data"][40]["relevance_score"], abs=1e-4)


def test_a_decoder_ranks_long_documents(ranker: Server) -> None:
    answer = ranked(ranker, model="qwen3-reranker", documents=["hello " * 60, "the answer " * 20, "hello"])
    assert all(0 < row["relevance_score"] < 1 for row in answer["data"])
    assert len({row["relevance_score"] for row in answer["data"]}) == 3


@pytest.mark.parametrize("model", RANKERS)
def test_a_document_that_does_not_fit_is_refused_with_the_figures(ranker: Server, model: str) -> None:
    status, _, answer = ranker.post("/v1/rerank", {"model": model, "query": "hello", "documents": ["short", "hello " * 2000]})
    assert (status, answer["error"]["code"], answer["error"]["param"]) == (400, "context_length_exceeded", "documents")
    assert "512" in answer["error"]["message"]


def test_a_reranker_neither_chats_nor_embeds_and_says_so_of_itself(ranker: Server) -> None:
    card = ranker.get("/v1/models/bge-reranker")[2]
    assert card["capabilities"]["rerank"]
    assert card["architecture"]["output_modalities"] == ["score"]
    assert ranker.chat("hello", model="bge-reranker")[0] == 400
    assert ranker.post("/v1/embeddings", {"model": "bge-reranker", "input": "hello"})[0] == 400
    status, _, answer = ranker.post("/v1/rerank", {"model": "fake", "query": "hello", "documents": ["a"]})
    assert (status, answer["error"]["param"]) == (400, "model")


def test_without_a_reranker_the_embedding_model_compares_and_the_answer_says_so(server: Server) -> None:
    documents = ["The invoice is due on Friday.", "A cat sleeps on the sofa.", "The committee rejected the budget."]
    answer = ranked(server, query="Where does the cat sleep?", documents=documents)
    assert answer["method"] == "embedding-similarity"
    assert answer["model"] == "all-minilm:22m"
    assert answer["results"][0]["index"] == 1
    assert answer["results"][0]["relevance_score"] > 0.5 > answer["results"][1]["relevance_score"]
    assert answer["usage"]["prompt_tokens"] > 20
