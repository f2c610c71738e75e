"""The page of all settings, rendered from the tree itself."""

from __future__ import annotations

import json

from freehold.aliases import BUILT_IN
from freehold.settings.sources import environment_name, keys


def markdown() -> str:
    """docs/settings.md."""
    rows = [
        "# Settings",
        "",
        "Every setting, its default and its name in the environment. A flag wins over the environment, the environment over",
        "the configuration file (`--config FILE`, `FREEHOLD_CONFIG`, `./freehold.toml`, or `freehold/freehold.toml` in the",
        "user's configuration folder), and that over the default. In the file, a key with a dot stands in a table:",
        "`queue.size` is `size` under `[queue]`.",
        "",
        "| setting | default | environment | meaning |",
        "|---|---|---|---|",
    ]
    for key, field in keys():
        match key:
            case "data_dir":
                default = "the user's data folder"
            case "aliases":
                default = "OpenAI's and Anthropic's names, below"
            case _:
                default = f"`{json.dumps(field.get_default(call_default_factory=True), default=str)}`"
        rows.append(f"| `{key}` | {default} | `{environment_name(key)}` | {field.description} |")
    for kind in dict.fromkeys(BUILT_IN.values()):
        names = ", ".join(f"`{name}`" for name, target in BUILT_IN.items() if target == kind)
        rows += ["", f"Built-in aliases of the default {kind[1:]} model: {names}."]
    rows.append("")
    return "\n".join(rows)
