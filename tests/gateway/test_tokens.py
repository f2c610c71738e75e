"""Tokens of the starter models, in llama.cpp's and vLLM's shapes."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import Server

MESSAGES = [{"role": "user", "content": "What is the capital of France?"}]


def post(server: Server, path: str, **body: Any) -> dict[str, Any]:
    status, _, answer = server.post(path, body)
    assert status == 200, answer
    return dict(answer)


@pytest.mark.parametrize("text", ["", "Hello, world", "naïve café – 日本語 🦙\n\ttabs", "<|im_start|>user"])
def test_a_text_becomes_tokens_and_comes_back(server: Server, text: str) -> None:
    told = post(server, "/tokenize", content=text)
    assert told["count"] == len(told["tokens"])
    back = post(server, "/detokenize", tokens=told["tokens"])
    assert back["content"] == back["prompt"] == text


def test_special_tokens_are_read_or_are_text_as_asked(server: Server) -> None:
    read = post(server, "/tokenize", content="<|im_start|>")["tokens"]
    text = post(server, "/tokenize", content="<|im_start|>", parse_special=False)["tokens"]
    assert len(read) == 1 < len(text)


def test_pieces_join_to_the_text_and_bytes_that_are_no_text_are_numbers(server: Server) -> None:
    pieces = post(server, "/tokenize", content="Hello 🦙", with_pieces=True)["tokens"]
    joined = b"".join(p["piece"].encode() if isinstance(p["piece"], str) else bytes(p["piece"]) for p in pieces)
    assert joined.decode() == "Hello 🦙"


def test_vllms_shape_counts_and_names_the_tokens(server: Server) -> None:
    told = post(server, "/tokenize", model="all-minilm:22m", prompt="the cat", return_token_strs=True)
    assert told["count"] == len(told["tokens"]) == len(told["token_strs"]) == 4  # between [CLS] and [SEP]
    assert told["max_model_len"] == 512
    assert post(server, "/tokenize", model="all-minilm:22m", content="the cat")["tokens"] == told["tokens"][1:-1]


def test_a_chat_has_the_tokens_that_the_model_would_read(server: Server) -> None:
    told = post(server, "/tokenize", model="gpt-4o", messages=MESSAGES)
    _, _, chat = server.chat(MESSAGES[0]["content"], max_tokens=1)
    assert told["count"] == chat["usage"]["prompt_tokens"]
    prompt = post(server, "/apply-template", messages=MESSAGES)["prompt"]
    assert prompt.endswith("<|im_start|>assistant\n")
    assert post(server, "/tokenize", content=prompt)["tokens"] == told["tokens"]
    whole = post(server, "/apply-template", messages=MESSAGES, add_generation_prompt=False)["prompt"]
    assert prompt.startswith(whole)
    assert not whole.endswith("assistant\n")


@pytest.mark.parametrize(
    ("path", "body", "param"),
    [
        ("/tokenize", {}, "content"),
        ("/tokenize", {"content": "a", "prompt": "b"}, "prompt"),
        ("/tokenize", {"content": 5}, "content"),
        ("/detokenize", {"tokens": [-1]}, "tokens[0]"),
        ("/detokenize", {"tokens": [49152]}, "tokens"),
        ("/detokenize", {"tokens": ["a"]}, "tokens[0]"),
        ("/apply-template", {"messages": []}, "messages"),
        ("/apply-template", {"messages": MESSAGES, "chat_template": "{{ x }}"}, "chat_template"),
        ("/apply-template", {"messages": MESSAGES, "model": "all-minilm:22m"}, "model"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(server: Server, path: str, body: dict[str, Any], param: str) -> None:
    status, _, answer = server.post(path, body)
    assert (status, answer["error"]["param"]) == (400, param), answer


def test_llama_vscode_reads_the_context_and_no_path_of_this_machine(server: Server) -> None:
    status, _, shown = server.get("/props?model=gpt-4o&autoload=false")
    assert status == 200
    assert shown["default_generation_settings"]["n_ctx"] == server.get("/v1/models/smollm2:135m")[2]["context_length"]
    assert "<|im_start|>" in shown["chat_template"]
    assert server.get("/props")[2] == shown
    assert "/root" not in str(shown)
    assert "gguf" not in str(shown)
    assert server.get("/props?model=nothing")[0] == 404
    assert server.get("/health")[0] == 200
