"""Agents of the terminal: Aider, opencode, Claude Code, Codex and Copilot's command line."""

from __future__ import annotations

import json
import re
import shlex
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from freehold.cli.connect import marked, probes
from freehold.cli.connect.changes import Change, Lines, Members, Own, Several, Unreadable
from freehold.cli.connect.recipe import Home, Model, Plan, Probe, Recipe, Served, there


def _agents(model: Model) -> tuple[Probe, ...]:
    return (probes.tool_chat(model.name) if model.tools else probes.chat(model.name),)


def _top_level(*keys: str, between: str) -> re.Pattern[str]:
    """Lines at the left edge that set one of the keys."""
    return re.compile(rf"^(?:{'|'.join(map(re.escape, keys))})[ \t]*{between}.*$", re.MULTILINE)


def _aider(home: Home, served: Served) -> Plan:
    model, name = served.talks, f"openai/{served.talks.name}"
    values = {"openai-api-base": served.v1, "openai-api-key": served.some_key, "model": name, "weak-model": name}
    lines = tuple(f"{key}: {json.dumps(value)}" for key, value in values.items())
    replaced = _top_level(*values, between=":")
    metadata = {
        "max_tokens": model.output,
        "max_input_tokens": model.context,
        "max_output_tokens": model.output,
        "input_cost_per_token": 0,
        "output_cost_per_token": 0,
        "litellm_provider": "openai",
        "mode": "chat",
    }
    changes: tuple[Change, ...] = (
        Lines(home.folder / ".aider.conf.yml", "aider", lines, replaced=replaced),
        Members(home.folder / ".aider.model.metadata.json", [([name], metadata)]),
    )
    return Plan(changes, probes=(probes.chat(model.name, temperature=0),))


def _opencode(home: Home, served: Served) -> Plan:
    model, folder = served.talks, home.config / "opencode"
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": "Freehold",
        "options": {"baseURL": served.v1, "apiKey": served.some_key},
        "models": {
            model.name: {
                "name": model.name,
                "tool_call": model.tools,
                "attachment": model.vision,
                "limit": {"context": model.context, "output": model.output},
            }
        },
    }
    path = there(folder / "opencode.jsonc", folder / "opencode.json") or folder / "opencode.json"
    values: list[tuple[Sequence[str], Any]] = [(["$schema"], "https://opencode.ai/config.json")]
    values += [(["provider", "freehold"], provider), (["model"], f"freehold/{model.name}")]
    return Plan((Members(path, values),), probes=_agents(model))


def _claude_code(home: Home, served: Served) -> Plan:
    name = served.talks.name
    env = {
        "ANTHROPIC_BASE_URL": served.base,
        "ANTHROPIC_AUTH_TOKEN": served.some_key,
        "ANTHROPIC_MODEL": name,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": name,
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    values = [(("env", key), value) for key, value in env.items()]
    return Plan((Members(home.folder / ".claude" / "settings.json", values),), probes=(probes.messages(name),))


def _codex(home: Home, served: Served) -> Plan:
    given = home.env.get("CODEX_HOME", "")
    path = (Path(given) if given.startswith("/") else home.folder / ".codex") / "config.toml"
    top = (
        f"model = {json.dumps(served.talks.name)}",
        'model_provider = "freehold"',
        f"model_context_window = {served.talks.context}",
    )
    table = ["[model_providers.freehold]", 'name = "Freehold"', f"base_url = {json.dumps(served.v1)}", 'wire_api = "responses"']
    table += ['env_key = "FREEHOLD_API_KEY"'] if served.key else []
    replaced = _top_level("model", "model_provider", "model_context_window", between="=")
    first = Lines(path, "codex", top, marked.before_tables, replaced=replaced, check=_check_toml)
    change = Several(path, (first, Lines(path, "codex-provider", tuple(table), check=_check_toml)))
    steps = ("Codex reads the key from the environment: export FREEHOLD_API_KEY before you start it.",) if served.key else ()
    return Plan((change,), steps, probes=(probes.responses(served.talks.name),))


def _check_toml(text: str) -> None:
    try:
        tomllib.loads(text)
    except ValueError as error:
        raise Unreadable(f"with Freehold's lines it would not be TOML ({error})") from None


def _copilot(home: Home, served: Served) -> Plan:
    values = {
        "COPILOT_PROVIDER_BASE_URL": served.v1,
        "COPILOT_PROVIDER_TYPE": "openai",
        "COPILOT_PROVIDER_API_KEY": served.key or "",
        "COPILOT_MODEL": served.talks.name,
    }
    change = _environment(home, "copilot", {name: value for name, value in values.items() if value})
    return Plan((change,), ("Open a new terminal: the variables are set there.",), probes=_agents(served.talks))


def _environment(home: Home, client: str, values: dict[str, str]) -> Change:
    """Variables, in the file that the user's shell reads when a terminal opens."""
    shell = home.env.get("SHELL", "").rpartition("/")[2]
    if shell == "fish":
        lines = [f"set -gx {name} {_in_fish(value)}" for name, value in values.items()]
        return Own(home.config / "fish" / "conf.d" / f"freehold-{client}.fish", "\n".join(lines) + "\n")
    file = {"zsh": ".zshrc", "bash": ".bashrc"}.get(shell, ".profile")
    return Lines(home.folder / file, client, tuple(f"export {name}={shlex.quote(value)}" for name, value in values.items()))


def _in_fish(text: str) -> str:
    """A word of fish's, in whose quotes a backslash is one only where it is doubled."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


AIDER = Recipe(
    "aider",
    "Aider",
    "edits by chat in the terminal",
    _aider,
    lambda home: there(home.folder / ".aider.conf.yml", home.program("aider")),
    context=8_192,
)
OPENCODE = Recipe(
    "opencode",
    "opencode",
    "an agent in the terminal",
    _opencode,
    lambda home: there(home.config / "opencode", home.program("opencode")),
    tools=True,
    context=65_536,
)
CLAUDE_CODE = Recipe(
    "claude-code",
    "Claude Code",
    "an agent in the terminal",
    _claude_code,
    lambda home: there(home.folder / ".claude", home.program("claude")),
    tools=True,
    context=32_768,
)
CODEX = Recipe(
    "codex",
    "Codex CLI",
    "an agent in the terminal",
    _codex,
    lambda home: there(home.folder / ".codex", home.program("codex")),
    tools=True,
    context=65_536,
    routes=("/v1/responses",),
)
COPILOT = Recipe(
    "copilot",
    "Copilot CLI",
    "an agent in the terminal, without GitHub's models",
    _copilot,
    lambda home: there(home.folder / ".copilot", home.program("copilot")),
    tools=True,
    context=65_536,
)
