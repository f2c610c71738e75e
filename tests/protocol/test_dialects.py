"""Whatever another dialect's request holds, it becomes a plan or the client's error: nothing else is raised."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from freehold.errors import InvalidRequest
from freehold.protocol.anthropic.plan import count_plan, messages_plan
from freehold.protocol.ollama.plan import chat_lines_plan, embed_plan, generate_plan
from freehold.protocol.plan import Plan
from freehold.protocol.requests import parse
from freehold.protocol.requests.anthropic import CountRequest, MessagesRequest
from freehold.protocol.requests.ollama import ChatBody, EmbedBody, EmbeddingsBody, GenerateBody
from freehold.protocol.values import Target

ALL = frozenset({"chat", "completion", "embeddings", "tools", "vision", "thinking", "reasoning_effort"})
TARGET = Target("m", "chat", 4096, 2, 1000, 512, ALL)
KINDS: tuple[tuple[Any, Callable[[Any, Target], Plan]], ...] = (
    (MessagesRequest, messages_plan),
    (CountRequest, count_plan),
    (ChatBody, chat_lines_plan),
    (GenerateBody, generate_plan),
    (EmbedBody, embed_plan),
    (EmbeddingsBody, embed_plan),
)
WORDS = ("text", "image", "tool_use", "tool_result", "user", "assistant", "system", "tool", "thinking", "auto", "any", "json")
LEAVES = st.none() | st.booleans() | st.integers(-3, 5000) | st.floats() | st.sampled_from(WORDS) | st.text(max_size=6)
NAMES = st.sampled_from(
    [
        "type",
        "role",
        "content",
        "text",
        "name",
        "id",
        "input",
        "tool_use_id",
        "source",
        "data",
        "media_type",
        "function",
        "arguments",
        "parameters",
        "tool_calls",
        "images",
        "input_schema",
        "budget_tokens",
        "temperature",
        "stop",
        "format",
    ]
)
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4), max_leaves=12
)
USE = {"type": "tool_use", "id": "t", "name": "f", "input": {}}
CALL = {"function": {"name": "f", "arguments": {}}}


def planned(kind: Any, planner: Callable[[Any, Target], Plan], body: dict[str, Any]) -> Plan:
    return planner(parse(kind, json.dumps(body).encode()).value, TARGET)


@pytest.mark.parametrize(("kind", "planner"), KINDS, ids=lambda item: getattr(item, "__name__", ""))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_a_request_becomes_a_plan_or_the_clients_error(kind, planner, data):
    fields = data.draw(st.dictionaries(st.sampled_from(sorted(kind.model_fields)), VALUES, max_size=4))
    turn = {"role": "user", "content": data.draw(st.just("hello") | VALUES)}
    body = {"model": "m", "messages": [turn], "max_tokens": 5, "prompt": "x", "input": ["x"]}
    known = {name: value for name, value in (body | fields).items() if name in kind.model_fields}
    try:
        assert planned(kind, planner, known).bodies
    except InvalidRequest as error:
        assert error.message


@pytest.mark.parametrize(
    ("kind", "planner", "body"),
    [
        (MessagesRequest, messages_plan, {"messages": [{"role": "assistant", "content": [USE] * 129}]}),
        (ChatBody, chat_lines_plan, {"messages": [{"role": "assistant", "tool_calls": [CALL] * 129}]}),
        (
            ChatBody,
            chat_lines_plan,
            {"messages": [{"role": "user", "content": "x"}], "tools": [{"function": {"name": "f"}}] * 2},
        ),
        (ChatBody, chat_lines_plan, {"messages": [{"role": "assistant"}, {"role": "user", "images": [""]}]}),
        (EmbedBody, embed_plan, {"input": ["x"] * 2049}),
        (EmbedBody, embed_plan, {"input": ["x", ""]}),
    ],
)
def test_what_a_chat_does_not_take_is_refused(kind, planner, body):
    turns = [*body.pop("messages", []), {"role": "user", "content": "x"}]
    more = {"max_tokens": 5} if kind is MessagesRequest else {}
    messages = {"messages": turns} if kind in (MessagesRequest, ChatBody) else {}
    try:
        made = planned(kind, planner, {"model": "m", **messages, **more, **body})
    except InvalidRequest as error:
        assert error.message
    else:
        assert made.images
