"""Models of every shape that people run: made here, tiny and random, then installed and asked like any other."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from gguf import TokenType

from freehold.hardware.shape import shape_of
from freehold.store.install import described
from freehold.store.pull import pull
from freehold.store.store import Store
from tests.cli.parts import Result, run
from tests.conftest import Server, fake_model, serving
from tests.zoo import templates
from tests.zoo.build import Shape, write
from tests.zoo.shapes import zoo

SHAPES = zoo()
ENGINE = {
    "FREEHOLD_PRELOAD": "false",
    "FREEHOLD_DEFAULT_CHAT": "fake",
    "FREEHOLD_DEFAULT_EMBEDDING": "fake",
    "FREEHOLD_ENGINE_CONTEXT": "512",
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


def freehold(home: Path, *arguments: str) -> Result:
    """The command line, over a data folder in `home` that no server has."""
    return run(home, *arguments, "--data-dir", str(home / "data"), env={"FREEHOLD_PORT": "9"})


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
    elif shape.task == "rerank":
        ranks(keeper, shape)
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


def ranks(server: Server, shape: Shape) -> None:
    documents = ["hello", "what is the answer to it", "the end of the world"]
    status, _, answer = server.post("/v1/rerank", {"model": shape.name, "query": "the answer", "documents": documents})
    assert status == 200, answer
    assert answer["method"] == "cross-encoder"
    scores = [row["relevance_score"] for row in answer["results"]]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert len(set(scores)) == 3
    assert answer["usage"]["prompt_tokens"] > 10


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


def test_a_model_in_parts_is_pulled_by_its_first_one(tmp_path: Path) -> None:
    shape = next(shape for shape in SHAPES if shape.parts > 1)
    done = freehold(tmp_path, "pull", str(write(shape, tmp_path)), "--name", "whole", "--json")
    assert done.code == 0, done.err
    assert json.loads(done.out)["parameters"] == parameters(shape)


def test_a_model_without_a_template_says_what_its_chats_become(tmp_path: Path) -> None:
    store = Store(tmp_path / "data")
    for name, told in (("llama-without-template", True), ("llama-mha", False), ("bert", False)):
        path = write(next(shape for shape in SHAPES if shape.name == name), tmp_path)
        manifest = pull(store, str(path), name=name, on_progress=lambda progress: None)
        assert any("ChatML" in note for note in manifest.notes) is told
    assert "ChatML" in freehold(tmp_path, "show", "llama-without-template").out


def test_without_a_template_the_default_is_chatml_indeed(data: Path, keeper: Server, tmp_path: Path) -> None:
    """The same weights with ChatML as their own template answer the same, and so does the prompt that it makes."""
    bare = next(shape for shape in SHAPES if shape.name == "llama-without-template")
    asked: list[Any] = []
    for shape in (bare, replace(bare, template=templates.CHATML)):
        path = write(shape, tmp_path)
        pull(Store(data), str(path), name=shape.name, on_progress=lambda progress: None)
        status, _, answer = keeper.chat("hello", model=shape.name, max_tokens=6, temperature=0)
        assert status == 200, answer
        asked.append((answer["choices"][0]["message"]["content"], answer["usage"]["prompt_tokens"]))
        assert keeper.request("DELETE", f"/v1/models/{shape.name}")[0] == 200
    assert asked[0] == asked[1]


def test_a_model_whose_template_has_tools_can_be_held_to_a_call(data: Path, keeper: Server, tmp_path: Path) -> None:
    shape = next(shape for shape in SHAPES if shape.name == "qwen3")
    pull(Store(data), str(write(shape, tmp_path)), name="caller", on_progress=lambda progress: None)
    switch = {
        "name": "switch",
        "parameters": {
            "type": "object",
            "properties": {"on": {"type": "boolean"}},
            "required": ["on"],
            "additionalProperties": False,
        },
    }
    fields = {"tools": [{"type": "function", "function": switch}], "tool_choice": "required", "max_tokens": 200}
    status, _, answer = keeper.chat("switch it on", model="caller", temperature=0, **fields)
    assert status == 200, answer
    (call,) = answer["choices"][0]["message"]["tool_calls"]
    assert call["function"]["name"] == "switch"
    assert json.loads(call["function"]["arguments"])["on"] in (True, False)


@pytest.mark.parametrize("shape", [shape for shape in SHAPES if shape.parts == 1], ids=lambda shape: shape.name)
def test_the_facts_of_a_shape_account_for_all_of_its_weights(shape: Shape, tmp_path: Path) -> None:
    """What is planned for is what is there: every tensor belongs to a block or to the ends of the model."""
    header, facts = described([write(shape, tmp_path)])
    planned = shape_of(facts)
    there = sum(tensor.nbytes for tensor in header.tensors)
    assert len(planned.layers) == facts.block_count
    assert abs(sum(layer.size for layer in planned.layers) + planned.ends - there) <= there / 100
