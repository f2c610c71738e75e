"""Cohere's Python SDK, for what this server has of Cohere's API."""

from __future__ import annotations

import cohere
import freehold_server as fh
import pytest

client = cohere.ClientV2(api_key="none", base_url=fh.ROOT)
DOCUMENTS = ["The invoice is due on Friday.", "A cat sleeps on the sofa.", "Interest rates rose again."]


def test_rerank():
    query = "Where does the cat sleep?"
    answer = client.rerank(model="rerank-v3.5", query=query, documents=DOCUMENTS, top_n=2)
    assert answer.results[0].index == 1
    assert len(answer.results) == 2
    older = cohere.Client(api_key="none", base_url=fh.ROOT).rerank(query=query, documents=DOCUMENTS, return_documents=True)
    assert older.results[0].document.text == DOCUMENTS[1]


def test_errors():
    with pytest.raises(cohere.NotFoundError):
        client.rerank(model="nobody", query="cat", documents=DOCUMENTS)
    with pytest.raises(cohere.BadRequestError):
        client.rerank(model="rerank-v3.5", query="cat", documents=[])
