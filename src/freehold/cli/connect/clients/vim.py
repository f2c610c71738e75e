"""llama.vim, and the Neovim plugins minuet, codecompanion and avante."""

from __future__ import annotations

import json
from pathlib import Path

from freehold.cli.connect import probes
from freehold.cli.connect.changes import Own
from freehold.cli.connect.recipe import Home, Plan, Recipe, Served, there

_HEAD = "Written by `freehold connect {client}`; `freehold connect {client} --undo` takes it away."


def _quoted(text: str) -> str:
    """A string of Lua's, which reads JSON's escapes but for those of code points and slashes."""
    if not text.isprintable() or '"' in text:
        return (
            '"' + "".join(c if c.isalnum() and c.isascii() else "".join(f"\\{b:03d}" for b in c.encode()) for c in text) + '"'
        )
    return json.dumps(text, ensure_ascii=False)


def _in_vim(text: str) -> str:
    """A string of Vim script's that nothing in it can end."""
    return "'" + text.replace("'", "''") + "'"


def _llama_vim(home: Home, served: Served) -> Plan:
    """A file in the folder that Vim reads after the user's own configuration: it adds to what stands there."""
    config = {
        "endpoint_fim": f"{served.base}/infill",
        "model_fim": served.fills.name,
        "endpoint_inst": f"{served.v1}/chat/completions",
        "model_inst": (served.chat or served.fills).name,
        "api_key": served.key or "",
    }
    members = "".join(f"    \\ {_in_vim(name)}: {_in_vim(value)},\n" for name, value in config.items())
    start = f"\" {_HEAD.format(client='llama-vim')}\nlet g:llama_config = extend(get(g:, 'llama_config', {{}}), {{\n"
    text = f"{start}{members}    \\ }})\n"
    folders = [home.neovim] if home.neovim.is_dir() else []
    folders += [home.folder / ".vim"] if (home.folder / ".vim").is_dir() or not folders else []
    changes = tuple(Own(folder / "plugin" / "freehold_llama.vim", text) for folder in folders)
    steps = ("The plugin itself is ggml-org/llama.vim; install it as you install others.",)
    return Plan(changes, steps, probes=(probes.infill(served.fills.name, 0), probes.infill(served.fills.name)))


def _lua(
    home: Home, client: str, plugin: str, module: str, options: str, steps: tuple[str, ...]
) -> tuple[Own, tuple[str, ...]]:
    """A spec for lazy.nvim, which merges the options of several specs of one plugin; else a module to be required."""
    head = f"-- {_HEAD.format(client=client)}\n"
    specs = home.neovim / "lua" / "plugins"
    if specs.is_dir():
        body = (
            f"return {{\n  {{\n    {_quoted(plugin)},\n    optional = true,\n    opts = {_indented(options, 4)},\n  }},\n}}\n"
        )
        hint = f"lazy.nvim adds these options to your own spec of {plugin}; without one, nothing is installed."
        return Own(specs / f"freehold-{client}.lua", head + body), (hint, *steps)
    path = home.neovim / "lua" / f"freehold-{client}.lua"
    hint = f'Where you set the plugin up: require("{module}").setup(require("freehold-{client}"))'
    return Own(path, f"{head}return {options}\n"), (hint, *steps)


def _indented(text: str, columns: int) -> str:
    return text.replace("\n", "\n" + " " * columns)


def _minuet(home: Home, served: Served) -> Plan:
    options = f"""{{
  provider = "openai_fim_compatible",
  n_completions = 1,
  context_window = 4096,
  provider_options = {{
    openai_fim_compatible = {{
      name = "Freehold",
      end_point = {_quoted(served.v1 + "/completions")},
      api_key = function() return {_quoted(served.some_key)} end,
      model = {_quoted(served.fills.name)},
      stream = true,
      optional = {{ max_tokens = 56, top_p = 0.9 }},
    }},
  }},
}}"""
    change, steps = _lua(home, "minuet", "milanglacier/minuet-ai.nvim", "minuet", options, ())
    return Plan((change,), steps, probes=(probes.suffix(served.fills.name),))


def _codecompanion(home: Home, served: Served) -> Plan:
    options = f"""{{
  adapters = {{
    http = {{
      freehold = function()
        return require("codecompanion.adapters").extend("openai_compatible", {{
          env = {{
            url = {_quoted(served.base)},
            api_key = function() return {_quoted(served.some_key)} end,
            chat_url = "/v1/chat/completions",
          }},
          schema = {{ model = {{ default = {_quoted(served.talks.name)} }} }},
        }})
      end,
    }},
  }},
  interactions = {{ chat = {{ adapter = "freehold" }}, inline = {{ adapter = "freehold" }}, cmd = {{ adapter = "freehold" }} }},
  strategies = {{ chat = {{ adapter = "freehold" }}, inline = {{ adapter = "freehold" }}, cmd = {{ adapter = "freehold" }} }},
}}"""
    needs = ("codecompanion needs Neovim 0.11 or newer.",)
    change, steps = _lua(home, "codecompanion", "olimorris/codecompanion.nvim", "codecompanion", options, needs)
    return Plan((change,), steps, probes=(probes.chat(served.talks.name, stream_options={"include_usage": True}),))


def _avante(home: Home, served: Served) -> Plan:
    model = served.talks
    options = f"""{{
  provider = "freehold",
  providers = {{
    freehold = {{
      __inherited_from = "openai",
      endpoint = {_quoted(served.v1)},
      api_key_name = {_quoted("FREEHOLD_API_KEY" if served.key else "")},
      model = {_quoted(model.name)},
      disable_tools = {"false" if model.tools else "true"},
      extra_request_body = {{ max_tokens = {min(model.output, model.context // 2)} }},
    }},
  }},
}}"""
    key = "avante reads the key from the environment: export FREEHOLD_API_KEY before you start Neovim."
    change, steps = _lua(home, "avante", "yetone/avante.nvim", "avante", options, (key,) if served.key else ())
    return Plan((change,), steps, probes=(probes.tool_chat(model.name) if model.tools else probes.chat(model.name),))


def _neovim(home: Home) -> Path | None:
    return there(home.neovim, home.program("nvim"))


LLAMA_VIM = Recipe(
    "llama-vim",
    "llama.vim",
    "completions as you type in Vim and Neovim",
    _llama_vim,
    lambda home: there(home.neovim, home.folder / ".vim", home.program("vim"), home.program("nvim")),
    chat=False,
    fill=True,
)
MINUET = Recipe("minuet", "minuet-ai.nvim", "completions as you type in Neovim", _minuet, _neovim, chat=False, fill=True)
CODECOMPANION = Recipe("codecompanion", "codecompanion.nvim", "chat and edits in Neovim", _codecompanion, _neovim)
AVANTE = Recipe("avante", "avante.nvim", "chat, edits and agents in Neovim", _avante, _neovim)
