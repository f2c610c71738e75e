"""LiteLLM as a client, by its names for OpenAI's, Anthropic's, Ollama's and Cohere's APIs."""

from __future__ import annotations

import json

import freehold_server as fh
import litellm
import pytest
from pydantic import BaseModel

litellm.drop_params = True  # its own rules for Claude's names
SAY = [{"role": "user", "content": fh.COLOURS}]
OPENAI = {"api_base": fh.BASE_URL, "api_key": "none"}
BRIEF = {"model": f"openai/{fh.CHAT}", **OPENAI, "temperature": 0, "max_tokens": 6}
WEATHER = {"type": "function", "function": {"name": "get_weather", "description": "Weather", "parameters": fh.WEATHER}}


class Verdict(BaseModel):
    sure: bool


def say(text: str) -> list[dict]:
    return [{"role": "user", "content": text}]


@pytest.mark.parametrize(
    "where",
    [
        {},
        {"model": "anthropic/claude-haiku-5-5", "api_base": fh.ROOT},
        {"model": f"ollama_chat/{fh.REAL_CHAT}", "api_base": fh.ROOT},
        {"model": f"ollama/{fh.REAL_CHAT}", "api_base": fh.ROOT},
        {"model": f"hosted_vllm/{fh.REAL_CHAT}"},
        {"model": f"text-completion-openai/{fh.REAL_CHAT}"},
    ],
)
def test_chat(where):
    assert litellm.completion(**{**BRIEF, **where}, messages=SAY).choices[0].message.content.strip()


def test_stream():
    whole = litellm.completion(**BRIEF, messages=SAY).choices[0].message.content
    parts = litellm.completion(**BRIEF, messages=SAY, stream=True)
    assert "".join(part.choices[0].delta.content or "" for part in parts) == whole


def test_usage():
    whole = litellm.completion(**BRIEF, messages=SAY).usage
    *_, last = litellm.completion(**BRIEF, messages=SAY, stream=True, stream_options={"include_usage": True})
    assert last.usage.total_tokens == whole.total_tokens > 6


def test_tools():
    ask = {**BRIEF, "max_tokens": 60, "tools": [WEATHER], "tool_choice": "required"}
    for where in ({}, {"model": "anthropic/claude-haiku-5-5", "api_base": fh.ROOT}):
        message = litellm.completion(**{**ask, **where}, messages=SAY).choices[0].message
        call = message.tool_calls[0]
        assert json.loads(call.function.arguments)["city"] in {"Paris", "London"}
        turns = [*SAY, message, {"role": "tool", "tool_call_id": call.id, "content": "21 degrees"}]
        answer = litellm.completion(**{**ask, **where, "tool_choice": "none"}, messages=turns)
        assert answer.choices[0].message.content.strip()


def test_toolstream():
    ask = {**BRIEF, "max_tokens": 60, "tools": [WEATHER], "tool_choice": "required"}
    chunks = list(litellm.completion(**ask, messages=SAY, stream=True))
    call = litellm.stream_chunk_builder(chunks).choices[0].message.tool_calls[0]
    assert json.loads(call.function.arguments)["city"] in {"Paris", "London"}


def test_schema():
    answer = litellm.completion(**{**BRIEF, "max_tokens": 60}, messages=SAY, response_format=Verdict)
    assert Verdict.model_validate_json(answer.choices[0].message.content)


def test_vision():
    picture = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{fh.PNG}"}}
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(**BRIEF, messages=[{"role": "user", "content": [picture]}])


def test_embeddings():
    answer = litellm.embedding(f"openai/{fh.EMBEDDING}", ["a cat", "a dog"], **OPENAI)
    assert [len(item["embedding"]) for item in answer.data] == [384, 384]
    answer = litellm.embedding(f"ollama/{fh.REAL_EMBEDDING}", ["a cat"], api_base=fh.ROOT)
    assert len(answer.data[0]["embedding"]) == 384


def test_responses():
    answer = litellm.responses(model=f"openai/{fh.CHAT}", input=fh.COLOURS, max_output_tokens=16, **OPENAI)
    assert answer.output[0].content[0].text.strip()
    events = litellm.responses(model=f"openai/{fh.CHAT}", input=fh.COLOURS, max_output_tokens=16, stream=True, **OPENAI)
    assert "response.output_text.delta" in [event.type for event in events]


def test_state():
    first = litellm.responses(model=f"openai/{fh.CHAT}", input="I am Ada.", max_output_tokens=16, **OPENAI)
    second = litellm.responses(
        model=f"openai/{fh.CHAT}", input="Who?", previous_response_id=first.id, max_output_tokens=16, **OPENAI
    )
    assert second.previous_response_id
    assert litellm.get_responses(first.id, custom_llm_provider="openai", **OPENAI).output
    litellm.delete_responses(first.id, custom_llm_provider="openai", **OPENAI)


def test_fim():
    ask = {"model": "text-completion-openai/coder", **OPENAI, "max_tokens": 8}
    answer = litellm.text_completion(**ask, prompt="def add(a, b):\n    ", suffix="\nprint(add(1, 2))")
    assert answer.usage.completion_tokens > 0


def test_rerank():
    documents = ["The invoice is due on Friday.", "A cat sleeps on the sofa."]
    for provider in ("cohere/rerank-v3.5", "jina_ai/jina-reranker-v2", f"hosted_vllm/{fh.REAL_EMBEDDING}"):
        answer = litellm.rerank(provider, "Where does the cat sleep?", documents, api_base=fh.ROOT, api_key="none")
        assert answer.results[0]["index"] == 1


def test_speech():
    spoken = litellm.speech("openai/tts-1", input="Hello.", voice="alloy", **OPENAI)
    assert len(spoken.content) > 1000


def test_hearing():
    with fh.clip().open("rb") as file:
        assert "no matter" in litellm.transcription("openai/whisper-1", file, **OPENAI).text.lower()


def test_models():
    found = litellm.get_valid_models(check_provider_endpoint=True, custom_llm_provider="openai", **OPENAI)
    assert any(fh.REAL_CHAT in name for name in found)


def test_errors():
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(**{**BRIEF, "model": "openai/nobody"}, messages=SAY)
    with pytest.raises(litellm.BadRequestError):
        litellm.completion(**{**BRIEF, "temperature": 9}, messages=SAY)
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(**BRIEF, messages=say("hello " * 9000))
    with pytest.raises((litellm.InternalServerError, litellm.ServiceUnavailableError, litellm.BadGatewayError)):
        litellm.completion(**{**BRIEF, "model": "openai/fake"}, messages=say(fh.FAILS))
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(model="anthropic/nobody", api_base=fh.ROOT, api_key="none", messages=SAY)


def test_retry():
    with fh.busy():
        answer = litellm.completion("openai/single", messages=say("one two"), max_retries=3, **OPENAI)
    assert answer.choices[0].message.content == "one two"


def test_timeout():
    with pytest.raises(litellm.Timeout):
        litellm.completion("openai/fake", messages=say(fh.HANGS), timeout=0.3, **OPENAI)
    fh.until(fh.idle)
