"""Ollama's Python library."""

from __future__ import annotations

import freehold_server as fh
import httpx
import ollama
import pytest
from pydantic import BaseModel

client = ollama.Client(host=fh.ROOT)
SAY = [{"role": "user", "content": fh.COLOURS}]
BRIEF = {"model": fh.REAL_CHAT, "options": {"temperature": 0, "num_predict": 8}}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "The weather", "parameters": fh.WEATHER}}
LIMITED = {"temperature": 0, "num_predict": 60}


class Verdict(BaseModel):
    sure: bool


def say(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


def test_chat():
    assert client.chat(**BRIEF, messages=[{"role": "system", "content": "Be brief."}, *SAY]).message.content.strip()
    assert client.generate(**BRIEF, prompt=fh.COLOURS).response.strip()


def test_stream():
    whole = client.chat(**BRIEF, messages=SAY)
    parts = list(client.chat(**BRIEF, messages=SAY, stream=True))
    assert "".join(part.message.content for part in parts) == whole.message.content
    assert [part.done for part in parts] == [False] * (len(parts) - 1) + [True]


def test_usage():
    whole = client.chat(**BRIEF, messages=SAY)
    *_, last = client.chat(**BRIEF, messages=SAY, stream=True)
    assert (last.prompt_eval_count, last.eval_count) == (whole.prompt_eval_count, whole.eval_count)
    assert min(last.prompt_eval_count, last.eval_count, last.total_duration, last.eval_duration) > 0


def shown(city: str) -> list[dict]:
    call = f'<tool_call>\n{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>'
    return [*say(f"Call get_weather for {city}."), {"role": "assistant", "content": call}]


def test_tools():
    """Shown twice how it is done, the starter model does it, too: Ollama's API cannot force it."""
    turns = [*shown("London"), *shown("London"), shown("Paris")[0]]
    message = client.chat(fh.REAL_CHAT, messages=turns, tools=[WEATHER], options=LIMITED).message
    assert [call.function.name for call in message.tool_calls] == ["get_weather"]
    assert message.tool_calls[0].function.arguments["city"] in {"Paris", "London"}
    result = {"role": "tool", "tool_name": "get_weather", "content": "21 degrees"}
    assert client.chat(**BRIEF, messages=[*turns, message, result]).message.content.strip()


def test_schema():
    answer = client.chat(fh.REAL_CHAT, messages=SAY, format=Verdict.model_json_schema(), options=LIMITED)
    assert isinstance(Verdict.model_validate_json(answer.message.content), Verdict)


def test_vision():
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat(**BRIEF, messages=[{"role": "user", "content": "What?", "images": [fh.PNG]}])
    assert caught.value.status_code == 400


def test_embeddings():
    assert [len(vector) for vector in client.embed(fh.REAL_EMBEDDING, ["a cat", "a dog"]).embeddings] == [384, 384]
    assert len(client.embeddings(fh.REAL_EMBEDDING, "a cat").embedding) == 384


def test_fim():
    options = {"num_predict": 8}
    assert client.generate("coder", "def add(a, b):\n    ", suffix="\nprint(add(1, 2))", options=options).eval_count > 0


def test_models():
    assert fh.REAL_CHAT in [model.model for model in client.list().models]
    assert "completion" in client.show(fh.REAL_CHAT).capabilities
    assert fh.REAL_CHAT in [model.model for model in client.ps().models]


def test_errors():
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat("nobody", messages=SAY)
    assert caught.value.status_code == 404
    with pytest.raises(ollama.ResponseError) as caught:
        client.chat(fh.REAL_CHAT, messages=SAY, options={"temperature": 9})
    assert caught.value.status_code == 400
    with pytest.raises(ollama.ResponseError):
        list(client.chat("fake", messages=say(fh.BREAKS), stream=True))


def test_timeout():
    with pytest.raises(httpx.ReadTimeout):
        ollama.Client(host=fh.ROOT, timeout=0.3).chat("fake", messages=say(fh.HANGS))
    fh.until(fh.idle)


def test_leaving():
    stream = client.chat("fake", messages=say(fh.SLOW), stream=True)
    next(stream)
    assert not fh.idle()
    stream.close()
    fh.until(fh.idle)
