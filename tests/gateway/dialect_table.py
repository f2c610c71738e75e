"""What each API of chats asks and says, reduced to what they have in common, so that one contract can be held against all."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.conftest import Server

Turns = Sequence[tuple[str, str]]  # role, text
Function = dict[str, Any]  # {"name", "parameters"}


@dataclass
class Said:
    """An answer. `ends` are the names of the events that ended its stream, and `errors` what they say went wrong."""

    text: str = ""
    thoughts: str = ""
    calls: list[tuple[str, Any]] = field(default_factory=list)
    reason: str = ""
    usage: tuple[int, int] = (0, 0)
    ends: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def content(self) -> tuple[Any, ...]:
        return self.text, self.thoughts, self.calls, self.reason


@dataclass(frozen=True)
class Dialect:
    """`choices` are the ways to say how tools are used; those that an API has not are left out."""

    name: str
    path: str
    body: Callable[[Turns, int], dict[str, Any]]
    whole: Callable[[dict[str, Any]], Said]
    stream: Callable[[str], Said]
    tools: Callable[[Sequence[Function]], dict[str, Any]] = lambda functions: {}
    choices: dict[str, Callable[[str], dict[str, Any]]] = field(default_factory=dict)

    def ask(self, server: Server, body: dict[str, Any], streamed: bool) -> Said:
        status, _, answer = server.post(self.path, body | {"stream": streamed})
        assert status == 200, answer
        return self.stream(answer) if streamed else self.whole(answer)


def events_of(text: str) -> list[dict[str, Any]]:
    """Those of a stream of server-sent events; OpenAI's last line as {"done": True}."""
    lines = [line.removeprefix("data: ") for line in text.split("\n") if line.startswith("data: ")]
    return [{"done": True} if line == "[DONE]" else json.loads(line) for line in lines]


def _usage(usage: dict[str, Any], prompt: str, completion: str) -> tuple[int, int]:
    return usage[prompt], usage[completion]


# --- OpenAI's chat


def _chat_body(turns: Turns, limit: int) -> dict[str, Any]:
    messages = [{"role": role, "content": text} for role, text in turns]
    return {"model": "gpt-4o", "messages": messages, "max_tokens": limit, "temperature": 0, "seed": 1}


def _chat_whole(body: dict[str, Any]) -> Said:
    choice, message = body["choices"][0], body["choices"][0]["message"]
    calls = [(call["function"]["name"], json.loads(call["function"]["arguments"])) for call in message.get("tool_calls") or ()]
    usage = _usage(body["usage"], "prompt_tokens", "completion_tokens")
    return Said(message["content"] or "", message.get("reasoning_content") or "", calls, choice["finish_reason"], usage)


def _chat_stream(text: str) -> Said:
    said, calls = Said(), {}
    for event in events_of(text):
        if "done" in event:
            said.ends.append("[DONE]")
        elif "error" in event:
            said.errors.append(event["error"]["message"])
        else:
            if event.get("usage"):
                said.usage = _usage(event["usage"], "prompt_tokens", "completion_tokens")
            for choice in event["choices"]:
                delta = choice["delta"]
                said.text += delta.get("content") or ""
                said.thoughts += delta.get("reasoning_content") or ""
                said.reason = choice["finish_reason"] or said.reason
                for part in delta.get("tool_calls") or ():
                    call = calls.setdefault(part["index"], ["", ""])
                    call[0] += part["function"].get("name") or ""
                    call[1] += part["function"].get("arguments") or ""
    said.calls = [(name, json.loads(arguments)) for name, arguments in calls.values()]
    return said


def _functions(functions: Sequence[Function]) -> dict[str, Any]:
    return {"tools": [{"type": "function", "function": function} for function in functions]}


CHAT = Dialect(
    "chat",
    "/v1/chat/completions",
    _chat_body,
    _chat_whole,
    _chat_stream,
    _functions,
    {
        "none": lambda name: {"tool_choice": "none"},
        "auto": lambda name: {"tool_choice": "auto"},
        "alone": lambda name: {"tool_choice": "auto", "parallel_tool_calls": False},
        "required": lambda name: {"tool_choice": "required", "parallel_tool_calls": False},
        "named": lambda name: {"tool_choice": {"type": "function", "function": {"name": name}}},
        "allowed": lambda name: {
            "tool_choice": {
                "type": "allowed_tools",
                "allowed_tools": {"mode": "required", "tools": [{"type": "function", "function": {"name": name}}]},
            }
        },
    },
)


# --- OpenAI's Responses


def _responses_body(turns: Turns, limit: int) -> dict[str, Any]:
    items = [{"role": role, "content": text} for role, text in turns]
    return {"model": "gpt-4o", "input": items, "max_output_tokens": limit, "temperature": 0, "store": False}


def _responses_whole(body: dict[str, Any]) -> Said:
    said = Said(usage=_usage(body["usage"], "input_tokens", "output_tokens"))
    said.reason = (body["incomplete_details"] or {}).get("reason") or body["status"]
    for item in body["output"]:
        if item["type"] == "message":
            said.text += "".join(part["text"] for part in item["content"])
        elif item["type"] == "reasoning":
            said.thoughts += "".join(part["text"] for part in item["content"])
        elif item["type"] == "function_call":
            said.calls.append((item["name"], json.loads(item["arguments"])))
    return said


def _responses_stream(text: str) -> Said:
    said = Said()
    for event in events_of(text):
        kind = event["type"]
        if kind == "response.output_text.delta":
            said.text += event["delta"]
        elif kind == "response.reasoning_text.delta":
            said.thoughts += event["delta"]
        elif kind == "response.output_item.done" and event["item"]["type"] == "function_call":
            said.calls.append((event["item"]["name"], json.loads(event["item"]["arguments"])))
        elif kind in ("response.completed", "response.incomplete", "response.failed"):
            said.ends.append(kind)
            response = event["response"]
            if response["error"]:
                said.errors.append(response["error"]["message"])
            else:
                told = _responses_whole(response)
                assert (told.text, told.thoughts, told.calls) == (said.text, said.thoughts, said.calls)
                said.reason, said.usage = told.reason, told.usage
    return said


RESPONSES = Dialect(
    "responses",
    "/v1/responses",
    _responses_body,
    _responses_whole,
    _responses_stream,
    lambda functions: {"tools": [{"type": "function", "strict": False, **function} for function in functions]},
    {
        "none": lambda name: {"tool_choice": "none"},
        "auto": lambda name: {"tool_choice": "auto"},
        "alone": lambda name: {"tool_choice": "auto", "parallel_tool_calls": False},
        "required": lambda name: {"tool_choice": "required", "parallel_tool_calls": False},
        "named": lambda name: {"tool_choice": {"type": "function", "name": name}},
        "allowed": lambda name: {
            "tool_choice": {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": name}]}
        },
    },
)


# --- Anthropic's Messages


def _messages_body(turns: Turns, limit: int) -> dict[str, Any]:
    messages = [{"role": role, "content": text} for role, text in turns]
    return {"model": "claude-sonnet-4-5", "messages": messages, "max_tokens": limit, "temperature": 0}


def _prompt(usage: dict[str, Any]) -> int:
    return int(usage["input_tokens"] + usage["cache_read_input_tokens"])


def _messages_whole(body: dict[str, Any]) -> Said:
    said = Said(reason=body["stop_reason"], usage=(_prompt(body["usage"]), body["usage"]["output_tokens"]))
    for block in body["content"]:
        said.text += block.get("text", "")
        said.thoughts += block.get("thinking", "")
        if block["type"] == "tool_use":
            said.calls.append((block["name"], block["input"]))
    return said


def _messages_stream(text: str) -> Said:
    said, inputs = Said(), {}
    for event in events_of(text):
        match event["type"]:
            case "content_block_start" if event["content_block"]["type"] == "tool_use":
                inputs[event["index"]] = [event["content_block"]["name"], ""]
            case "content_block_delta":
                delta = event["delta"]
                said.text += delta.get("text", "")
                said.thoughts += delta.get("thinking", "")
                if "partial_json" in delta:
                    inputs[event["index"]][1] += delta["partial_json"]
            case "message_delta":
                said.reason = event["delta"]["stop_reason"]
                said.usage = _prompt(event["usage"]), event["usage"]["output_tokens"]
            case "message_stop":
                said.ends.append("message_stop")
            case "error":
                said.ends.append("error")
                said.errors.append(event["error"]["message"])
    said.calls = [(name, json.loads(arguments or "{}")) for name, arguments in inputs.values()]
    return said


MESSAGES = Dialect(
    "messages",
    "/v1/messages",
    _messages_body,
    _messages_whole,
    _messages_stream,
    lambda functions: {"tools": [{"name": each["name"], "input_schema": each["parameters"]} for each in functions]},
    {
        "none": lambda name: {"tool_choice": {"type": "none"}},
        "auto": lambda name: {"tool_choice": {"type": "auto"}},
        "alone": lambda name: {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
        "required": lambda name: {"tool_choice": {"type": "any", "disable_parallel_tool_use": True}},
        "named": lambda name: {"tool_choice": {"type": "tool", "name": name}},
    },
)


# --- Ollama


def _ollama_body(turns: Turns, limit: int) -> dict[str, Any]:
    messages = [{"role": role, "content": text} for role, text in turns]
    return {"model": "gpt-4o", "messages": messages, "options": {"num_predict": limit, "temperature": 0, "seed": 1}}


def _ollama_lines(lines: Sequence[dict[str, Any]]) -> Said:
    said = Said()
    for line in lines:
        if "error" in line:
            said.ends.append("error")
            said.errors.append(line["error"])
            continue
        message = line.get("message") or {"content": line.get("response", ""), "thinking": line.get("thinking")}
        said.text += message["content"]
        said.thoughts += message.get("thinking") or ""
        said.calls += [(call["function"]["name"], call["function"]["arguments"]) for call in message.get("tool_calls") or ()]
        if line["done"]:
            said.ends.append("done")
            said.reason, said.usage = line["done_reason"], _usage(line, "prompt_eval_count", "eval_count")
    return said


def _ollama_stream(text: str) -> Said:
    return _ollama_lines([json.loads(line) for line in text.splitlines()])


OLLAMA = Dialect(
    "ollama",
    "/api/chat",
    _ollama_body,
    lambda body: _ollama_lines([body]),
    _ollama_stream,
    _functions,
    {"unsaid": lambda name: {}},
)
GENERATE = Dialect(
    "generate",
    "/api/generate",
    lambda turns, limit: {
        "model": "gpt-4o",
        "prompt": turns[-1][1],
        "options": {"num_predict": limit, "temperature": 0, "seed": 1},
    },
    lambda body: _ollama_lines([body]),
    _ollama_stream,
)

DIALECTS = (CHAT, RESPONSES, MESSAGES, OLLAMA, GENERATE)
