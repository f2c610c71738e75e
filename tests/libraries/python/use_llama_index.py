"""LlamaIndex, by its packages for what is like OpenAI and for Ollama."""

from __future__ import annotations

import freehold_server as fh
import openai
import pytest
from llama_index.core import Document, VectorStoreIndex
from llama_index.core.base.llms.types import ChatMessage, ImageBlock, TextBlock
from llama_index.core.tools import FunctionTool
from llama_index.embeddings.openai_like import OpenAILikeEmbedding
from llama_index.llms.ollama import Ollama
from llama_index.llms.openai import OpenAIResponses
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

WHERE = {"api_base": fh.BASE_URL, "api_key": "none", "max_retries": 0}
SAY = [ChatMessage(role="user", content=fh.COLOURS)]


class Verdict(BaseModel):
    """Whether it is so."""

    sure: bool


def switch_light(on: bool) -> str:
    """Switches the light."""
    return "done"


LIGHT = FunctionTool.from_defaults(switch_light)


def chat(model: str = fh.CHAT, **options) -> OpenAILike:
    fields = {
        "is_chat_model": True,
        "is_function_calling_model": True,
        "max_tokens": 6,
        "temperature": 0,
        "context_window": 4096,
    }
    return OpenAILike(**{**WHERE, **fields, **options}, model=model)


def embedder() -> OpenAILikeEmbedding:
    return OpenAILikeEmbedding(**WHERE, model_name=fh.EMBEDDING)


def ollama(**options) -> Ollama:
    fields = {"temperature": 0, "context_window": 4096, "additional_kwargs": {"num_predict": 6}}
    return Ollama(**{"model": fh.REAL_CHAT, "base_url": fh.ROOT, **fields, **options})


def test_chat():
    system = ChatMessage(role="system", content="Be brief.")
    for llm in (chat(), ollama()):
        assert llm.chat([system, *SAY]).message.content.strip()
        assert llm.complete("One, two,").text.strip()
    assert chat(is_chat_model=False).complete("One, two,").text.strip()


def test_chat_about_documents():
    index = VectorStoreIndex.from_documents([Document(text="The cat sleeps on the sofa.")], embed_model=embedder())
    assert index.as_query_engine(llm=chat()).query("Where is the cat?").response.strip()


def test_stream():
    for llm in (chat(), ollama()):
        *_, last = llm.stream_chat(SAY)
        assert last.message.content.strip()
    whole = chat().chat(SAY).message.content
    assert "".join(part.delta or "" for part in chat().stream_chat(SAY)) == whole


def test_usage():
    usage = chat().chat(SAY).raw.usage
    assert usage.total_tokens == usage.prompt_tokens + usage.completion_tokens
    *_, last = chat(additional_kwargs={"stream_options": {"include_usage": True}}).stream_chat(SAY)
    assert last.raw.usage.total_tokens == usage.total_tokens


def test_tools():
    answer = chat(max_tokens=60).chat_with_tools([LIGHT], user_msg=fh.COLOURS, tool_required=True)
    [call] = chat().get_tool_calls_from_response(answer)
    assert isinstance(call.tool_kwargs["on"], bool)
    result = ChatMessage(role="tool", content="done", additional_kwargs={"tool_call_id": call.tool_id})
    assert chat().chat([*SAY, answer.message, result]).message.content.strip()
    result = chat(max_tokens=60).predict_and_call([LIGHT], user_msg=fh.COLOURS, tool_required=True)
    assert result.response == "done"


def test_toolstream():
    *_, last = chat(max_tokens=60).stream_chat_with_tools([LIGHT], user_msg=fh.COLOURS, tool_required=True)
    [call] = chat().get_tool_calls_from_response(last)
    assert isinstance(call.tool_kwargs["on"], bool)


def test_schema():
    for llm in (
        chat(max_tokens=60),
        chat(max_tokens=60, should_use_structured_outputs=True),
        ollama(additional_kwargs={"num_predict": 60}),
    ):
        assert isinstance(llm.as_structured_llm(Verdict).chat(SAY).raw, Verdict)


def test_vision():
    picture = ChatMessage(role="user", blocks=[TextBlock(text="What?"), ImageBlock(image=fh.PNG.encode())])
    with pytest.raises(openai.BadRequestError):
        chat().chat([picture])


def test_embeddings():
    assert [len(vector) for vector in embedder().get_text_embedding_batch(["a cat", "a dog"])] == [384, 384]


def test_responses():
    llm = OpenAIResponses(**WHERE, model=fh.CHAT, max_output_tokens=16, context_window=4096)
    assert llm.chat(SAY).message.content.strip()
    assert "".join(part.delta or "" for part in llm.stream_chat(SAY)).strip()


def test_state():
    llm = OpenAIResponses(**WHERE, model=fh.CHAT, max_output_tokens=16, context_window=4096, track_previous_responses=True)
    llm.chat(SAY)
    assert llm.chat([ChatMessage(role="user", content="More.")]).message.content.strip()


def test_errors():
    with pytest.raises(openai.NotFoundError):
        chat("nobody").chat(SAY)
    with pytest.raises(openai.BadRequestError):
        chat().chat([ChatMessage(role="user", content="hello " * 9000)])
    with pytest.raises(openai.APIError):
        list(chat("fake").stream_chat([ChatMessage(role="user", content=fh.BREAKS)]))


def test_retry():
    with fh.busy():
        answer = chat("single", max_retries=3).chat([ChatMessage(role="user", content="one two")])
    assert answer.message.content == "one two"


def test_timeout():
    with pytest.raises(openai.APITimeoutError):
        chat("fake", timeout=0.3).chat([ChatMessage(role="user", content=fh.HANGS)])
    fh.until(fh.idle)


def test_leaving():
    stream = chat("fake", max_tokens=900).stream_chat([ChatMessage(role="user", content=fh.SLOW)])
    next(stream)
    assert not fh.idle()
    stream.close()
    fh.until(fh.idle)
