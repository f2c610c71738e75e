"""Mistral's Python SDK: completions in editors, and what chats and embeddings share with OpenAI's API."""

from __future__ import annotations

import json

import freehold_server as fh
import httpx2
import pytest
from mistralai.client import Mistral, errors
from mistralai.client.utils import BackoffStrategy, RetryConfig
from pydantic import BaseModel

client = Mistral(api_key="none", server_url=fh.ROOT)
SAY = [{"role": "user", "content": fh.COLOURS}]
BRIEF = {"model": fh.CHAT, "temperature": 0, "max_tokens": 6}
CODE = {"model": "coder", "prompt": "def add(a, b):\n    ", "suffix": "\nprint(add(1, 2))", "max_tokens": 8, "temperature": 0}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": fh.WEATHER}}


class Verdict(BaseModel):
    sure: bool


def say(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def test_chat():
    assert client.chat.complete(**BRIEF, messages=SAY, random_seed=3).choices[0].message.content.strip()


def test_stream():
    whole = client.chat.complete(**BRIEF, messages=SAY).choices[0].message.content
    with client.chat.stream(**BRIEF, messages=SAY) as stream:
        assert "".join(event.data.choices[0].delta.content or "" for event in stream) == whole


def test_usage():
    usage = client.chat.complete(**BRIEF, messages=SAY).usage
    with client.fim.stream(**CODE) as stream:
        *_, last = stream
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    assert last.data.usage.completion_tokens > 0


def test_tools():
    for choice in ("any", {"type": "function", "function": {"name": "get_weather"}}):
        ask = {**BRIEF, "max_tokens": 60, "tools": [WEATHER], "tool_choice": choice}
        message = client.chat.complete(**ask, messages=SAY).choices[0].message
        assert json.loads(message.tool_calls[0].function.arguments)["city"] in {"Paris", "London"}
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": "21 degrees"}
    answer = client.chat.complete(**BRIEF, tools=[WEATHER], tool_choice="none", messages=[*SAY, message, result])
    assert answer.choices[0].message.content.strip()


def test_schema():
    answer = client.chat.parse(Verdict, **{**BRIEF, "max_tokens": 60}, messages=SAY)
    assert isinstance(answer.choices[0].message.parsed, Verdict)


def test_vision():
    picture = {"type": "image_url", "image_url": f"data:image/png;base64,{fh.PNG}"}
    with pytest.raises(errors.SDKError) as caught:
        client.chat.complete(**BRIEF, messages=[{"role": "user", "content": [picture]}])
    assert caught.value.status_code == 400


def test_embeddings():
    answer = client.embeddings.create(model=fh.EMBEDDING, inputs=["a cat", "a dog"])
    assert [len(item.embedding) for item in answer.data] == [384, 384]


def test_fim():
    whole = client.fim.complete(**CODE)
    assert whole.usage.completion_tokens > 0
    with client.fim.stream(**CODE) as stream:
        text = "".join(event.data.choices[0].delta.content or "" for event in stream)
    assert text == whole.choices[0].message.content


def test_models():
    assert fh.REAL_CHAT in [model.id for model in client.models.list().data]
    assert client.models.retrieve(model_id=fh.REAL_CHAT).id == fh.REAL_CHAT


def test_errors():
    with pytest.raises(errors.SDKError) as caught:
        client.fim.complete(**{**CODE, "model": "nobody"})
    assert caught.value.status_code == 404
    with pytest.raises(errors.SDKError) as caught:
        client.fim.complete(**{**CODE, "model": fh.REAL_CHAT})
    assert caught.value.status_code == 400


def test_retry():
    patient = RetryConfig("backoff", BackoffStrategy(200, 2000, 1.5, 20_000), False)
    with fh.busy():
        answer = client.chat.complete(model="single", messages=say("one two"), retries=patient)
    assert answer.choices[0].message.content == "one two"


def test_timeout():
    with pytest.raises(httpx2.ReadTimeout):
        client.chat.complete(model="fake", messages=say(fh.HANGS), timeout_ms=300)
    fh.until(fh.idle)


def test_leaving():
    with client.chat.stream(model="fake", messages=say(fh.SLOW)) as stream:
        next(iter(stream))
        assert not fh.idle()
    fh.until(fh.idle)
