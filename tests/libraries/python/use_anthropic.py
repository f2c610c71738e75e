"""Anthropic's Python SDK."""

from __future__ import annotations

import anthropic
import freehold_server as fh
import pytest
from anthropic import Anthropic
from pydantic import BaseModel

client = Anthropic(base_url=fh.ROOT, api_key="none", max_retries=0)
SAY = [{"role": "user", "content": fh.COLOURS}]
BRIEF = {"model": "claude-haiku-5-5", "max_tokens": 8}
WEATHER = {"name": "get_weather", "description": "The weather in a city", "input_schema": fh.WEATHER}


class Verdict(BaseModel):
    sure: bool


def say(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def test_chat():
    turns = [*SAY, {"role": "assistant", "content": "Red."}, {"role": "user", "content": [{"type": "text", "text": "More."}]}]
    answer = client.messages.create(**BRIEF, system="Be brief.", messages=turns)
    assert answer.content[0].text.strip()
    assert answer._request_id


def test_stream():
    with client.messages.stream(**BRIEF, messages=SAY) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert text == final.content[0].text
    assert final.stop_reason in {"end_turn", "max_tokens"}


def test_usage():
    counted = client.messages.count_tokens(model=BRIEF["model"], messages=SAY).input_tokens
    usage = client.messages.create(**BRIEF, messages=SAY).usage
    assert usage.input_tokens + usage.cache_read_input_tokens == counted
    with client.messages.stream(**BRIEF, messages=SAY) as stream:
        streamed = stream.get_final_message().usage
    assert streamed.input_tokens + streamed.cache_read_input_tokens == counted
    assert 0 < streamed.output_tokens <= 8


def test_tools():
    ask = {**BRIEF, "max_tokens": 60, "tools": [WEATHER]}
    for choice in ({"type": "any"}, {"type": "tool", "name": "get_weather"}):
        answer = client.messages.create(**ask, messages=SAY, tool_choice=choice)
        assert answer.stop_reason == "tool_use"
        assert answer.content[-1].input["city"] in {"Paris", "London"}
    result = {"type": "tool_result", "tool_use_id": answer.content[-1].id, "content": "21 degrees"}
    turns = [*SAY, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    assert client.messages.create(**ask, messages=turns, tool_choice={"type": "none"}).content[0].text.strip()


def test_toolstream():
    ask = {**BRIEF, "max_tokens": 60, "tools": [WEATHER], "tool_choice": {"type": "any"}}
    with client.messages.stream(**ask, messages=SAY) as stream:
        pieces = [event.partial_json for event in stream if event.type == "input_json"]
        final = stream.get_final_message()
    assert len(pieces) > 1
    assert final.content[-1].input["city"] in {"Paris", "London"}


def test_schema():
    answer = client.messages.parse(**{**BRIEF, "max_tokens": 60}, messages=SAY, output_format=Verdict)
    assert isinstance(answer.parsed_output, Verdict)


def test_vision():
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": fh.PNG}}
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(**BRIEF, messages=[{"role": "user", "content": [picture]}])


def test_models():
    assert fh.REAL_CHAT in [model.id for model in client.models.list()]
    assert client.models.retrieve(fh.REAL_CHAT).type == "model"


def test_errors():
    with pytest.raises(anthropic.NotFoundError) as caught:
        client.messages.create(model="nobody", max_tokens=5, messages=SAY)
    assert caught.value.body["error"]["type"] == "not_found_error"
    with pytest.raises(anthropic.BadRequestError):
        client.messages.create(model="fake", max_tokens=0, messages=SAY)
    with pytest.raises(anthropic.InternalServerError):
        client.messages.create(model="fake", max_tokens=5, messages=say(fh.FAILS))
    with (
        pytest.raises(anthropic.APIStatusError),
        client.messages.stream(model="fake", max_tokens=50, messages=say(fh.BREAKS)) as stream,
    ):
        stream.get_final_message()


def test_retry():
    with fh.busy():
        answer = client.with_options(max_retries=3).messages.create(model="single", max_tokens=50, messages=say("one two"))
    assert answer.content[0].text == "one two"


def test_timeout():
    with pytest.raises(anthropic.APITimeoutError):
        client.with_options(timeout=0.3).messages.create(model="fake", max_tokens=50, messages=say(fh.HANGS))
    fh.until(fh.idle)


def test_leaving():
    with client.messages.stream(model="fake", max_tokens=900, messages=say(fh.SLOW)) as stream:
        next(iter(stream.text_stream))
        assert not fh.idle()
    fh.until(fh.idle)
