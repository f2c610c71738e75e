"""One contract for all APIs of chats: a stream says what the whole answer says, ends once, and tools are used as was asked."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import Server, fake_model, serving
from tests.gateway.dialect_table import CHAT, DIALECTS, OLLAMA, Dialect, Said

CITIES = ["Paris", "Rome"]
WEATHER = {
    "name": "get_weather",
    "description": "Tells the weather",
    "parameters": {
        "type": "object",
        "properties": {"city": {"$ref": "#/$defs/city"}},
        "required": ["city"],
        "$defs": {"city": {"enum": CITIES}},
    },
}
LIGHT = {
    "name": "switch_light",
    "description": "Switches a light",
    "parameters": {"type": "object", "properties": {"on": {"type": "boolean"}}, "required": ["on"]},
}
TURNS = [("user", "Name three colours.")]


def shown(city: str) -> list[tuple[str, str]]:
    call = f'<tool_call>\n{{"name": "get_weather", "arguments": {{"city": "{city}"}}}}\n</tool_call>'
    return [("user", f"Call get_weather for {city}."), ("assistant", call)]


# Shown twice how it is done, a model of 135M parameters does it, too.
CALLS = [*shown("Rome"), *shown("Rome"), shown("Paris")[0]]
ALL = pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
WITH_TOOLS = pytest.mark.parametrize(
    ("dialect", "choice"),
    [pytest.param(dialect, choice, id=f"{dialect.name}-{choice}") for dialect in DIALECTS for choice in dialect.choices],
)
ENDS = {"chat": "[DONE]", "messages": "message_stop", "ollama": "done", "generate": "done"}


def both(dialect: Dialect, server: Server, body: dict[str, Any], counted: bool = True) -> Said:
    """The answer, whole and streamed: the same, and the stream ended once. The blanks of a call may differ from one time to
    the next, and with them the number of its tokens, which is then not `counted`."""
    whole = dialect.ask(server, body, streamed=False)
    usage = {"stream_options": {"include_usage": True}} if dialect is CHAT else {}
    streamed = dialect.stream(server.post(dialect.path, body | usage | {"stream": True})[2])
    assert (*streamed.content, streamed.usage[:1]) == (*whole.content, whole.usage[:1])
    assert streamed.usage == whole.usage or not counted
    assert len(streamed.ends) == 1
    assert not streamed.errors
    assert streamed.ends[0] == ENDS.get(dialect.name, streamed.ends[0])
    return whole


@ALL
def test_a_stream_says_what_the_whole_answer_says_and_ends_once(server: Server, dialect: Dialect) -> None:
    said = both(dialect, server, dialect.body(TURNS, 24))
    assert said.text.strip()
    assert said.usage[0] > 5
    assert 0 < said.usage[1] <= 24


@ALL
def test_an_answer_that_its_limit_cuts_says_so(server: Server, dialect: Dialect) -> None:
    said = both(dialect, server, dialect.body(TURNS, 16))
    reasons = {"responses": "max_output_tokens", "messages": "max_tokens"}
    assert (said.reason, said.usage[1]) == (reasons.get(dialect.name, "length"), 16)


@WITH_TOOLS
def test_tools_are_used_as_was_asked(server: Server, dialect: Dialect, choice: str) -> None:
    free = choice in ("auto", "unsaid", "alone")
    body = dialect.body(CALLS if free else TURNS, 12 if choice == "none" else 60)
    said = both(
        dialect, server, body | dialect.tools([WEATHER, LIGHT]) | dialect.choices[choice]("switch_light"), choice == "none"
    )
    names = [name for name, _ in said.calls]
    if choice == "none":
        assert names == []
        assert said.text
        return
    assert len(names) == 1
    if choice in ("named", "allowed"):
        assert names == ["switch_light"]
        assert isinstance(said.calls[0][1]["on"], bool)
    elif names == ["get_weather"]:
        assert said.calls[0][1]["city"] in CITIES
    assert not free or names == ["get_weather"]


def test_a_choice_that_an_api_has_not_is_refused(server: Server) -> None:
    body = OLLAMA.body(CALLS, 60) | OLLAMA.tools([WEATHER]) | {"tool_choice": "required"}
    status, _, answer = server.post(OLLAMA.path, body)
    assert (status, "tool_choice" in answer["error"]) == (400, True)


@pytest.fixture(scope="module")
def failing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a model for each API: one that has died often is not started again."""
    data = tmp_path_factory.mktemp("failing")
    for dialect in DIALECTS:
        fake_model(data, f"fake-{dialect.name}")
    env = {"FREEHOLD_DEFAULT_CHAT": "fake-chat", "FREEHOLD_DEFAULT_EMBEDDING": "fake-chat", "FREEHOLD_PRELOAD": "false"}
    with serving(data, env=env, ready=False) as running:
        yield running


@ALL
def test_an_engine_that_fails_in_the_middle_ends_a_stream_with_one_error(failing: Server, dialect: Dialect) -> None:
    for fault in ("error_at_token", "close_at_token", "garbage_at_token", "die_at_token"):
        text = f'[[fake:{{"tokens": 9, "{fault}": 3}}]] one two three four five'
        body = dialect.body([("user", text)], 50) | {"model": f"fake-{dialect.name}", "stream": True}
        status, _, answer = failing.post(dialect.path, body)
        assert status == 200, fault
        said = dialect.stream(answer)
        assert said.text
        assert len(said.errors) == 1
        expected = {"chat": "[DONE]", "responses": "response.failed"}
        assert said.ends == [expected.get(dialect.name, "error")]
