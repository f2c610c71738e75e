"""What a client's recipe is made of: where it lives, what the server has for it, and what is to be done."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freehold.cli.connect.changes import Change

NO_KEY = "none"  # for clients that want a key where the server has none


@dataclass(frozen=True)
class Home:
    """A user's folder, environment and system (as `sys.platform` has it)."""

    folder: Path
    env: Mapping[str, str]
    platform: str

    @property
    def config(self) -> Path:
        given = self.env.get("XDG_CONFIG_HOME", "")
        return Path(given) if given.startswith("/") else self.folder / ".config"

    @property
    def vscode(self) -> Path:
        """The settings folder of VS Code, or of the relative of it that is there."""
        base = self.folder / "Library" / "Application Support" if self.platform == "darwin" else self.config
        folders = [base / name / "User" for name in ("Code", "Code - Insiders", "VSCodium")]
        return next((folder for folder in folders if folder.is_dir()), folders[0])

    @property
    def neovim(self) -> Path:
        return self.config / self.env.get("NVIM_APPNAME", "nvim")

    def program(self, name: str) -> Path | None:
        """A program on the PATH."""
        for folder in self.env.get("PATH", "").split(":"):
            if folder.startswith("/") and (Path(folder) / name).is_file():
                return Path(folder) / name
        return None


@dataclass(frozen=True)
class Model:
    """A model as the server lists it; `context` and `output` are tokens."""

    name: str
    context: int
    output: int
    tools: bool = False
    vision: bool = False


@dataclass(frozen=True)
class Served:
    """A server and the models of it that a client is to use. `key` is None where the server asks for none."""

    base: str
    key: str | None
    chat: Model | None = None
    fill: Model | None = None
    embedding: Model | None = None

    @property
    def v1(self) -> str:
        return f"{self.base}/v1"

    @property
    def some_key(self) -> str:
        return self.key or NO_KEY

    @property
    def talks(self) -> Model:
        """The chat model, for recipes that need one."""
        assert self.chat is not None  # noqa: S101 - needs are checked before a recipe is followed
        return self.chat

    @property
    def fills(self) -> Model:
        """The model that fills in the middle, for recipes that need one."""
        assert self.fill is not None  # noqa: S101 - needs are checked before a recipe is followed
        return self.fill


@dataclass(frozen=True)
class Probe:
    """A request as the client sends it."""

    path: str
    body: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """What a client needs here: files to change, then steps that only a person can take; `snippet` is code to copy."""

    changes: tuple[Change, ...] = ()
    steps: tuple[str, ...] = ()
    snippet: str = ""
    probes: tuple[Probe, ...] = ()


def nowhere(home: Home) -> Path | None:
    """For clients that leave nothing by which they are found."""
    return None


@dataclass(frozen=True)
class Recipe:
    """A client. `chat`, `fill` and `tools` say what it cannot do without, `context` the tokens that its own instructions
    want, `routes` those that it needs beyond chats; `found` is where it was found."""

    name: str
    title: str
    does: str
    plan: Callable[[Home, Served], Plan]
    found: Callable[[Home], Path | None] = nowhere
    chat: bool = True
    fill: bool = False
    fills_too: bool = False
    tools: bool = False
    context: int = 0
    routes: tuple[str, ...] = field(default=())


def there(*paths: Path | None) -> Path | None:
    """The first of the paths that exists."""
    return next((path for path in paths if path is not None and path.exists()), None)
