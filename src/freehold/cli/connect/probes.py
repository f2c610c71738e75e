"""Requests as clients send them: the fields are those that the client's own code fills in."""

from __future__ import annotations

from typing import Any

from freehold.cli.connect.recipe import Probe

_HELLO = [{"role": "system", "content": "You are a helpful assistant."}, {"role": "user", "content": "Say hello."}]
_PREFIX, _SUFFIX = "def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n"


def chat(model: str, **more: Any) -> Probe:
    return Probe("/v1/chat/completions", {"model": model, "messages": _HELLO, "stream": True, "max_tokens": 8, **more})


def mistral_fim(model: str) -> Probe:
    """Continue's, by its provider `mistral`."""
    fields = {"temperature": 0.01, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0, "stop": ["\n\n"]}
    body = {"model": model, "prompt": _PREFIX, "suffix": _SUFFIX, "max_tokens": 16, "stream": True, **fields}
    return Probe("/v1/fim/completions", body)


def suffix(model: str) -> Probe:
    """Minuet's, by its backend `openai_fim_compatible`."""
    body = {"model": model, "prompt": _PREFIX, "suffix": _SUFFIX, "max_tokens": 56, "top_p": 0.9, "stream": True}
    return Probe("/v1/completions", body)


def raw_fim(model: str) -> Probe:
    """Zed's: the marks of the model's family are in the prompt."""
    stops = [
        "<|endoftext|>",
        "<|fim_prefix|>",
        "<|fim_suffix|>",
        "<|fim_middle|>",
        "<|fim_pad|>",
        "<|repo_name|>",
        "<|file_sep|>",
    ]
    prompt = f"<|fim_prefix|>{_PREFIX}<|fim_suffix|>{_SUFFIX}<|fim_middle|>"
    return Probe("/v1/completions", {"model": model, "prompt": prompt, "max_tokens": 64, "temperature": 0.2, "stop": stops})


def infill(model: str, predict: int = 32) -> Probe:
    """That of llama.vim and llama.vscode; with `predict` 0 the one by which they have the prompt read in advance."""
    lines = _PREFIX.split("\n")
    body: dict[str, Any] = {
        "model": model,
        "id_slot": 0,
        "input_prefix": lines[0] + "\n",
        "input_suffix": _SUFFIX,
        "input_extra": [{"text": "def sub(a, b):\n    return a - b\n", "time": 1, "filename": "sub.py"}],
        "prompt": lines[1],
        "n_predict": predict,
        "n_indent": 4,
        "top_k": 40,
        "top_p": 0.99,
        "stream": False,
        "samplers": ["top_k", "top_p", "infill"] if predict else [],
        "cache_prompt": True,
        "t_max_prompt_ms": 500,
        "t_max_predict_ms": 1500,
        "response_fields": ["content", "truncated", "tokens_cached"] if predict else [""],
    }
    return Probe("/infill", body)


def embedding(model: str) -> Probe:
    return Probe("/v1/embeddings", {"model": model, "input": ["def add(a, b):"]})


def messages(model: str) -> Probe:
    """Claude Code's."""
    tool = {"name": "Read", "description": "Reads a file.", "input_schema": {"type": "object", "properties": {}}}
    body = {"model": model, "max_tokens": 8, "stream": True, "system": [{"type": "text", "text": "You are an agent."}]}
    return Probe("/v1/messages", {**body, "tools": [tool], "messages": [{"role": "user", "content": "Say hello."}]})


def tool_chat(model: str) -> Probe:
    """An agent's: a chat that offers a tool."""
    parameters = {"type": "object", "properties": {"path": {"type": "string"}}, "required": ["path"]}
    function = {"name": "read_file", "description": "Reads a file.", "parameters": parameters}
    return chat(
        model, tools=[{"type": "function", "function": function}], tool_choice="auto", stream_options={"include_usage": True}
    )


def responses(model: str) -> Probe:
    """Codex's."""
    return Probe(
        "/v1/responses",
        {"model": model, "instructions": "You are an agent.", "input": "Say hello.", "stream": True, "store": False},
    )
