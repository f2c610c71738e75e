"""Every error arrives as the class that users of OpenAI's Python SDK catch."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from tests.conftest import Server, fake_model, serving, until

FAKE = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake-embedding"}
SAY = [{"role": "user", "content": "say"}]
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}


def open_client(server: Server, **options: Any) -> openai.OpenAI:
    return openai.OpenAI(**({"base_url": server.base_url, "api_key": "none", "max_retries": 0} | options))


@pytest.fixture(scope="module")
def client(fake_server) -> Iterator[openai.OpenAI]:
    with open_client(fake_server) as client:
        yield client


def ask(client: openai.OpenAI, directive: str = "{}", **fields: Any) -> Any:
    """A chat request that tells the fake engine what to do."""
    messages = [{"role": "user", "content": f"[[fake:{directive}]] a b c d"}]
    return client.chat.completions.create(**({"model": "gpt-4o", "messages": messages} | fields))


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("temperature", {"temperature": 3}),
        ("temperature", {"temperature": "hot"}),
        ("top_p", {"top_p": 1.5}),
        ("max_tokens", {"max_tokens": -1}),
        ("max_completion_tokens", {"max_completion_tokens": 1.5}),
        ("n", {"n": 0}),
        ("n", {"n": 10_000}),
        ("presence_penalty", {"presence_penalty": 9}),
        ("seed", {"seed": "seven"}),
        ("stop", {"stop": [1]}),
        ("stop", {"stop": [""]}),
        ("top_logprobs", {"top_logprobs": 2}),
        ("top_logprobs", {"logprobs": True, "top_logprobs": 99}),
        ("stream_options", {"stream_options": {"include_usage": True}}),
        ("response_format", {"response_format": {"type": "yaml"}}),
        ("tools", {"tools": [{"type": "function"}]}),
        ("tool_choice", {"tool_choice": "required"}),
        ("tool_choice", {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "g"}}}),
        ("messages", {"messages": []}),
        ("messages", {"messages": [{"role": "wizard", "content": "x"}]}),
        (
            "messages",
            {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://x/y.png"}}]}]},
        ),
        ("frobnicate", {"extra_body": {"frobnicate": 1}}),
        ("model", {"model": ""}),
    ],
)
def test_a_bad_parameter_is_named(client, param, fields):
    with pytest.raises(openai.BadRequestError) as caught:
        ask(client, **fields)
    assert (caught.value.param or "").split("[")[0].split(".")[0] == param
    assert caught.value.type == "invalid_request_error"
    assert caught.value.status_code == 400


def test_a_body_that_is_not_json_is_a_bad_request(fake_server):
    status, _, body = fake_server.post("/v1/chat/completions", b'{"model": ')
    assert (status, body["error"]["type"]) == (400, "invalid_request_error")


def test_an_unknown_model_is_not_found_and_near_names_are_offered(client):
    with pytest.raises(openai.NotFoundError) as caught:
        ask(client, model="fakee")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    assert "'fake'" in caught.value.message


def test_an_endpoint_that_is_not_there_is_not_found(client):
    with pytest.raises(openai.NotFoundError) as caught:
        client.fine_tuning.jobs.list()
    assert caught.value.code == "unknown_url"


def test_a_prompt_that_does_not_fit_says_so(server):
    with open_client(server) as client, pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="gpt-4o", messages=[{"role": "user", "content": "hello " * 9000}])
    assert caught.value.code == "context_length_exceeded"
    assert caught.value.param == "messages"


def test_a_missing_or_wrong_key_is_an_authentication_error(tmp_path):
    fake_model(tmp_path)
    fake_model(tmp_path, "fake-embedding", "embedding")
    with serving(tmp_path, env=FAKE, key="right") as server:
        with open_client(server, api_key="wrong") as client, pytest.raises(openai.AuthenticationError) as caught:
            ask(client)
        assert caught.value.code == "invalid_api_key"
        with open_client(server, api_key="right") as client:
            assert ask(client).choices[0].message.content == "a b c d"


def test_a_foreign_host_is_denied(fake_server):
    with (
        open_client(fake_server, default_headers={"Host": "evil.example"}) as client,
        pytest.raises(openai.PermissionDeniedError),
    ):
        ask(client)


def test_a_model_in_use_is_not_deleted(tmp_path):
    fake_model(tmp_path)
    fake_model(tmp_path, "fake-embedding", "embedding")
    with serving(tmp_path, env=FAKE) as server, open_client(server) as client:
        stream = ask(client, '{"tokens": 5000, "token_delay_s": 0.01}', stream=True)
        next(iter(stream))
        with pytest.raises(openai.ConflictError):
            client.models.delete("fake")
        stream.close()
        until(lambda: server.worker("fake")["busy"] == 0)
        assert client.models.delete("fake").deleted is True
        with pytest.raises(openai.NotFoundError):
            client.models.retrieve("fake")


def test_a_full_queue_is_a_rate_limit_with_a_time_to_retry(tmp_path):
    fake_model(tmp_path, slots=1)
    fake_model(tmp_path, "fake-embedding", "embedding")
    with serving(tmp_path, env=FAKE | {"FREEHOLD_QUEUE_SIZE": "0"}) as server, open_client(server) as client:
        stream = ask(client, '{"tokens": 5000, "token_delay_s": 0.01}', stream=True)
        next(iter(stream))
        with pytest.raises(openai.RateLimitError) as caught:
            ask(client)
        assert int(caught.value.response.headers["retry-after"]) >= 1
        stream.close()
        # The SDK itself waits and tries again when it may.
        with open_client(server, max_retries=5) as patient:
            assert ask(patient).choices[0].message.content == "a b c d"


def test_a_body_that_is_too_large_is_refused(tmp_path):
    fake_model(tmp_path)
    fake_model(tmp_path, "fake-embedding", "embedding")
    with serving(tmp_path, env=FAKE | {"FREEHOLD_MAX_BODY_BYTES": "2048"}) as server, open_client(server) as client:
        with pytest.raises(openai.APIStatusError) as caught:
            client.chat.completions.create(model="fake", messages=[{"role": "user", "content": "x" * 4000}])
        assert caught.value.status_code == 413


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    "directive",
    ['{"status": 500}', '{"status": 500, "body": "html"}', '{"status": 502, "body": "empty"}', '{"close_at_token": 0}'],
)
def test_an_engine_that_fails_before_the_first_byte_is_a_server_error(client, directive, stream):
    with pytest.raises(openai.InternalServerError) as caught:
        ask(client, directive, stream=stream)
    assert caught.value.status_code in {502, 503}
    assert caught.value.type == "server_error"


@pytest.mark.parametrize("fault", ["close_at_token", "error_at_token", "bad_framing_at_token"])
def test_an_engine_that_fails_in_a_stream_raises_where_the_text_ends(client, fault):
    words = []
    with pytest.raises(openai.APIError) as caught:
        for chunk in ask(client, f'{{"{fault}": 2, "token_delay_s": 0.05}}', stream=True):
            words.append(chunk.choices[0].delta.content)
    assert [word for word in words if word] == ["a", " b"]
    assert not isinstance(caught.value, openai.APIConnectionError), "the stream ended well-formed"


def test_words_that_come_together_with_an_error_are_not_lost(client):
    words = []
    with pytest.raises(openai.APIError):
        for chunk in ask(client, '{"error_at_token": 2}', stream=True):
            words.append(chunk.choices[0].delta.content)
    assert [word for word in words if word] == ["a", " b"]


def test_an_engine_that_dies_is_back_soon(tmp_path):
    fake_model(tmp_path)
    fake_model(tmp_path, "fake-embedding", "embedding")
    with serving(tmp_path, env=FAKE) as server, open_client(server) as client:
        with pytest.raises(openai.InternalServerError):
            ask(client, '{"die_at_token": 2}')
        words = []
        until(lambda: _answers(client))
        with pytest.raises(openai.APIError):
            for chunk in ask(client, '{"die_at_token": 2}', stream=True):
                words.append(chunk.choices[0].delta.content)
        assert [word for word in words if word] == ["a", " b"]
        until(lambda: _answers(client))


def _answers(client: openai.OpenAI) -> bool:
    try:
        return bool(ask(client).choices)
    except openai.InternalServerError:
        return False


def test_a_clients_own_timeout_frees_the_slot(fake_server):
    with open_client(fake_server, timeout=0.3) as client:
        began = time.monotonic()
        with pytest.raises(openai.APITimeoutError):
            ask(client, '{"hang": true}')
        assert time.monotonic() - began < 5
    until(lambda: fake_server.worker("fake")["busy"] == 0)


def test_nobody_listening_is_a_connection_error():
    client = openai.OpenAI(base_url="http://127.0.0.1:9/v1", api_key="none", max_retries=0)
    with client, pytest.raises(openai.APIConnectionError):
        ask(client)
