"""The clients, a recipe each."""

from __future__ import annotations

from freehold.cli.connect.clients.others import JETBRAINS, LANGCHAIN, LLAMAINDEX, OPEN_WEBUI, ZED
from freehold.cli.connect.clients.terminal import AIDER, CLAUDE_CODE, CODEX, COPILOT, OPENCODE
from freehold.cli.connect.clients.vim import AVANTE, CODECOMPANION, LLAMA_VIM, MINUET
from freehold.cli.connect.clients.vscode import CLINE, CONTINUE, LLAMA_VSCODE, ROO, VSCODE
from freehold.cli.connect.recipe import Recipe

_ALL = (
    *(CONTINUE, VSCODE, LLAMA_VSCODE, CLINE, ROO),
    *(LLAMA_VIM, MINUET, CODECOMPANION, AVANTE),
    *(AIDER, OPENCODE, CLAUDE_CODE, CODEX, COPILOT),
    *(ZED, JETBRAINS, OPEN_WEBUI, LANGCHAIN, LLAMAINDEX),
)
RECIPES: dict[str, Recipe] = {recipe.name: recipe for recipe in _ALL}
