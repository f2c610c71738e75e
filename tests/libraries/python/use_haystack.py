"""Haystack, by its components for OpenAI."""

from __future__ import annotations

import freehold_server as fh
import openai
import pytest
from haystack import Document, Pipeline
from haystack.components.builders import ChatPromptBuilder
from haystack.components.embedders import OpenAIDocumentEmbedder, OpenAITextEmbedder
from haystack.components.generators.chat import OpenAIChatGenerator, OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack.utils import Secret
from pydantic import BaseModel

WHERE = {"api_key": Secret.from_token("none"), "api_base_url": fh.BASE_URL, "max_retries": 0}
BRIEF = {"temperature": 0, "max_completion_tokens": 6}
WEATHER = Tool("get_weather", "The weather", fh.WEATHER, lambda city: f"Rain in {city}")
SAY = [ChatMessage.from_user(fh.COLOURS)]


class Verdict(BaseModel):
    sure: bool


def generator(model: str = fh.CHAT, given: dict | None = None, **options) -> OpenAIChatGenerator:
    return OpenAIChatGenerator(**{**WHERE, **options}, model=model, generation_kwargs=given or BRIEF)


def test_chat():
    pipeline = Pipeline()
    pipeline.add_component("prompt", ChatPromptBuilder([ChatMessage.from_user("{{question}}")]))
    pipeline.add_component("chat", generator())
    pipeline.connect("prompt.prompt", "chat.messages")
    assert pipeline.run({"question": fh.COLOURS})["chat"]["replies"][0].text.strip()


def test_stream():
    parts = []
    reply = generator(streaming_callback=lambda chunk: parts.append(chunk.content)).run(SAY)["replies"][0]
    assert "".join(parts) == reply.text
    assert reply.text.strip()


def test_usage():
    usage = generator().run(SAY)["replies"][0].meta["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    counted = generator(given={**BRIEF, "stream_options": {"include_usage": True}}, streaming_callback=lambda chunk: None)
    assert counted.run(SAY)["replies"][0].meta["usage"]["total_tokens"] == usage["total_tokens"]


def test_tools():
    forced = generator(given={"max_completion_tokens": 60, "tool_choice": "required"}, tools=[WEATHER], tools_strict=True)
    reply = forced.run(SAY)["replies"][0]
    assert reply.tool_calls[0].arguments["city"] in {"Paris", "London"}
    result = ChatMessage.from_tool("rain", origin=reply.tool_calls[0])
    answer = generator(given={**BRIEF, "tool_choice": "none"}, tools=[WEATHER]).run([*SAY, reply, result])
    assert answer["replies"][0].text.strip()


def test_toolstream():
    given = {"max_completion_tokens": 60, "tool_choice": "required"}
    reply = generator(given=given, tools=[WEATHER], streaming_callback=lambda chunk: None).run(SAY)["replies"][0]
    assert reply.tool_calls[0].arguments["city"] in {"Paris", "London"}


def test_schema():
    reply = generator(given={"max_completion_tokens": 60, "response_format": Verdict}).run(SAY)["replies"][0]
    assert Verdict.model_validate_json(reply.text)


def test_embeddings():
    embedder = OpenAIDocumentEmbedder(**WHERE, model=fh.EMBEDDING, progress_bar=False)
    documents = embedder.run([Document(content="a cat"), Document(content="a dog")])["documents"]
    assert [len(document.embedding) for document in documents] == [384, 384]
    assert len(OpenAITextEmbedder(**WHERE, model=fh.EMBEDDING).run("a cat")["embedding"]) == 384


def test_responses():
    given = {"max_output_tokens": 16}
    for callback in (None, lambda chunk: None):
        chat = OpenAIResponsesChatGenerator(**WHERE, model=fh.CHAT, generation_kwargs=given, streaming_callback=callback)
        assert chat.run(SAY)["replies"][0].text.strip()


def test_errors():
    with pytest.raises(openai.NotFoundError):
        generator("nobody").run(SAY)
    with pytest.raises(openai.APIError):
        generator("fake", {"n": 1}, streaming_callback=lambda chunk: None).run([ChatMessage.from_user(fh.BREAKS)])


def test_retry():
    with fh.busy():
        reply = generator("single", {"n": 1}, max_retries=3).run([ChatMessage.from_user("one two")])["replies"][0]
    assert reply.text == "one two"


def test_timeout():
    with pytest.raises(openai.APITimeoutError):
        generator("fake", timeout=0.3).run([ChatMessage.from_user(fh.HANGS)])
    fh.until(fh.idle)
