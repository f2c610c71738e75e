"""Ollama's Python client, unchanged, against the real starter models and the fake engine."""

from __future__ import annotations

import base64
import json
import socket
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ollama
import pytest

from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving, until
from tests.sdk.wire import CHAT_MODEL, EMBEDDING_MODEL

COLOURS: list[Any] = [{"role": "user", "content": "Name three colours."}]
SURE: dict[str, Any] = {"temperature": 0, "num_predict": 12}


def function(name: str, **properties: Any) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"type": "function", "function": {"name": name, "description": f"Calls {name}", "parameters": schema}}


@pytest.fixture(scope="module")
def client(server) -> Iterator[ollama.Client]:
    with ollama.Client(host=server.root) as client:
        yield client


@pytest.fixture(scope="module")
def fake(fake_server) -> Iterator[ollama.Client]:
    with ollama.Client(host=fake_server.root) as client:
        yield client


def test_a_chat_is_answered_with_counts_and_durations(client):
    answer = client.chat(CHAT_MODEL, messages=COLOURS, options=SURE)
    assert (answer.model, answer.message.role, answer.done, answer.done_reason) == (CHAT_MODEL, "assistant", True, "length")
    assert answer.message.content
    assert (answer.eval_count, answer.prompt_eval_count > 5) == (12, True)
    assert answer.total_duration >= answer.eval_duration > 0
    assert answer.load_duration >= 0


def test_a_stream_says_what_the_whole_answer_says(client):
    whole = client.chat(CHAT_MODEL, messages=COLOURS, options=SURE)
    *pieces, end = client.chat(CHAT_MODEL, messages=COLOURS, options=SURE, stream=True)
    assert "".join(piece.message.content for piece in pieces) == whole.message.content
    assert not any(piece.done for piece in pieces)
    assert (end.done, end.done_reason, end.message.content) == (True, whole.done_reason, "")
    assert (end.eval_count, end.prompt_eval_count) == (whole.eval_count, whole.prompt_eval_count)
    assert end.prompt_eval_duration > 0
    assert end.eval_duration > 0


def test_generate_puts_a_prompt_to_the_model_by_its_template_or_raw(client):
    told = client.generate(CHAT_MODEL, "Name three colours.", options=SURE)
    assert told.response == client.chat(CHAT_MODEL, messages=COLOURS, options=SURE).message.content
    raw = client.generate(CHAT_MODEL, "Once upon a", raw=True, options=SURE)
    assert raw.prompt_eval_count < told.prompt_eval_count
    *pieces, end = client.generate(CHAT_MODEL, "Once upon a", raw=True, options=SURE, stream=True)
    assert "".join(piece.response for piece in pieces) == raw.response
    assert (end.done, end.eval_count) == (True, 12)


def test_a_system_prompt_takes_the_place_of_the_models_own(client):
    plain = client.generate(CHAT_MODEL, "Hello", options=SURE)
    told = client.generate(CHAT_MODEL, "Hello", system="You are " + "very " * 100 + "brief.", options=SURE)
    assert told.prompt_eval_count > plain.prompt_eval_count + 40


def test_options_reach_the_engine(client):
    text = client.chat(CHAT_MODEL, messages=COLOURS, options=SURE | {"num_predict": 24}).message.content
    stop = text.split()[2]
    answer = client.chat(CHAT_MODEL, messages=COLOURS, options=SURE | {"num_predict": 24, "stop": [stop], "num_ctx": 1024})
    assert (answer.message.content, answer.done_reason) == (text[: text.index(stop)], "stop")
    one, other = (
        client.generate(CHAT_MODEL, "Say something.", options={"seed": 5, "temperature": 1.5, "num_predict": 12}).response
        for _ in range(2)
    )
    assert one == other


@pytest.mark.parametrize("streamed", [False, True])
def test_a_format_holds_the_answer(client, streamed):
    schema = {
        "type": "object",
        "properties": {"colour": {"type": "string", "enum": ["red", "blue"]}},
        "required": ["colour"],
        "additionalProperties": False,
    }
    answer = client.chat(CHAT_MODEL, messages=COLOURS, format=schema, options={"num_predict": 60}, stream=streamed)
    text = "".join(piece.message.content for piece in answer) if streamed else answer.message.content
    assert json.loads(text)["colour"] in ("red", "blue")
    assert client.generate(CHAT_MODEL, "A JSON object", format="json", options=SURE).response.lstrip().startswith("{")


def test_logprobs_come_with_their_tokens(client):
    whole = client.generate(CHAT_MODEL, "Say hello", options=SURE, logprobs=True, top_logprobs=2)
    assert "".join(item.token for item in whole.logprobs).startswith(whole.response)
    assert all(len(item.top_logprobs) == 2 for item in whole.logprobs)
    pieces = list(client.chat(CHAT_MODEL, messages=COLOURS, options=SURE, logprobs=True, stream=True))
    assert sum(len(piece.logprobs or ()) for piece in pieces) == 12


def test_results_of_tools_are_read_by_name_and_in_order(client):
    messages = [
        {"role": "user", "content": "What is the weather in Paris?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {"function": {"name": "get_weather", "arguments": {"city": "Paris"}}},
                {"function": {"name": "get_time", "arguments": {}}},
            ],
        },
        {"role": "tool", "tool_name": "get_time", "content": "noon"},
        {"role": "tool", "content": "11 degrees"},
    ]
    tools = [function("get_weather", city={"type": "string"}), function("get_time")]
    assert client.chat(CHAT_MODEL, messages=messages, tools=tools, options=SURE).done
    with pytest.raises(ollama.ResponseError, match="must answer a call"):
        client.chat(CHAT_MODEL, messages=[*COLOURS, {"role": "tool", "content": "x"}], options=SURE)


@pytest.mark.parametrize("streamed", [False, True])
def test_a_tool_that_the_model_chooses_is_called_whole(client, streamed):
    """Shown twice how it is done, the small model does it, too."""

    def turn(city: str) -> list[dict[str, Any]]:
        call = f'<tool_call>\n{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>'
        return [{"role": "user", "content": f"Call get_weather for {city}."}, {"role": "assistant", "content": call}]

    messages = [*turn("Rome"), *turn("Rome"), turn("Paris")[0]]
    tools = [function("get_weather", city={"type": "string"})]
    options = {"temperature": 0, "num_predict": 60}
    answer = client.chat(CHAT_MODEL, messages=messages, tools=tools, options=options, stream=streamed)
    calls = [call for part in (answer if streamed else [answer]) for call in part.message.tool_calls or ()]
    assert [call.function.name for call in calls] == ["get_weather"]
    assert isinstance(calls[0].function.arguments["city"], str)


def test_embeddings_in_both_forms(client):
    many = client.embed(EMBEDDING_MODEL, ["a cat", "a dog"])
    assert [len(vector) for vector in many.embeddings] == [384, 384]
    assert (many.model, many.prompt_eval_count > 4) == (EMBEDDING_MODEL, True)
    assert client.embed(EMBEDDING_MODEL, "a cat").embeddings[0] == pytest.approx(many.embeddings[0], abs=1e-4)
    assert client.embeddings(EMBEDDING_MODEL, "a cat").embedding == pytest.approx(many.embeddings[0], abs=1e-4)


def test_models_are_listed_shown_and_seen_in_memory(client):
    listed = {model.model: model for model in client.list().models}
    assert {CHAT_MODEL, EMBEDDING_MODEL} <= set(listed)
    assert not any("espeak" in name for name in listed)
    card = listed[CHAT_MODEL]
    assert (card.details.format, card.details.family, card.details.parameter_size) == ("gguf", "llama", "134.52M")
    assert (card.details.quantization_level, len(card.digest), card.size > 9e7) == ("Q4_1", 64, True)
    shown = client.show(CHAT_MODEL)
    assert {"completion", "tools"} <= set(shown.capabilities)
    assert shown.modelinfo["general.architecture"] == "llama"
    assert shown.modelinfo["llama.context_length"] == 8192
    assert "<|im_start|>" in shown.template
    assert "temperature" in shown.parameters
    assert shown.modelfile.startswith(f"FROM {CHAT_MODEL}")
    assert client.show(EMBEDDING_MODEL).capabilities == ["embedding"]
    loaded = {model.model: model for model in client.ps().models}
    assert loaded[CHAT_MODEL].size > 1e8
    assert loaded[CHAT_MODEL].context_length == 4096


@pytest.mark.parametrize(
    ("fields", "status", "says"),
    [
        ({"model": "no-such-model"}, 404, "no-such-model"),
        ({"options": {"temperature": 9}}, 400, "options.temperature"),
        ({"options": {"unheard_of": 1}}, 400, "options.unheard_of"),
        ({"think": True}, 400, "thinking"),
        ({"suffix": "end"}, 400, "filling in"),
        ({"template": "{{ .Prompt }}"}, 400, "template"),
        ({"context": [1, 2]}, 400, "context"),
        ({"raw": True, "system": "x"}, 400, "system"),
        ({"images": [base64.b64encode(b"x").decode()]}, 400, "text only"),
    ],
)
def test_what_cannot_be_done_is_refused_in_ollamas_shape(client, fields, status, says):
    with pytest.raises(ollama.ResponseError, match=says) as caught:
        client.generate(**({"model": CHAT_MODEL, "prompt": "Hello"} | fields))
    assert caught.value.status_code == status


def test_an_error_within_a_stream_is_raised_by_the_client(fake):
    text = '[[fake:{"tokens": 9, "error_at_token": 3}]] one two three four five'
    with pytest.raises(ollama.ResponseError, match="in the middle"):
        list(fake.chat("fake", messages=[{"role": "user", "content": text}], stream=True))


def test_a_name_without_a_tag_has_the_tag_latest(fake):
    assert "fake:latest" in [model.model for model in fake.list().models]
    assert fake.generate("fake:latest", "one two").response == "one two"
    assert fake.generate("gpt-4o:latest", "one two").model == "gpt-4o:latest"
    with pytest.raises(ollama.ResponseError):
        fake.generate("fake:7b", "one two")


def test_a_request_for_nothing_loads_and_unloads(fake, fake_server):
    assert fake.generate("fake").done_reason == "load"
    assert fake_server.worker("fake")["state"] == "ready"
    assert fake.chat("fake", keep_alive=0).done_reason == "unload"
    until(lambda: all(worker["model"] != "fake" for worker in fake_server.get("/api/ps")[2]["workers"]))
    assert fake.generate("fake", "back again", keep_alive="1h30m").response == "back again"
    [row] = [model for model in fake.ps().models if model.model == "fake:latest"]
    assert row.expires_at is not None


def test_curl_need_not_say_that_it_sends_json(fake_server):
    body = json.dumps({"model": "fake", "prompt": "one two", "stream": False}).encode()
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    status, _, answer = fake_server.post("/api/generate", body, headers=form)
    assert (status, answer["response"]) == (200, "one two")
    status, _, lines = fake_server.post("/api/generate", {"model": "fake", "prompt": "one two"})
    assert [json.loads(line)["response"] for line in lines.splitlines()] == ["one", " two", ""]


def test_a_pull_tells_how_far_it_is_and_an_unknown_one_fails(server, starters, client):
    *_, last = client.pull(CHAT_MODEL, stream=True)
    assert last.status == "success"
    assert client.pull(EMBEDDING_MODEL).status == "success"
    with pytest.raises(ollama.ResponseError):
        client.pull("/etc/passwd")
    with pytest.raises(ollama.ResponseError):
        client.pull("https://example.com/x.gguf")


@dataclass
class Own:
    """A server whose models may be made and deleted, by one port and by the other."""

    server: Server
    data: Path
    client: ollama.Client
    second: ollama.Client


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Own]:
    data = tmp_path_factory.mktemp("own")
    fake_model(data)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    env = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake", "FREEHOLD_OLLAMA_PORT": str(port)}
    with (
        serving(data, env=env) as running,
        ollama.Client(host=running.root) as client,
        ollama.Client(host=f"http://127.0.0.1:{port}") as second,
    ):
        yield Own(running, data, client, second)


def test_models_are_made_copied_and_deleted(own):
    client = own.client
    client.copy("fake", "second")
    assert client.generate("second", "one two").response == "one two"
    made = client.create(
        "poet",
        from_="fake",
        system="You are a poet.",
        parameters={"temperature": 0.5, "stop": ["END"], "num_ctx": 2048},
        template="{{ if .System }}<|im_start|>system\n{{ .System }}<|im_end|>\n{{ end }}<|im_start|>user",
    )
    assert made.status == "success"
    shown = client.show("poet")
    assert "temperature" in shown.parameters
    assert "<|im_start|>" in shown.template
    assert Store(own.data).get("poet").system == "You are a poet."
    assert [line.status for line in client.create("poet", from_="fake", stream=True)][-1] == "success"
    for name in ("second", "poet"):
        assert client.delete(name).status == "success"
    with pytest.raises(ollama.ResponseError) as gone:
        client.show("poet")
    assert gone.value.status_code == 404


def test_a_models_examples_stand_before_what_is_said(own):
    turns = [{"role": "user", "content": "Say it"}, {"role": "assistant", "content": "in verse"}]
    own.client.create("speaker", from_="fake", system="You are a poet.", messages=turns)
    assert 'MESSAGE assistant """in verse"""' in own.client.show("speaker").modelfile
    read = own.client.generate("speaker", "x").prompt_eval_count
    assert read == len("You are a poet." + "Say it" + "in verse" + "x"), "to the fake engine, a byte is a token"
    assert own.server.chat("x", model="speaker")[2]["usage"]["prompt_tokens"] == read


def test_a_model_is_made_from_a_modelfile(own):
    parameters = 'PARAMETER temperature 0.7\nPARAMETER stop "a b"\nPARAMETER stop c\n'
    text = '# mine\nFROM fake:latest\nSYSTEM """You are\na poet."""\n' + parameters
    status, _, answer = own.server.post("/api/create", {"name": "bard:latest", "modelfile": text, "stream": False})
    assert (status, answer) == (200, {"status": "success"})
    made = Store(own.data).get("bard")
    assert (made.system, made.sampling["temperature"], made.sampling["stop"]) == ("You are\na poet.", 0.7, ("a b", "c"))


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"from": "fake", "adapters": {"a": "sha256:0"}}, "adapters"),
        ({"from": "fake", "adapters": {"a": "sha256:" + "0" * 64}}, "no uploaded file"),
        ({"from": "fake", "messages": [{"role": "robot", "content": "x"}]}, "example conversation"),
        ({"from": "fake", "parameters": {"unheard_of": 1}}, "unheard_of"),
        ({"from": "fake", "template": "{{ .Strange }}"}, "family"),
        ({"modelfile": "FROM fake\nADAPTER ./a.gguf"}, "Line 2"),
        ({"modelfile": "FROM fake\nHELLO world"}, "HELLO"),
        ({"modelfile": 'SYSTEM """open'}, "quotes"),
        ({}, "from"),
        ({"from": "no-such"}, "no-such"),
        ({"model": "../up", "from": "fake"}, "name"),
        ({"model": "gpt-4o", "from": "fake"}, "alias"),
    ],
)
def test_a_model_that_cannot_be_made_is_refused(own, fields, says):
    status, _, answer = own.server.post("/api/create", {"model": "made", **fields})
    assert status in (400, 404)
    assert says in answer["error"]


def test_the_second_port_looks_like_ollamas(own):
    assert own.server.get("/api/version")[2]["name"] == "freehold"
    second = own.second._client.base_url.port
    assert own.second.generate("fake", "one two").response == "one two"
    with urllib.request.urlopen(f"http://127.0.0.1:{second}/") as answer:
        assert answer.read() == b"Ollama is running"
    with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{second}/", method="HEAD")) as answer:
        assert answer.status == 200
    with urllib.request.urlopen(f"http://127.0.0.1:{second}/api/version") as answer:
        assert set(json.loads(answer.read())) == {"version"}
    assert own.server.get("/")[0] == 404
