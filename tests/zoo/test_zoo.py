"""Models of every shape that people run: made here, tiny and random, then installed and asked like any other."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest
from gguf import TokenType

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving
from tests.zoo.build import Shape, write
from tests.zoo.shapes import zoo

SHAPES = zoo()
ENGINE = {
    "FREEHOLD_PRELOAD": "false",
    "FREEHOLD_DEFAULT_CHAT": "fake",
    "FREEHOLD_DEFAULT_EMBEDDING": "fake",
    "FREEHOLD_ENGINE_CONTEXT": "256",
    "FREEHOLD_ENGINE_SLOTS": "1",
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("zoo")
    fake_model(folder)
    return folder


@pytest.fixture(scope="module")
def keeper(data: Path) -> Iterator[Server]:
    with serving(data, env=ENGINE, ready=False) as running:
        yield running


def parameters(shape: Shape) -> int:
    return sum(math.prod(sizes) for sizes in shape.tensors.values())


def test_the_zoo_has_at_least_thirty_shapes_of_different_kinds() -> None:
    assert len({shape.name for shape in SHAPES}) == len(SHAPES) >= 30
    assert len({shape.arch for shape in SHAPES}) >= 25
    assert {shape.tokenizer.model for shape in SHAPES if shape.tokenizer} == {"gpt2", "llama", "bert", "t5"}
    assert {shape.kind for shape in SHAPES} == {"F32", "F16", "BF16", "Q8_0", "Q4_0"}


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.name)
def test_a_model_of_this_shape_is_installed_described_loaded_and_answers(
    shape: Shape, data: Path, keeper: Server, tmp_path: Path
) -> None:
    path = write(shape, tmp_path)
    manifest = pull(Store(data), str(path), name=shape.name, on_progress=lambda progress: None)
    facts = manifest.facts
    assert facts is not None
    assert (facts.architecture, facts.parameters) == (shape.arch, parameters(shape))
    assert facts.chat_template == shape.template
    status, _, card = keeper.get(f"/v1/models/{shape.name}")
    assert status == 200, card
    assert card["quantization"] == shape.kind
    assert card["meta"]["n_vocab"] == len(shape.tokenizer or ())
    assert card["capabilities"]["embeddings"] is (shape.task == "embedding")
    assert card["capabilities"]["tools"] is ("tools" in (shape.template or ""))
    if shape.task == "embedding":
        embeds(keeper, shape)
    else:
        chats(keeper, shape)
    assert keeper.request("DELETE", f"/v1/models/{shape.name}")[0] == 200


def unseen(shape: Shape) -> list[int]:
    """The tokens that end an answer or are no text: random weights would choose them as readily as any."""
    assert shape.tokenizer is not None
    return [token for token, kind in enumerate(shape.tokenizer.types) if kind == TokenType.CONTROL]


def embeds(server: Server, shape: Shape) -> None:
    body = {"model": shape.name, "input": ["hello", "what is the answer", "hello"]}
    status, _, answer = server.post("/v1/embeddings", body)
    assert status == 200, answer
    first, second, again = (item["embedding"] for item in answer["data"])
    assert len(first) == shape.keys["embedding_length"]
    assert math.isclose(math.hypot(*first), 1, rel_tol=1e-3)
    assert first == pytest.approx(again, abs=1e-4)
    assert first != pytest.approx(second, abs=1e-2)


def chats(server: Server, shape: Shape) -> None:
    body = {
        "model": shape.name,
        "messages": [{"role": "user", "content": "hello, what is the answer"}],
        "max_tokens": 12,
        "temperature": 0,
        "logprobs": True,
        "top_logprobs": 2,
        "grammar": "root ::= [a-z ]+",  # whole letters: of half ones nothing is shown, nor their probability
        "logit_bias": {str(token): -100 for token in unseen(shape)},
    }
    status, _, answer = server.post("/v1/chat/completions", body)
    assert status == 200, answer
    usage, choice = answer["usage"], answer["choices"][0]
    assert usage["prompt_tokens"] > 0
    assert usage["completion_tokens"] == 12
    assert choice["finish_reason"] == "length"
    assert choice["logprobs"], answer
    for token in choice["logprobs"]["content"]:
        assert -100 < token["logprob"] <= 0  # neither infinite nor no number at all: the weights were all used
    body = {"model": shape.name, "prompt": "hello", "max_tokens": 12, "temperature": 0}
    status, _, answer = server.post("/v1/completions", body)
    assert status == 200, answer
    assert answer["usage"]["completion_tokens"] >= 1
