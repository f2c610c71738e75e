"""LangChain, by its packages for OpenAI, Anthropic, Ollama and Mistral."""

from __future__ import annotations

import anthropic
import freehold_server as fh
import openai
import pytest
from langchain_anthropic import ChatAnthropic
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.tools import tool
from langchain_mistralai import ChatMistralAI
from langchain_ollama import ChatOllama, OllamaEmbeddings
from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings
from pydantic import BaseModel

KEY = {"api_key": "none", "max_retries": 0}
BRIEF = {**KEY, "base_url": fh.BASE_URL, "model": fh.CHAT, "temperature": 0}
CHATS = {
    "openai": ChatOpenAI(**BRIEF, max_tokens=6, stream_usage=True),
    "responses": ChatOpenAI(**BRIEF, max_tokens=16, use_responses_api=True),
    "anthropic": ChatAnthropic(**KEY, base_url=fh.ROOT, model="claude-haiku-5-5", temperature=0, max_tokens=6),
    "ollama": ChatOllama(base_url=fh.ROOT, model=fh.REAL_CHAT, temperature=0, num_predict=6),
    "mistral": ChatMistralAI(**KEY, base_url=fh.BASE_URL, model=fh.CHAT, temperature=0, max_tokens=6),
}
FORCING = {
    "openai": ChatOpenAI(**BRIEF, max_tokens=60),
    "responses": ChatOpenAI(**BRIEF, max_tokens=60, use_responses_api=True),
    "anthropic": ChatAnthropic(**KEY, base_url=fh.ROOT, model="claude-haiku-5-5", max_tokens=60),
    "mistral": ChatMistralAI(**KEY, base_url=fh.BASE_URL, model=fh.CHAT, temperature=0, max_tokens=60),
}


class Verdict(BaseModel):
    """Whether it is so."""

    sure: bool


@tool
def switch_light(on: bool) -> str:
    """Switches the light."""
    return "done"


def to_fake(model: str = "fake", **options) -> ChatOpenAI:
    return ChatOpenAI(**{**KEY, "base_url": fh.BASE_URL, "model": model, **options})


@pytest.mark.parametrize("api", CHATS)
def test_chat(api):
    turns = [SystemMessage("Be brief."), HumanMessage("Hello"), AIMessage("Hello."), HumanMessage(fh.COLOURS)]
    answer = CHATS[api].invoke(turns)
    assert answer.text.strip()
    usage = answer.usage_metadata
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


@pytest.mark.parametrize("api", CHATS)
def test_stream(api):
    chain = ChatPromptTemplate.from_messages([("human", "{question}")]) | CHATS[api]
    parts = list(chain.stream({"question": fh.COLOURS}))
    assert "".join(part.text for part in parts) == CHATS[api].invoke(fh.COLOURS).text
    assert len(parts) > 2


@pytest.mark.parametrize("api", ["openai", "responses", "anthropic", "ollama"])  # Mistral's streams have it unasked
def test_usage(api):
    total = None
    for part in CHATS[api].stream(fh.COLOURS):
        total = part if total is None else total + part
    assert total.usage_metadata["input_tokens"] > 5
    assert total.usage_metadata["output_tokens"] > 0


@pytest.mark.parametrize("api", FORCING)
def test_tools(api):
    bound = FORCING[api].bind_tools([switch_light], tool_choice="any")
    answer = bound.invoke(fh.COLOURS)
    [call] = answer.tool_calls
    assert isinstance(call["args"]["on"], bool)
    turns = [HumanMessage(fh.COLOURS), answer, ToolMessage(switch_light.invoke(call["args"]), tool_call_id=call["id"])]
    assert CHATS[api].bind_tools([switch_light]).invoke(turns)


@pytest.mark.parametrize("api", ["openai", "responses", "anthropic"])
def test_toolstream(api):
    total = None
    for part in FORCING[api].bind_tools([switch_light], tool_choice="any").stream(fh.COLOURS):
        total = part if total is None else total + part
    assert isinstance(total.tool_calls[0]["args"]["on"], bool)


@pytest.mark.parametrize("api", FORCING)
def test_schema(api):
    assert isinstance(FORCING[api].with_structured_output(Verdict, method="json_schema").invoke(fh.COLOURS), Verdict)


def test_schema_by_a_call():
    chat = FORCING["openai"].with_structured_output(Verdict, method="function_calling")
    assert isinstance(chat.invoke(fh.COLOURS), Verdict)


def test_schema_by_ollama():
    chat = ChatOllama(base_url=fh.ROOT, model=fh.REAL_CHAT, temperature=0, num_predict=60)
    assert isinstance(chat.with_structured_output(Verdict, method="json_schema").invoke(fh.COLOURS), Verdict)


def test_vision():
    picture = {"type": "image", "base64": fh.PNG, "mime_type": "image/png"}
    with pytest.raises(openai.BadRequestError):
        CHATS["openai"].invoke([HumanMessage([{"type": "text", "text": "What?"}, picture])])
    with pytest.raises(anthropic.BadRequestError):
        CHATS["anthropic"].invoke([HumanMessage([{"type": "text", "text": "What?"}, picture])])


def test_embeddings():
    for embeddings in (
        # It would cut texts by the tokens of OpenAI's own model, and send those.
        OpenAIEmbeddings(base_url=fh.BASE_URL, model=fh.EMBEDDING, check_embedding_ctx_length=False, **KEY),
        OllamaEmbeddings(base_url=fh.ROOT, model=fh.REAL_EMBEDDING),
    ):
        assert [len(vector) for vector in embeddings.embed_documents(["a cat", "a dog"])] == [384, 384], embeddings


def test_responses():
    answer = CHATS["responses"].invoke(fh.COLOURS)
    assert answer.response_metadata["id"].startswith("resp_")


def test_state():
    chat = ChatOpenAI(**BRIEF, max_tokens=16, use_responses_api=True, use_previous_response_id=True)
    first = chat.invoke("I am Ada.")
    assert chat.invoke([HumanMessage("I am Ada."), first, HumanMessage("Who?")]).text.strip()


def test_fim():
    code = OpenAI(base_url=fh.BASE_URL, model="coder", max_tokens=8, model_kwargs={"suffix": "\nprint(add(1, 2))"}, **KEY)
    result = code.generate(["def add(a, b):\n    "])
    assert result.llm_output["token_usage"]["completion_tokens"] > 0


def test_errors():
    with pytest.raises(openai.NotFoundError):
        to_fake("nobody").invoke("Hello")
    with pytest.raises(openai.BadRequestError) as caught:
        to_fake(temperature=9).invoke("Hello")
    assert caught.value.param == "temperature"
    with pytest.raises(openai.BadRequestError):
        CHATS["openai"].invoke("hello " * 9000)
    with pytest.raises(openai.APIError):
        list(to_fake().stream(fh.BREAKS))


def test_retry():
    with fh.busy():
        assert to_fake("single", max_retries=3).invoke("one two").text == "one two"


def test_timeout():
    with pytest.raises(openai.APITimeoutError):
        to_fake(timeout=0.3).invoke(fh.HANGS)
    fh.until(fh.idle)


def test_leaving():
    stream = to_fake().stream(fh.SLOW)
    next(stream)
    assert not fh.idle()
    stream.close()
    fh.until(fh.idle)
