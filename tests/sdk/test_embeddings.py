"""Embeddings with OpenAI's Python SDK against the real starter model."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import openai
import pytest

from tests.sdk.wire import EMBEDDING, EMBEDDING_MODEL, cosine, embed

HELLO_WORLD = [101, 7592, 2088, 102]  # "[CLS] hello world [SEP]" in the vocabulary of BERT (uncased)
TEXTS = ["A cat sits on the mat.", "A feline rests on a rug.", "The stock market fell today."]


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture(scope="module")
async def aclient(server) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


def test_vectors_have_openais_shape_and_length_one(client):
    body = embed(client, TEXTS[0])
    (item,) = body["data"]
    assert len(item["embedding"]) == 384
    assert sum(x * x for x in item["embedding"]) == pytest.approx(1, abs=1e-4)
    assert client.models.retrieve(body["model"]).id == EMBEDDING_MODEL


def test_the_sdks_default_encoding_gives_the_same_numbers(client):
    # The SDK asks for base64 when nothing is said, and decodes it.
    decoded = client.embeddings.create(model=EMBEDDING, input=TEXTS)
    floats = embed(client, TEXTS)
    for one, other in zip(decoded.data, floats["data"], strict=True):
        assert one.embedding == pytest.approx(other["embedding"], abs=1e-6)
    assert decoded.usage.total_tokens == floats["usage"]["total_tokens"]


def test_base64_asked_for_is_base64(client):
    raw = client.embeddings.with_raw_response.create(model=EMBEDDING, input="x", encoding_format="base64")
    assert isinstance(raw.http_response.json()["data"][0]["embedding"], str)


def test_a_list_is_answered_in_order_as_its_texts_alone(client):
    together = embed(client, TEXTS)
    alone = [embed(client, text) for text in TEXTS]
    for item, single in zip(together["data"], alone, strict=True):
        assert cosine(item["embedding"], single["data"][0]["embedding"]) > 0.9999
    assert together["usage"]["total_tokens"] == sum(body["usage"]["total_tokens"] for body in alone)


def test_near_meanings_are_near(client):
    cat, feline, market = (item["embedding"] for item in embed(client, TEXTS)["data"])
    assert cosine(cat, feline) > cosine(cat, market) + 0.3


def test_many_texts_fit_one_request(client):
    body = embed(client, [f"text number {number}" for number in range(100)])
    assert len(body["data"]) == 100


def test_token_arrays_reach_the_model_as_they_are(client):
    one = embed(client, HELLO_WORLD)["data"]
    two = embed(client, [HELLO_WORLD, HELLO_WORLD])["data"]
    assert (len(one), len(two)) == (1, 2)
    assert cosine(one[0]["embedding"], two[1]["embedding"]) > 0.9999
    spelled = embed(client, "hello world")["data"][0]["embedding"]
    assert cosine(one[0]["embedding"], spelled) > 0.9999


@pytest.mark.parametrize("empty", ["", [], ["good", ""], [[]]], ids=["text", "list", "text in a list", "tokens in a list"])
def test_an_empty_input_is_refused(client, empty):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=EMBEDDING, input=empty)
    assert caught.value.param.startswith("input")


def test_a_size_the_model_was_not_trained_for_is_refused(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=EMBEDDING, input="x", dimensions=64)
    assert caught.value.param == "dimensions"
    assert len(embed(client, "x", dimensions=384)["data"][0]["embedding"]) == 384


def test_a_text_longer_than_the_models_context_is_refused_not_cut(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model=EMBEDDING, input="hello " * 600)
    assert caught.value.code == "context_length_exceeded"


def test_a_chat_model_does_not_embed_and_an_embedding_model_does_not_chat(client):
    with pytest.raises(openai.BadRequestError) as caught:
        client.embeddings.create(model="gpt-4o", input="x")
    assert caught.value.param == "model"
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=EMBEDDING, messages=[{"role": "user", "content": "x"}])
    assert caught.value.param == "model"


async def test_the_async_client_embeds(aclient):
    answer = await aclient.embeddings.create(model=EMBEDDING, input=TEXTS)
    assert [len(item.embedding) for item in answer.data] == [384] * 3
