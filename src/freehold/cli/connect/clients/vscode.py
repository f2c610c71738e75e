"""Continue, VS Code's own chat, llama.vscode, Cline and Roo Code."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from freehold.cli.connect import probes
from freehold.cli.connect.changes import Lines, Members, Memo, Own, Unreadable
from freehold.cli.connect.recipe import Home, Model, Plan, Recipe, Served, there

_MODELS = re.compile(r"^models:[ \t]*(?:#.*)?\r?$", re.MULTILINE)
_NO_MODELS = re.compile(r"^models:[ \t]*\[[ \t]*\][ \t]*(?:#.*)?\r?$", re.MULTILINE)
_ITEM = re.compile(r"(?:[ \t]*(?:#.*)?\r?\n)*([ \t]*)- ")
_SECTION = re.compile(r"^models:", re.MULTILINE)
NO_KEY_SHOWN = "none (anything will do)"


def _continue(home: Home, served: Served) -> Plan:
    path = home.folder / ".continue" / "config.yaml"
    old = path.with_name("config.json")
    told = f"Continue reads {path.name} instead of {old}, so bring what you need of it over."
    asked = [probes.chat(served.talks.name)]
    asked += [probes.mistral_fim(served.fill.name)] if served.fill else []
    asked += [probes.embedding(served.embedding.name)] if served.embedding else []
    steps = (told,) if old.exists() else ()
    return Plan((_ModelsOfContinue(path, _continue_models(served)),), steps, probes=tuple(asked))


@dataclass(frozen=True)
class _ModelsOfContinue:
    """Items at the beginning of the list `models` of a file of YAML, indented as those that are there."""

    path: Path
    items: Sequence[Sequence[str]]

    @property
    def shown(self) -> str:
        return "\n".join(["models:", *(f"  {line}" for item in self.items for line in item)]) + "\n"

    def apply(self, text: str | None) -> tuple[str, Memo]:
        text = text or ""
        listed = _MODELS.search(text)
        inside = _ITEM.match(text, listed.end() + 1) if listed else None
        indent = inside[1] if inside else "  "
        lines = [indent + line for item in self.items for line in item]
        if not listed:
            indent, lines = "", ["models:", *lines]
        if not text.strip():
            lines = ["name: Freehold", "version: 0.0.1", "schema: v1", *lines]
        return Lines(self.path, "continue", tuple(lines), _in_models, indent, _NO_MODELS, _check_continue).apply(text)


def _continue_models(served: Served) -> list[list[str]]:
    """Items of YAML. The provider `mistral` is the one that sends prefix and suffix apart, so that the server fills in."""
    roles = [("openai", served.talks, "Freehold", "[chat, edit, apply]")]
    roles += [("mistral", served.fill, "Freehold autocomplete", "[autocomplete]")] if served.fill else []
    roles += [("openai", served.embedding, "Freehold embeddings", "[embed]")] if served.embedding else []
    return [
        [
            f"- name: {name}",
            f"  provider: {provider}",
            f"  model: {json.dumps(model.name)}",
            f"  apiBase: {json.dumps(served.v1)}",
            f"  apiKey: {json.dumps(served.some_key)}",
            f"  roles: {role}",
            *_continue_limits(model, role),
        ]
        for provider, model, name, role in roles
    ]


def _continue_limits(model: Model, role: str) -> list[str]:
    if role != "[chat, edit, apply]":
        return []
    uses = ", ".join(word for word, has in (("tool_use", model.tools), ("image_input", model.vision)) if has)
    limits = ["  defaultCompletionOptions:", f"    contextLength: {model.context}"]
    return [*limits, f"  capabilities: [{uses}]"] if uses else limits


def _in_models(text: str) -> int:
    listed = _MODELS.search(text)
    return text.index("\n", listed.start()) + 1 if listed else len(text)


def _check_continue(text: str) -> None:
    if len(_SECTION.findall(text)) != 1:
        raise Unreadable("its `models:` is written in a form that Freehold does not edit")


def _vscode(home: Home, served: Served) -> Plan:
    model = served.talks
    entry = {
        "name": "Freehold",
        "vendor": "customendpoint",
        "apiType": "chat-completions",
        "models": [
            {
                "id": model.name,
                "name": model.name,
                "url": f"{served.v1}/chat/completions",
                "toolCalling": model.tools,
                "vision": model.vision,
                "streaming": True,
                "maxInputTokens": max(model.context - model.output, model.context // 2),
                "maxOutputTokens": min(model.output, model.context // 2),
            }
        ],
    }
    change = Members(home.vscode / "chatLanguageModels.json", [((("name", "Freehold"),), entry)])
    steps = ["VS Code 1.122 or newer: pick the model in the chat's list of models."]
    if served.key:
        steps.append(
            "VS Code keeps keys itself: Chat: Manage Language Models, the gear beside Freehold, and enter the key there."
        )
    steps.append("VS Code's own inline suggestions cannot use it; Freehold's extension in editors/vscode makes them.")
    return Plan((change,), tuple(steps), probes=(probes.tool_chat(model.name) if model.tools else probes.chat(model.name),))


def _llama_vscode(home: Home, served: Served) -> Plan:
    values: list[tuple[Sequence[str], Any]] = [
        (["llama-vscode.endpoint"], served.base),
        (["llama-vscode.ask_install_llamacpp"], False),
        (["llama-vscode.env_start_last_used"], False),
        (["llama-vscode.max_parallel_completions"], 1),
        (["llama-vscode.api_key"], served.key or ""),
        (["llama-vscode.endpoint_chat"], served.base),
        (["llama-vscode.endpoint_tools"], served.base),
        (["llama-vscode.ai_model"], (served.chat or served.fills).name),
    ]
    if served.embedding:
        values.append((["llama-vscode.endpoint_embeddings"], served.base))
    change = Members(home.vscode / "settings.json", values)
    return Plan((change,), probes=(probes.infill(served.fills.name, 0), probes.infill(served.fills.name)))


def _cline(home: Home, served: Served) -> Plan:
    model = served.talks
    steps = (
        "Cline keeps its settings in VS Code's own store, so set them there: its gear, API Configuration.",
        "API Provider: OpenAI Compatible",
        f"Base URL: {served.v1}",
        f"API Key: {'the key of your server' if served.key else NO_KEY_SHOWN}",
        f"Model ID: {model.name}",
        f"Model Configuration: Context Window Size {model.context}, Max Output Tokens {model.output}",
    )
    return Plan(steps=steps, probes=(probes.tool_chat(model.name) if model.tools else probes.chat(model.name),))


def _roo(home: Home, served: Served) -> Plan:
    """Roo Code reads a file of settings when VS Code starts, if the setting says where it is."""
    model, path = served.talks, home.config / "freehold" / "roo-code.json"
    config = {
        "id": "freehold",
        "apiProvider": "openai",
        "openAiBaseUrl": served.v1,
        "openAiApiKey": served.some_key,
        "openAiModelId": model.name,
        "openAiCustomModelInfo": {
            "maxTokens": model.output,
            "contextWindow": model.context,
            "supportsImages": model.vision,
            "supportsPromptCache": False,
        },
    }
    profiles = {"currentApiConfigName": "freehold", "apiConfigs": {"freehold": config}}
    own = Own(path, json.dumps({"providerProfiles": profiles, "globalSettings": {}}, indent=2) + "\n")
    setting = Members(home.vscode / "settings.json", [(["roo-cline.autoImportSettingsPath"], str(path))])
    return Plan((own, setting), ("Start VS Code again: Roo Code reads the file then.",), probes=(probes.tool_chat(model.name),))


CONTINUE = Recipe(
    "continue",
    "Continue",
    "chat, edits, autocomplete and search by meaning in VS Code and JetBrains",
    _continue,
    lambda home: there(home.folder / ".continue"),
    fills_too=True,
)
VSCODE = Recipe(
    "vscode", "VS Code", "chat and agents by its custom endpoint", _vscode, lambda home: there(home.vscode), tools=True
)
LLAMA_VSCODE = Recipe(
    "llama-vscode",
    "llama.vscode",
    "completions as you type, and chat, in VS Code",
    _llama_vscode,
    lambda home: there(*sorted((home.folder / ".vscode" / "extensions").glob("ggml-org.llama-vscode-*"))),
    chat=False,
    fill=True,
)
CLINE = Recipe(
    "cline",
    "Cline",
    "an agent in VS Code; prints the steps",
    _cline,
    lambda home: there(*sorted((home.folder / ".vscode" / "extensions").glob("saoudrizwan.claude-dev-*"))),
    tools=True,
    context=32_768,
)
ROO = Recipe(
    "roo",
    "Roo Code",
    "an agent in VS Code",
    _roo,
    lambda home: there(*sorted((home.folder / ".vscode" / "extensions").glob("rooveterinaryinc.roo-cline-*"))),
    tools=True,
    context=32_768,
)
