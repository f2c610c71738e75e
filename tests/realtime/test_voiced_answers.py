"""Answers of the chat endpoint that are spoken, when a model fails, a client leaves, or a function is called."""

from __future__ import annotations

import base64
import json
import urllib.request
from typing import Any

import openai
import pytest

from tests.conftest import Server, until

AUDIO = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}}
WORDS = "The sun is a star in the sky. The moon goes round the earth. The sea is deep and wide."


def ask(text: str, **fields: Any) -> dict[str, Any]:
    return {"model": "fake", "messages": [{"role": "user", "content": text}], "stream": True, **AUDIO, **fields}


def events(server: Server, body: dict[str, Any]) -> list[Any]:
    """What the stream's events say, up to the end of it."""
    data = json.dumps(body).encode()
    request = urllib.request.Request(f"{server.base_url}/chat/completions", data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        whole = answer.read().decode()
    assert whole.endswith("data: [DONE]\n\n")
    return [json.loads(line.removeprefix("data: ")) for line in whole.split("\n\n")[:-2]]


def audio(told: list[Any], name: str) -> list[str]:
    deltas = [choice["delta"] for event in told for choice in event.get("choices", ())]
    return [delta["audio"][name] for delta in deltas if name in delta.get("audio", {})]


@pytest.mark.parametrize("fault", ["error_at_token", "die_at_token", "close_at_token", "garbage_at_token"])
def test_what_fails_in_the_middle_is_told_and_what_was_said_stays(voiced: Server, fault: str) -> None:
    told = events(voiced, ask(f"{WORDS} [[fake:{json.dumps({fault: 12})}]]"))
    assert [event for event in told if "error" in event] == told[-1:]
    assert told[-1]["error"]["type"] == "server_error"
    assert "".join(audio(told, "transcript")).startswith("The sun is a star in the sky.")
    assert len(base64.b64decode("".join(audio(told, "data")[:1]))) > 1000
    until(lambda: voiced.metric("freehold_leases") == 0)


def test_what_fails_before_the_first_word_is_a_status(voiced: Server) -> None:
    for stream in (True, False):
        status, _, body = voiced.request(
            "POST", "/v1/chat/completions", ask(f'{WORDS} [[fake:{{"status": 500}}]]', stream=stream)
        )
        assert status in (500, 502)
        assert body["error"]["type"] == "server_error"


def test_a_client_that_leaves_ends_the_speaking(voiced: Server) -> None:
    with openai.OpenAI(base_url=voiced.base_url, api_key="none", max_retries=0) as client:
        stream = client.chat.completions.create(**ask("talk", model="talkative"))
        for event in stream:
            if event.choices and getattr(event.choices[0].delta, "audio", None):
                break
        until(lambda: voiced.metric("freehold_leases") > 0)
        stream.close()
    until(lambda: voiced.metric("freehold_leases") == 0)


def test_a_function_is_called_and_not_spoken(voiced: Server) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}
    body = ask(json.dumps({"name": "look", "arguments": {}}), tools=[tool], tool_choice="required")
    told = events(voiced, body)
    calls = [call for event in told for choice in event["choices"] for call in choice["delta"].get("tool_calls", ())]
    assert calls[0]["function"]["name"] == "look"
    assert told[-1]["choices"][0]["finish_reason"] == "tool_calls"
    assert not audio(told, "transcript")
    status, _, answer = voiced.request("POST", "/v1/chat/completions", {**body, "stream": False})
    assert status == 200
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "look"
    assert answer["choices"][0]["message"].get("audio") is None
