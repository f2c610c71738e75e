"""Pydantic AI, by its models for OpenAI's two APIs and Anthropic's."""

from __future__ import annotations

import base64

import freehold_server as fh
import pytest
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from pydantic import BaseModel
from pydantic_ai import Agent, BinaryContent, NativeOutput, ToolOutput
from pydantic_ai.embeddings import Embedder
from pydantic_ai.embeddings.openai import OpenAIEmbeddingModel
from pydantic_ai.exceptions import ModelAPIError, ModelHTTPError
from pydantic_ai.messages import ModelRequest, ModelResponse, TextPart
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

SETTINGS = {"max_tokens": 60, "temperature": 0}


def provider(**options) -> OpenAIProvider:
    return OpenAIProvider(openai_client=AsyncOpenAI(**{"base_url": fh.BASE_URL, "api_key": "none", "max_retries": 0} | options))


def anthropic_provider() -> AnthropicProvider:
    return AnthropicProvider(anthropic_client=AsyncAnthropic(base_url=fh.ROOT, api_key="none", max_retries=0))


MODELS = {
    "chat": lambda name=fh.CHAT: OpenAIChatModel(name, provider=provider()),
    "responses": lambda name=fh.CHAT: OpenAIResponsesModel(name, provider=provider()),
    "anthropic": lambda name="claude-haiku-4-5": AnthropicModel(name, provider=anthropic_provider()),
}


class Verdict(BaseModel):
    sure: bool


def agent(api: str, settings: dict | None = None, **options) -> Agent:
    brief = {"temperature": 0, "max_tokens": 16 if api == "responses" else 6}  # 16 is the least of the Responses API
    return Agent(MODELS[api](), model_settings=settings or brief, retries=0, **options)


def faked(name: str = "fake", **options) -> Agent:
    return Agent(OpenAIChatModel(name, provider=provider(**options)), retries=0)


@pytest.mark.parametrize("api", MODELS)
def test_chat(api):
    earlier = [ModelRequest.user_text_prompt("Hello"), ModelResponse([TextPart("Hello.")])]
    assert agent(api, instructions="Be brief.").run_sync(fh.COLOURS, message_history=earlier).output.strip()


@pytest.mark.parametrize("api", MODELS)
def test_stream(api):
    result = agent(api).run_stream_sync(fh.COLOURS)
    parts = list(result.stream_text(delta=True, debounce_by=None))
    assert len(parts) > 2
    assert "".join(parts) == agent(api).run_sync(fh.COLOURS).output


def test_usage():
    streamed = agent("chat").run_stream_sync(fh.COLOURS)
    assert list(streamed.stream_text())
    for result in (agent("chat").run_sync(fh.COLOURS), streamed):
        usage = result.usage() if callable(result.usage) else result.usage
        assert usage.input_tokens > 5
        assert 0 < usage.output_tokens <= 6


@pytest.mark.parametrize("api", MODELS)
def test_schema(api):
    assert isinstance(agent(api, SETTINGS, output_type=ToolOutput(Verdict)).run_sync(fh.COLOURS).output, Verdict)
    if api != "anthropic":
        assert isinstance(agent(api, SETTINGS, output_type=NativeOutput(Verdict)).run_sync(fh.COLOURS).output, Verdict)


@pytest.mark.parametrize("api", MODELS)
def test_toolstream(api):
    result = agent(api, SETTINGS, output_type=ToolOutput(Verdict)).run_stream_sync(fh.COLOURS)
    *_, last = result.stream_output(debounce_by=None)
    assert isinstance(last, Verdict)


@pytest.mark.parametrize("api", MODELS)
def test_vision(api):
    with pytest.raises(ModelHTTPError) as caught:
        agent(api).run_sync(["What?", BinaryContent(base64.b64decode(fh.PNG), media_type="image/png")])
    assert caught.value.status_code == 400


def test_embeddings():
    embedder = Embedder(OpenAIEmbeddingModel(fh.EMBEDDING, provider=provider()))
    result = embedder.embed_documents_sync(["a cat", "a dog"])
    assert [len(vector) for vector in result.embeddings] == [384, 384]


def test_responses():
    [answer] = [part for part in agent("responses").run_sync(fh.COLOURS).all_messages() if part.kind == "response"]
    assert answer.provider_response_id.startswith("resp_")


def test_state():
    settings = {"max_tokens": 16, "openai_previous_response_id": "auto"}
    talk = Agent(MODELS["responses"](), model_settings=settings)
    first = talk.run_sync("I am Ada.")
    assert talk.run_sync("Who?", message_history=first.all_messages()).output.strip()


def test_errors():
    with pytest.raises(ModelHTTPError) as caught:
        Agent(MODELS["chat"]("nobody")).run_sync("Hello")
    assert (caught.value.status_code, caught.value.body["code"]) == (404, "model_not_found")
    with pytest.raises(ModelHTTPError) as caught:
        Agent(MODELS["anthropic"]("nobody")).run_sync("Hello")
    assert caught.value.status_code == 404
    with pytest.raises(ModelHTTPError) as caught:
        faked().run_sync(fh.FAILS)
    assert caught.value.status_code >= 500


def test_retry():
    with fh.busy():
        assert faked("single", max_retries=3).run_sync("one two").output == "one two"


def test_timeout():
    with pytest.raises(ModelAPIError):
        faked(timeout=0.3).run_sync(fh.HANGS)
    fh.until(fh.idle)
