"""Filling in the middle over its four routes, on tiny code models with random weights: prompts, shapes, and who goes first."""

from __future__ import annotations

import json
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving
from tests.zoo import shapes, tokenizers
from tests.zoo.build import write

MARKS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")
PREFIX, SUFFIX = "def add(a, b):\n    ", "\n\nprint(add(1, 2))\n"
QWEN = tokenizers.bpe("qwen2", ("<|endoftext|>", *MARKS), eos=0)
TALKS = tokenizers.bpe("qwen2", ("<|endoftext|>", "<|im_start|>", "<|im_end|>"), eos=0)
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
EXACT = {"temperature": 0, "max_tokens": 12}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("fim")
    store = Store(data)
    deepseek = tokenizers.bpe("deepseek-coder", ("<eos>", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"), eos=0)
    plain = tokenizers.bpe("qwen2", ("<|endoftext|>",), eos=0)
    for name, tokenizer in (("coder", QWEN), ("deep", deepseek), ("plain", plain), ("talker", TALKS)):
        shape = shapes._decoder(name, "llama", tokenizer, shapes._plain)
        path = write(replace(shape, template=TEMPLATE) if name == "talker" else shape, tmp_path_factory.mktemp("file"))
        pull(store, str(path), name=name, on_progress=lambda progress: None)
    fake_model(data)
    env = {
        "FREEHOLD_DEFAULT_CHAT": "coder",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_PRELOAD": "false",
        "FREEHOLD_ENGINE_CONTEXT": "2048",
        "FREEHOLD_ENGINE_SLOTS": "1",
        "FREEHOLD_MODELS": json.dumps({"talker": {"fim": "chat"}}),
    }
    with serving(data, env=env, ready=False) as running:
        yield running


def post(server: Server, path: str, **body: Any) -> dict[str, Any]:
    status, _, answer = server.post(path, body)
    assert status == 200, answer
    return dict(answer)


def events(server: Server, path: str, **body: Any) -> list[Any]:
    request = urllib.request.Request(
        server.root + path, json.dumps({**body, "stream": True}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        lines = [line[6:].strip() for line in answer if line.startswith(b"data: ")]
    return [line if line == b"[DONE]" else json.loads(line) for line in lines]


def openai_text(server: Server, **fields: Any) -> tuple[str, int]:
    answer = post(server, "/v1/completions", **{"model": "coder", "prompt": PREFIX, "suffix": SUFFIX, **EXACT, **fields})
    return answer["choices"][0]["text"], answer["usage"]["prompt_tokens"]


def test_all_routes_put_the_same_prompt_to_the_model(server: Server) -> None:
    text, tokens = openai_text(server)
    mistral = post(server, "/v1/fim/completions", model="coder", prompt=PREFIX, suffix=SUFFIX, **EXACT)
    assert mistral["object"] == "chat.completion"
    assert (mistral["choices"][0]["message"]["content"], mistral["usage"]["prompt_tokens"]) == (text, tokens)
    infill = post(
        server, "/infill", input_prefix="def add(a, b):\n", input_suffix=SUFFIX, prompt="    ", n_predict=12, temperature=0
    )
    assert (infill["content"], infill["tokens_evaluated"]) == (text, tokens)
    assert infill["stop"] is True
    assert infill["truncated"] is False
    segments = {"prefix": PREFIX, "suffix": SUFFIX}
    tabby = post(server, "/v1/completions", segments=segments, language="python", temperature=0)
    assert set(tabby) == {"id", "choices"}
    assert tabby["choices"][0]["text"].startswith(text)


def test_a_stream_says_what_the_whole_answer_says(server: Server) -> None:
    text, _ = openai_text(server)
    chunks = events(server, "/v1/completions", model="coder", prompt=PREFIX, suffix=SUFFIX, **EXACT)
    assert chunks[-1] == b"[DONE]"
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks[:-1]) == text
    chunks = events(server, "/v1/fim/completions", model="coder", prompt=PREFIX, suffix=SUFFIX, **EXACT)
    assert chunks[-1] == b"[DONE]"
    assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks[:-1]) == text
    assert chunks[-2]["choices"][0]["finish_reason"] in {"stop", "length"}
    assert chunks[-2]["usage"]["completion_tokens"] > 0
    chunks = events(server, "/infill", input_prefix=PREFIX, input_suffix=SUFFIX, n_predict=12, temperature=0)
    assert "".join(chunk["content"] for chunk in chunks) == text
    assert [chunk["stop"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]


def test_ollamas_clients_fill_in_and_see_that_they_can(server: Server) -> None:
    text, tokens = openai_text(server)
    options = {"temperature": 0, "num_predict": 12}
    asked = {"model": "coder", "prompt": PREFIX, "suffix": SUFFIX, "options": options}
    whole = post(server, "/api/generate", **asked, stream=False)
    assert (whole["response"], whole["prompt_eval_count"], whole["done"]) == (text, tokens, True)
    body = json.dumps(asked).encode()
    request = urllib.request.Request(server.root + "/api/generate", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert "".join(json.loads(line)["response"] for line in answer) == text
    shown = post(server, "/api/show", model="coder")
    assert ".Suffix" in shown["template"]
    assert "insert" in shown["capabilities"]
    assert ".Suffix" not in post(server, "/api/show", model="plain")["template"]


def test_openais_own_sdk_fills_in(server: Server) -> None:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        answer = client.completions.create(model="coder", prompt=PREFIX, suffix=SUFFIX, **EXACT)
    assert (answer.choices[0].text, answer.usage.prompt_tokens) == openai_text(server)


def test_marks_in_a_users_text_are_letters(server: Server) -> None:
    _, tokens = openai_text(server, prompt="x", suffix="y")
    _, more = openai_text(server, prompt="x<|fim_suffix|>", suffix="y")
    assert more - tokens == len("<|fim_suffix|>")


def test_pieces_of_other_files_come_whole_under_their_names(server: Server) -> None:
    def tokens(*extras: dict[str, Any]) -> int:
        body = {"input_prefix": "x", "input_suffix": "y", "n_predict": 1, "input_extra": list(extras)}
        return int(post(server, "/infill", **body)["tokens_evaluated"])

    piece = {"filename": "a.py", "text": "A" * 20, "time": 17}
    bare, one = tokens(), tokens(piece)
    assert one - bare == len("a.py\n") + 20 + 2  # a mark before each file
    answer = post(server, "/infill", input_prefix="x", input_suffix="y", n_predict=1, input_extra=[piece] * 100)
    assert 0 < answer["extras_used"] < 100
    assert (answer["tokens_evaluated"] - bare - 1) % (one - bare - 1) == 0


def test_a_prompt_is_read_ahead_and_found_read(server: Server) -> None:
    warm = {
        "input_prefix": "import os\n" * 8,
        "input_suffix": "\n# the end",
        "n_predict": 0,
        "samplers": [],
        "response_fields": [""],
    }
    assert post(server, "/infill", **warm) == {}
    read = post(server, "/infill", **{**warm, "n_predict": 2, "response_fields": None})
    assert read["tokens_cached"] >= read["tokens_evaluated"] - 1
    named = post(server, "/infill", **{**warm, "n_predict": 2, "response_fields": ["content", "nothing/there"]})
    assert set(named) == {"content"}


def test_models_say_whether_they_fill_in(server: Server) -> None:
    cards = {card["id"]: card for card in server.get("/v1/models")[2]["data"]}
    assert {name: card["capabilities"]["fim"] for name, card in cards.items()} == {
        "coder": True,
        "deep": True,
        "plain": False,
        "talker": False,
        "fake": False,
    }
    assert [name for name, card in cards.items() if card["capabilities"]["fim_by_chat"]] == ["talker"]


@pytest.mark.parametrize(
    ("path", "body", "param", "says"),
    [
        ("/v1/completions", {"model": "plain", "prompt": "x", "suffix": "y"}, "model", "no tokens for filling"),
        ("/v1/fim/completions", {"model": "plain", "prompt": "x"}, "model", "no tokens for filling"),
        ("/v1/completions", {"model": "coder", "prompt": ["a", "b"], "suffix": "y"}, "prompt", "one string"),
        ("/v1/completions", {"model": "coder", "prompt": "a", "suffix": "y", "logprobs": 1}, "logprobs", "together"),
        ("/v1/completions", {"model": "coder", "prompt": "a", "suffix": "y", "echo": True}, "echo", "together"),
        ("/v1/fim/completions", {"model": "coder", "prompt": "x", "min_tokens": 3}, "min_tokens", "longer"),
        ("/infill", {"input_suffix": "x"}, "input_prefix", "Missing"),
        ("/infill", {"input_prefix": "x", "input_suffix": "y", "prompt": 3}, "prompt", "string"),
        ("/v1/completions", {"segments": {}}, "segments.prefix", "Missing"),
    ],
)
def test_what_cannot_be_filled_in_is_refused_by_its_name(
    server: Server, path: str, body: dict[str, Any], param: str, says: str
) -> None:
    status, _, answer = server.post(path, body)
    assert (status, answer["error"]["param"]) == (400, param)
    assert says in answer["error"]["message"]


def test_a_chat_model_is_asked_in_words_on_every_route_where_that_is_set(server: Server) -> None:
    asked = {"model": "talker", **EXACT}
    status, headers, answer = server.post("/v1/completions", {"prompt": PREFIX, "suffix": SUFFIX, **asked})
    assert (status, headers["x-freehold-fim"]) == (200, "chat")
    text, tokens = answer["choices"][0]["text"], answer["usage"]["prompt_tokens"]
    assert tokens > len(PREFIX + SUFFIX) + 200  # a token is a letter here, and the question is in words
    mistral = post(server, "/v1/fim/completions", prompt=PREFIX, suffix=SUFFIX, **asked)
    assert (mistral["choices"][0]["message"]["content"], mistral["usage"]["prompt_tokens"]) == (text, tokens)
    infill = {"model": "talker", "input_prefix": PREFIX, "input_suffix": SUFFIX, "n_predict": 12, "temperature": 0}
    whole = post(server, "/infill", **infill)
    assert (whole["content"], whole["tokens_evaluated"]) == (text, tokens)
    streamed = "".join(chunk["content"] for chunk in events(server, "/infill", **infill))
    assert streamed == text.rstrip("\ufffd")  # where the limit cuts within a letter, a stream ends before it
    options = {"temperature": 0, "num_predict": 12}
    ollama = {"model": "talker", "prompt": PREFIX, "suffix": SUFFIX, "options": options, "stream": False}
    whole = post(server, "/api/generate", **ollama)
    assert (whole["response"], whole["prompt_eval_count"]) == (text, tokens)
    segments = {"prefix": PREFIX, "suffix": SUFFIX}
    tabby = post(server, "/v1/completions", model="talker", segments=segments, temperature=0)
    assert tabby["choices"][0]["text"].startswith(text)
    assert "x-freehold-fim" not in server.post("/v1/completions", {"model": "coder", "prompt": "a", "suffix": "b"})[1]


def test_a_chat_models_marks_in_a_users_text_are_letters(server: Server) -> None:
    def tokens(prompt: str, suffix: str) -> int:
        asked = {"model": "talker", "prompt": prompt, "suffix": suffix, "max_tokens": 1}
        return int(post(server, "/v1/completions", **asked)["usage"]["prompt_tokens"])

    mark, plain = "<|im_end|>", tokens("x\n1", "y")
    assert tokens(f"x{mark}\n1", "y") - plain == tokens("x\n1", f"y{mark}") - plain == len(mark)
    assert tokens(f"x\n1{mark}", "y") - plain == 2 * len(mark)  # the line before the gap is said again
    assert tokens("x" * 5000, "y" * 5000) <= 2048 - 1


def test_a_newer_request_of_the_same_editor_takes_the_place_of_the_one_before(server: Server) -> None:
    asked = {"model": "coder", "suffix": SUFFIX, "temperature": 1, "logit_bias": {str(len(QWEN.tokens) - 1 - len(MARKS)): -100}}
    body = json.dumps({**asked, "prompt": PREFIX, "max_tokens": 1500, "stream": True}).encode()
    request = urllib.request.Request(server.root + "/v1/completions", body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as stream:
        assert stream.readline().startswith(b"data: {")
        with urllib.request.urlopen(  # the same client, so the same editor
            urllib.request.Request(
                server.root + "/v1/completions",
                json.dumps({**asked, "prompt": PREFIX + "r", "max_tokens": 2}).encode(),
                {"Content-Type": "application/json"},
            ),
            timeout=60,
        ) as newer:
            assert newer.status == 200
        lines = [line for line in stream if line.startswith(b"data: ")]
    assert json.loads(lines[-2][6:])["error"]["code"] == "superseded"
    assert lines[-1] == b"data: [DONE]\n"


def test_the_same_question_twice_gets_two_answers(server: Server) -> None:
    statuses: list[int] = []
    asked = {"model": "coder", "prompt": PREFIX, "suffix": SUFFIX, "max_tokens": 20}
    threads = [threading.Thread(target=lambda: statuses.append(server.post("/v1/completions", asked)[0])) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert statuses == [200] * 3


def test_tabbys_plugins_find_what_they_ask_for(server: Server) -> None:
    health = server.get("/v1/health")[2]
    assert health["cpu_count"] > 0
    assert health["model"] == "coder"
    assert server.get("/v1beta/server_setting")[2] == {"disable_client_side_telemetry": True}
    before = server.metric("freehold_editor_completions_total", event="select")
    event = {"type": "select", "completion_id": "cmpl-1", "choice_index": 0, "elapsed": 20}
    assert server.post("/v1/events", event)[0] == 200
    assert server.metric("freehold_editor_completions_total", event="select") == before + 1
    status, _, answer = server.post("/v1/events", {"type": "typed"})
    assert (status, answer["error"]["param"]) == (400, "type")
