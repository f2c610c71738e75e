"""The list of models with OpenAI's Python SDK."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest
from openai.types import Model

from tests.sdk.wire import CHAT_MODEL, EMBEDDING_MODEL, validated


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


def test_the_list_has_both_starter_models(client):
    raw = client.models.with_raw_response.list().http_response.json()
    assert raw["object"] == "list"
    assert {CHAT_MODEL, EMBEDDING_MODEL} <= {validated(Model, item)["id"] for item in raw["data"]}
    assert [model.id for model in client.models.list()] == [item["id"] for item in raw["data"]]


def test_one_model_is_retrieved_as_the_list_shows_it(client):
    listed = {model.id: model for model in client.models.list()}
    for name in (CHAT_MODEL, EMBEDDING_MODEL):
        assert client.models.retrieve(name).to_dict() == listed[name].to_dict()


def test_no_model_says_where_it_lies(client, starters):
    assert str(starters) not in client.models.with_raw_response.list().http_response.text


def test_an_unknown_model_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.models.retrieve("gpt-99")
    assert caught.value.code == "model_not_found"
