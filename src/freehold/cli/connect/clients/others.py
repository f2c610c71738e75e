"""Zed, JetBrains, Open WebUI, and programs that use LangChain or LlamaIndex."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from typing import Any

from freehold.cli.connect import probes
from freehold.cli.connect.changes import Members
from freehold.cli.connect.recipe import Home, Plan, Probe, Recipe, Served, there


def _zed(home: Home, served: Served) -> Plan:
    model = served.talks
    offered = {
        "name": model.name,
        "display_name": f"{model.name} (Freehold)",
        "max_tokens": model.context,
        "max_output_tokens": model.output,
        "capabilities": {
            "tools": model.tools,
            "images": model.vision,
            "parallel_tool_calls": False,
            "prompt_cache_key": False,
        },
    }
    provider = {"api_url": served.v1, "available_models": [offered]}
    values: list[tuple[Sequence[str], Any]] = [(["language_models", "openai_compatible", "Freehold"], provider)]
    asked = [probes.tool_chat(model.name) if model.tools else probes.chat(model.name)]
    if served.fill:
        prediction = {"api_url": f"{served.v1}/completions", "model": served.fill.name, "prompt_format": "infer"}
        values.append((["edit_predictions", "provider"], "open_ai_compatible_api"))
        values.append((["edit_predictions", "open_ai_compatible_api"], {**prediction, "max_output_tokens": 64}))
        asked.append(probes.raw_fim(served.fill.name))
    steps = ["Zed does not keep keys in its settings: export FREEHOLD_API_KEY before you start it."] if served.key else []
    steps += ["Pick the model in Zed's agent panel."]
    return Plan((Members(home.config / "zed" / "settings.json", values),), tuple(steps), probes=tuple(asked))


def _jetbrains(home: Home, served: Served) -> Plan:
    model = served.talks
    steps = (
        "JetBrains IDEs keep this in their own store: Settings, Tools, AI Assistant, Providers & API keys.",
        "Third-party AI providers: OpenAI-compatible",
        f"URL: {served.v1}",
        f"API key: {'the key of your server' if served.key else 'leave it empty'}",
        f"Tool calling: {'on' if model.tools else 'off'}; then Test Connection",
        f"Model Assignment: {model.name} for core features and instant helpers, context window {model.context}",
    )
    return Plan(steps=steps, probes=(probes.chat(model.name),))


def _open_webui(home: Home, served: Served) -> Plan:
    settings = {
        "OPENAI_API_BASE_URL": served.v1,
        "OPENAI_API_KEY": served.some_key,
        "ENABLE_OLLAMA_API": "false",
        "ANONYMIZED_TELEMETRY": "false",
        "PORT": "3000",
    }
    given = " \\\n".join(f"  -e {shlex.quote(f'{name}={value}')}" for name, value in settings.items())
    snippet = (
        f"docker run -d --network host --name open-webui -v open-webui:/app/backend/data \\\n{given} \\\n"
        "  ghcr.io/open-webui/open-webui:main\n"
    )
    steps = (
        "Open WebUI keeps its connections in its own database; a new one takes them from its environment, as above.",
        f"One that runs already: Admin Panel, Settings, Connections, OpenAI API: {served.v1}",
    )
    return Plan(steps=steps, snippet=snippet, probes=(probes.chat(served.talks.name, stream_options={"include_usage": True}),))


def _langchain(home: Home, served: Served) -> Plan:
    reached = f"base_url={_text(served.v1)}, api_key={_text(served.some_key)}"
    lines = ["# pip install langchain-openai", "from langchain_openai import ChatOpenAI, OpenAIEmbeddings", ""]
    lines += [f"chat = ChatOpenAI(model={_text(served.talks.name)}, {reached})"]
    if served.embedding:
        lines += [
            f"embeddings = OpenAIEmbeddings(model={_text(served.embedding.name)}, {reached}, check_embedding_ctx_length=False)"
        ]
    lines += ['print(chat.invoke("Say hello.").content)', ""]
    return Plan(snippet="\n".join(lines), probes=_library(served))


def _llamaindex(home: Home, served: Served) -> Plan:
    reached = f"api_base={_text(served.v1)}, api_key={_text(served.some_key)}"
    model = served.talks
    lines = ["# pip install llama-index-llms-openai-like llama-index-embeddings-openai-like"]
    lines += ["from llama_index.embeddings.openai_like import OpenAILikeEmbedding"] if served.embedding else []
    lines += ["from llama_index.llms.openai_like import OpenAILike", ""]
    uses = f"is_chat_model=True, is_function_calling_model={model.tools}, context_window={model.context}"
    lines += [f"llm = OpenAILike(model={_text(model.name)}, {reached}, {uses})"]
    if served.embedding:
        lines += [f"embeddings = OpenAILikeEmbedding(model_name={_text(served.embedding.name)}, {reached})"]
    lines += ['print(llm.complete("Say hello."))', ""]
    return Plan(snippet="\n".join(lines), probes=_library(served))


def _library(served: Served) -> tuple[Probe, ...]:
    asked = [probes.chat(served.talks.name)]
    return (*asked, probes.embedding(served.embedding.name)) if served.embedding else tuple(asked)


def _text(value: str) -> str:
    """A string of Python's."""
    return json.dumps(value)


ZED = Recipe(
    "zed",
    "Zed",
    "agents, edits and predictions as you type",
    _zed,
    lambda home: there(home.config / "zed", home.program("zed")),
    fills_too=True,
)
JETBRAINS = Recipe(
    "jetbrains",
    "JetBrains AI Assistant",
    "chat and edits in JetBrains' IDEs; prints the steps",
    _jetbrains,
    lambda home: there(home.config / "JetBrains", home.folder / "Library" / "Application Support" / "JetBrains"),
)
OPEN_WEBUI = Recipe("open-webui", "Open WebUI", "chats in a browser; prints the command", _open_webui)
LANGCHAIN = Recipe("langchain", "LangChain", "a library; prints code", _langchain)
LLAMAINDEX = Recipe("llamaindex", "LlamaIndex", "a library; prints code", _llamaindex)
