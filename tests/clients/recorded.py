"""Requests as clients of the field send them, field by field, and what each reads of the answer."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

HELLO = [{"role": "system", "content": "You are a coding assistant."}, {"role": "user", "content": "Say hello."}]
PREFIX, SUFFIX = "def add(a, b):\n    return ", "\n\nprint(add(1, 2))\n"
FUNCTION = {
    "name": "read_file",
    "description": "Reads a file.",
    "parameters": {
        "type": "object",
        "properties": {"path": {"type": "string", "description": "Where it is"}},
        "required": ["path"],
        "additionalProperties": False,
    },
}
TOOLS = [{"type": "function", "function": FUNCTION}]
QWEN = ["<|endoftext|>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>"]
RAW = f"<|fim_prefix|>{PREFIX}<|fim_suffix|>{SUFFIX}<|fim_middle|>"
CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
SAMPLED = {"temperature": 0.01, "top_p": 1, "frequency_penalty": 0, "presence_penalty": 0}
USAGE = {"stream_options": {"include_usage": True}}
INFILL = {
    "id_slot": 0,
    "input_prefix": "def add(a, b):\n",
    "input_suffix": SUFFIX,
    "input_extra": [{"text": "def sub(a, b):\n", "time": [1, 2], "filename": "sub.py"}],
    "prompt": "    return ",
    "n_predict": 32,
    "stop": [],
    "n_indent": 4,
    "top_k": 40,
    "top_p": 0.99,
    "stream": False,
    "samplers": ["top_k", "top_p", "infill"],
    "cache_prompt": True,
    "t_max_prompt_ms": 500,
    "t_max_predict_ms": 1500,
    "response_fields": ["content", "timings/prompt_n", "timings/predicted_n", "truncated", "tokens_cached"],
}
WARM = {"n_predict": 0, "samplers": [], "t_max_predict_ms": 1, "response_fields": [""]}
ANTHROPIC = {"anthropic-version": "2023-06-01", "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14"}
CLAUDE = {
    "model": "fake",
    "system": [{"type": "text", "text": "You are Claude Code.", "cache_control": {"type": "ephemeral"}}],
    "messages": [{"role": "user", "content": [{"type": "text", "text": "Say hello.", "cache_control": {"type": "ephemeral"}}]}],
    "tools": [{"name": "Read", "description": "Reads.", "input_schema": FUNCTION["parameters"]}],
}


@dataclass(frozen=True)
class Sent:
    """A request; `reads` are paths into the answer, or into some event of a stream, where the client finds what it needs."""

    client: str
    what: str
    path: str
    body: Mapping[str, Any] | None = None
    reads: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict)
    method: str = "POST"


def text(*more: str) -> tuple[str, ...]:
    return ("choices/0/text", *more)


SENT = (
    Sent(
        "Continue",
        "chat with tools",
        CHAT,
        {"model": "fake", "messages": HELLO, "max_tokens": 16, "stream": True, "tools": TOOLS, "parallel_tool_calls": False},
        ("choices/0/delta/content",),
        {"api-key": "none"},
    ),
    Sent(
        "Continue",
        "autocomplete, provider mistral",
        "/v1/fim/completions",
        {
            "model": "coder",
            "prompt": PREFIX,
            "suffix": SUFFIX,
            "max_tokens": 16,
            "stop": ["\n\n", "/src/"],
            "stream": True,
            **SAMPLED,
        },
        ("choices/0/delta/content",),
        {"x-api-key": "none"},
    ),
    Sent(
        "Continue",
        "autocomplete, provider openai",
        COMPLETIONS,
        {"model": "coder", "prompt": RAW, "max_tokens": 16, "stop": [*QWEN, "\n\n"], "stream": True, "temperature": 0.01},
        text(),
    ),
    Sent("Continue", "models, provider vllm", "/v1/models", None, ("data/0/max_model_len", "data/0/id"), method="GET"),
    Sent("Continue", "embeddings", "/v1/embeddings", {"model": "fake-embedding", "input": ["a", "b"]}, ("data/1/embedding",)),
    Sent("Continue", "show, provider ollama", "/api/show", {"name": "coder"}, ("template",)),
    Sent(
        "Continue",
        "autocomplete, provider ollama",
        "/api/generate",
        {
            "model": "coder",
            "prompt": PREFIX,
            "suffix": SUFFIX,
            "raw": False,
            "keep_alive": 1800,
            "options": {"num_ctx": 4096, "num_predict": 16, "temperature": 0.01, "stop": ["\n\n"]},
            "stream": False,
        },
        ("response",),
    ),
    Sent(
        "Continue",
        "chat, provider ollama",
        "/api/chat",
        {
            "model": "fake",
            "messages": HELLO,
            "keep_alive": 1800,
            "options": {"num_ctx": 4096, "num_predict": 16},
            "stream": False,
        },
        ("message/content",),
    ),
    Sent("llama.vim", "completion", "/infill", INFILL, ("content", "truncated")),
    Sent("llama.vim", "reading in advance", "/infill", INFILL | WARM),
    Sent("llama.vscode", "completion", "/infill", INFILL | {"model": "coder", "n_cmpl": 1, "input_extra": []}, ("content",)),
    Sent("llama.vscode", "models", "/v1/models", None, ("data/0/meta/n_ctx", "data/0/context_length"), method="GET"),
    Sent("llama.vscode", "health", "/health", None, ("status",), method="GET"),
    Sent(
        "llama.vscode",
        "context of a model",
        "/props?model=coder&autoload=false",
        None,
        ("default_generation_settings/n_ctx",),
        method="GET",
    ),
    Sent("llama.vscode", "tokens", "/tokenize", {"model": "coder", "content": PREFIX}, ("tokens/0",)),
    Sent(
        "llama.vscode",
        "chat",
        CHAT,
        {"model": "fake", "messages": HELLO, "stream": True, "temperature": 0.8, "tools": TOOLS},
        (),
    ),
    Sent(
        "Tabby",
        "completion",
        COMPLETIONS,
        {
            "language": "python",
            "segments": {
                "prefix": PREFIX,
                "suffix": SUFFIX,
                "filepath": "add.py",
                "git_url": "https://example.org/a.git",
                "declarations": [{"filepath": "sub.py", "body": "def sub(a, b): ..."}],
                "relevant_snippets_from_changed_files": [{"filepath": "b.py", "body": "x = 1", "score": 0.5}],
                "relevant_snippets_from_recently_opened_files": [],
                "clipboard": "a",
            },
            "user": "someone",
            "temperature": 0.1,
            "seed": 1,
        },
        ("id", "choices/0/text"),
    ),
    Sent("Tabby", "settings", "/v1beta/server_setting", None, ("disable_client_side_telemetry",), method="GET"),
    Sent("Tabby", "health", "/v1/health", None, (), method="GET"),
    Sent(
        "Tabby's server",
        "completion by mistral/completion",
        "/v1/fim/completions",
        {
            "prompt": PREFIX,
            "suffix": SUFFIX,
            "model": "coder",
            "temperature": 0.1,
            "max_tokens": 16,
            "stream": True,
            "random_seed": 7,
        },
        ("choices/0/delta/content",),
    ),
    Sent(
        "minuet",
        "completion",
        COMPLETIONS,
        {"model": "coder", "prompt": PREFIX, "suffix": SUFFIX, "max_tokens": 56, "top_p": 0.9, "stream": True},
        text(),
    ),
    Sent(
        "codecompanion",
        "chat",
        CHAT,
        {
            "model": "fake",
            "messages": HELLO,
            "stream": True,
            "temperature": 0.8,
            "top_p": 1,
            "max_tokens": 16,
            "stop": None,
            **USAGE,
        },
        ("choices/0/delta/content", "usage/total_tokens"),
    ),
    Sent(
        "avante",
        "chat with tools",
        CHAT,
        {"model": "fake", "messages": HELLO, "stream": True, "tools": TOOLS, "max_tokens": 64, "temperature": 0.75, **USAGE},
        ("choices/0/delta/content",),
    ),
    Sent(
        "Zed",
        "prediction",
        COMPLETIONS,
        {
            "model": "coder",
            "prompt": RAW,
            "max_tokens": 64,
            "temperature": 0.2,
            "stop": [*QWEN, *(f"<|mark{n}|>" for n in range(7))],
        },
        text("id", "created", "model"),
    ),
    Sent(
        "Zed",
        "agent",
        CHAT,
        {
            "model": "fake",
            "messages": [{"role": "user", "content": [{"type": "text", "text": "Say hello."}]}],
            "stream": True,
            "max_completion_tokens": 64,
            "stop": [],
            "temperature": 1.0,
            "tools": TOOLS,
            "tool_choice": "auto",
            **USAGE,
        },
        ("choices/0/delta/content", "usage/prompt_tokens"),
    ),
    Sent(
        "VS Code",
        "chat with tools",
        CHAT,
        {
            "model": "fake",
            "messages": HELLO,
            "temperature": 0.1,
            "top_p": 1,
            "max_tokens": 64,
            "n": 1,
            "stream": True,
            "tools": TOOLS,
            "tool_choice": "auto",
            **USAGE,
        },
        ("choices/0/delta/content",),
    ),
    Sent("JetBrains AI Assistant", "models", "/v1/models", None, ("data/0/id",), method="GET"),
    Sent(
        "JetBrains AI Assistant",
        "chat",
        CHAT,
        {"model": "fake", "messages": HELLO, "stream": True},
        ("choices/0/delta/content",),
    ),
    Sent("Aider", "chat", CHAT, {"model": "fake", "messages": HELLO, "temperature": 0, "stream": True, "stop": None}, ()),
    Sent(
        "Cline, Roo Code",
        "agent",
        CHAT,
        {"model": "fake", "messages": HELLO, "temperature": 0, "stream": True, "max_tokens": 64, "tools": TOOLS, **USAGE},
        ("choices/0/delta/content", "usage/prompt_tokens", "usage/completion_tokens"),
    ),
    Sent(
        "opencode",
        "agent",
        CHAT,
        {"model": "fake", "max_tokens": 64, "messages": HELLO, "tools": TOOLS, "tool_choice": "auto", "stream": True, **USAGE},
        ("choices/0/delta/content", "choices/0/finish_reason"),
    ),
    Sent(
        "Claude Code",
        "agent",
        "/v1/messages?beta=true",
        CLAUDE | {"max_tokens": 64, "temperature": 1, "metadata": {"user_id": "someone"}, "stream": True},
        ("message/usage/input_tokens", "delta/text", "delta/stop_reason"),
        ANTHROPIC,
    ),
    Sent("Claude Code", "counting", "/v1/messages/count_tokens?beta=true", CLAUDE, ("input_tokens",), ANTHROPIC),
    Sent(
        "Codex CLI",
        "agent",
        "/v1/responses",
        {
            "model": "fake",
            "instructions": "You are Codex.",
            "input": [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Say hello."}]}],
            "tools": [{"type": "function", "strict": False, **FUNCTION}],
            "tool_choice": "auto",
            "parallel_tool_calls": False,
            "reasoning": None,
            "store": False,
            "stream": True,
            "include": [],
            "prompt_cache_key": "0199",
        },
        ("response/id", "delta", "response/usage/input_tokens"),
    ),
    Sent(
        "Copilot CLI",
        "agent",
        CHAT,
        {
            "model": "fake",
            "messages": HELLO,
            "stream": True,
            "tools": TOOLS,
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            **USAGE,
        },
        ("choices/0/delta/content",),
    ),
    Sent("Open WebUI", "models", "/v1/models", None, ("data/0/id", "data/0/object"), method="GET"),
    Sent(
        "Open WebUI", "chat", CHAT, {"model": "fake", "messages": HELLO, "stream": True, **USAGE}, ("choices/0/delta/content",)
    ),
    Sent("LangChain", "chat", CHAT, {"model": "fake", "messages": HELLO, "stream": False}, ("choices/0/message/content",)),
    Sent(
        "LangChain",
        "embeddings",
        "/v1/embeddings",
        {"model": "fake-embedding", "input": ["a"], "encoding_format": "base64"},
        ("data/0/embedding",),
    ),
    Sent(
        "LlamaIndex",
        "chat",
        CHAT,
        {"model": "fake", "messages": HELLO, "stream": False, "temperature": 0.1, "max_tokens": 16},
        ("choices/0/message/content",),
    ),
    Sent(
        "lm-eval",
        "log-likelihood",
        COMPLETIONS,
        {"model": "coder", "prompt": PREFIX, "temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True},
        ("choices/0/logprobs/token_logprobs/1", "choices/0/logprobs/top_logprobs"),
    ),
)
