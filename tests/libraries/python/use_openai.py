"""OpenAI's Python SDK."""

from __future__ import annotations

import json
from typing import Literal

import freehold_server as fh
import openai
import pytest
from openai import OpenAI
from pydantic import BaseModel

client = OpenAI(base_url=fh.BASE_URL, api_key="none", max_retries=0)
SAY = [{"role": "user", "content": fh.COLOURS}]
BRIEF = {"model": fh.CHAT, "temperature": 0, "max_tokens": 8}
WEATHER = {"type": "function", "function": {"name": "get_weather", "strict": True, "parameters": fh.WEATHER}}


class Verdict(BaseModel):
    answer: Literal["yes", "no"]
    sure: bool


def say(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def test_chat():
    parts = [{"role": "user", "content": [{"type": "text", "text": "Name"}, {"type": "text", "text": " a colour."}]}]
    answer = client.chat.completions.create(**BRIEF, messages=[{"role": "system", "content": "Be brief."}, *parts])
    assert answer.choices[0].message.content.strip()
    assert answer._request_id


def test_stream():
    whole = client.chat.completions.create(**BRIEF, messages=SAY)
    chunks = list(client.chat.completions.create(**BRIEF, messages=SAY, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == whole.choices[0].message.content


def test_usage():
    whole = client.chat.completions.create(**BRIEF, messages=SAY).usage
    *_, last = client.chat.completions.create(**BRIEF, messages=SAY, stream=True, stream_options={"include_usage": True})
    assert whole.total_tokens == whole.prompt_tokens + whole.completion_tokens > 8
    assert last.usage.total_tokens == whole.total_tokens


def test_tools():
    ask = {**BRIEF, "max_tokens": 60, "tools": [WEATHER]}
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        message = client.chat.completions.create(**ask, messages=SAY, tool_choice=choice).choices[0].message
        assert json.loads(message.tool_calls[0].function.arguments)["city"] in {"Paris", "London"}
    result = {"role": "tool", "tool_call_id": message.tool_calls[0].id, "content": '{"celsius": 21}'}
    answer = client.chat.completions.create(**ask, messages=[*SAY, message, result], tool_choice="none")
    assert answer.choices[0].message.content.strip()


def test_toolstream():
    ask = {**BRIEF, "max_tokens": 60, "tools": [WEATHER], "tool_choice": "required"}
    with client.chat.completions.stream(**ask, messages=SAY) as stream:
        done = [event for event in stream if event.type == "tool_calls.function.arguments.done"]
    assert done[0].name == "get_weather"
    assert done[0].parsed_arguments["city"] in {"Paris", "London"}


def test_schema():
    ask = {"model": fh.CHAT, "max_completion_tokens": 100, "messages": say("Is water wet? Answer as JSON.")}
    assert isinstance(client.chat.completions.parse(**ask, response_format=Verdict).choices[0].message.parsed, Verdict)
    response = client.responses.parse(model=fh.CHAT, input="Is water wet?", text_format=Verdict, max_output_tokens=100)
    assert isinstance(response.output_parsed, Verdict)


def test_vision():
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{fh.PNG}"}}
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(**BRIEF, messages=[{"role": "user", "content": [picture]}])
    assert caught.value.param.startswith("messages")


def test_embeddings():
    answer = client.embeddings.create(model=fh.EMBEDDING, input=["a cat", "a dog"])
    plain = client.embeddings.create(model=fh.EMBEDDING, input="a cat", encoding_format="float")
    assert [len(item.embedding) for item in answer.data] == [384, 384]
    assert plain.data[0].embedding == pytest.approx(answer.data[0].embedding, abs=1e-4)


def test_responses():
    ask = {"model": fh.CHAT, "input": fh.COLOURS, "max_output_tokens": 24, "temperature": 0}
    whole = client.responses.create(**ask)
    with client.responses.stream(**ask) as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
    assert text == whole.output_text


def test_state():
    first = client.responses.create(model=fh.CHAT, input="I am Ada.", max_output_tokens=16)
    second = client.responses.create(model=fh.CHAT, input="Who?", previous_response_id=first.id, max_output_tokens=16)
    assert second.previous_response_id == first.id
    assert len(client.responses.input_items.list(second.id).data) == 3
    conversation = client.conversations.create()
    client.responses.create(model=fh.CHAT, input="Hello", conversation=conversation.id, max_output_tokens=16)
    assert len(client.conversations.items.list(conversation.id).data) == 2
    stored = client.chat.completions.create(**BRIEF, messages=SAY, store=True)
    assert stored.id in [item.id for item in client.chat.completions.list()]
    client.responses.delete(first.id)
    client.conversations.delete(conversation.id)
    assert client.chat.completions.delete(stored.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(first.id)


def test_fim():
    answer = client.completions.create(model="coder", prompt="def add(a, b):\n    ", suffix="\nprint(add(1, 2))", max_tokens=8)
    assert answer.usage.completion_tokens > 0


def test_speech():
    spoken = client.audio.speech.create(model="tts-1", voice="alloy", input="Hello.", response_format="wav")
    assert spoken.content.startswith(b"RIFF")
    with client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="Hello.") as response:
        assert sum(map(len, response.iter_bytes())) > 1000


def test_hearing():
    heard = client.audio.transcriptions.create(model="whisper-1", file=fh.clip())
    assert "no matter" in heard.text.lower()
    stream = client.audio.transcriptions.create(model="gpt-4o-transcribe", file=fh.clip(), stream=True)
    assert "no matter" in list(stream)[-1].text.lower()


def test_models():
    assert fh.REAL_CHAT in [model.id for model in client.models.list()]
    assert client.models.retrieve(fh.REAL_CHAT).id == fh.REAL_CHAT


def test_errors():
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="nobody", messages=SAY)
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="fake", messages=SAY, temperature=9)
    assert caught.value.param == "temperature"
    with pytest.raises(openai.InternalServerError):
        client.chat.completions.create(model="fake", messages=say(fh.FAILS))
    words = []
    with pytest.raises(openai.APIError):
        for chunk in client.chat.completions.create(model="fake", messages=say(fh.BREAKS), stream=True):
            words.append(chunk.choices[0].delta.content)
    assert [word for word in words if word] == ["a", " b"]


def test_retry():
    with fh.busy():
        answer = client.with_options(max_retries=3).chat.completions.create(model="single", messages=say("one two"))
    assert answer.choices[0].message.content == "one two"


def test_timeout():
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(model="fake", messages=say(fh.HANGS))
    fh.until(fh.idle)


def test_leaving():
    stream = client.chat.completions.create(model="fake", messages=say(fh.SLOW), stream=True)
    next(iter(stream))
    assert not fh.idle()
    stream.close()
    fh.until(fh.idle)
