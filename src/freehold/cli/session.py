"""What commands have in common: the options that say which server and which folder, and what they lead to."""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from freehold.cli.client import Client, NoServer, ServerError

if TYPE_CHECKING:
    from freehold.settings import Settings
    from freehold.store.found import Found
    from freehold.store.manifest import Manifest
    from freehold.store.store import Store

Command = TypeVar("Command", bound=Callable[..., Any])


@dataclass(frozen=True)
class Session:
    """The common options as given, and the settings, server and store that they mean."""

    url: str | None = None
    api_key: str | None = None
    config: Path | None = None
    data_dir: Path | None = None

    @cached_property
    def settings(self) -> Settings:
        from freehold.settings import load

        return load(self.config, {"data_dir": self.data_dir, "api_key": self.api_key})

    @cached_property
    def client(self) -> Client:
        """The server named by --url, else the one that `freehold up` would start with these settings."""
        if self.url:
            # A key from the configuration file is this machine's own: another server is sent only what was given for it.
            return Client(self.url, self.api_key)
        settings = self.settings
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(settings.host, settings.host)  # noqa: S104
        key = settings.api_key.get_secret_value() if settings.api_key else None
        return Client(f"http://{f'[{host}]' if ':' in host else host}:{settings.port}", key)

    def server(self) -> Client:
        """The client of a Freehold that answers. Raises NoServer or ServerError."""
        self.client.version()
        return self.client

    def server_if_any(self) -> Client | None:
        """The running server, or None when the store on the disk is to be used: --data-dir was given, or no server runs."""
        if self.data_dir is not None and not self.url:
            return None
        try:
            return self.server()
        except NoServer:
            if self.url:
                raise
        except ServerError as error:
            if self.url or error.code:
                raise
        return None

    @cached_property
    def store(self) -> Store:
        from freehold.store.store import Store

        return Store(self.settings.data_dir)

    @cached_property
    def found(self) -> Found:
        """What other programs keep on this machine."""
        from freehold.settings import home
        from freehold.store.found import Found, usual

        return Found(usual(os.environ, home()))

    def manifest(self, name: str) -> Manifest:
        """The installed model of that name, else another program's. Raises StoreError and its kinds."""
        from freehold.errors import NotInstalled
        from freehold.store.found import PROGRAMS

        own = self.settings.models.get(name)
        if own is not None and own.engine is not None:
            raise NotInstalled(f"{name} is the model of an external engine: nothing of it is on this machine.")
        try:
            return self.store.get(name)
        except NotInstalled:
            if name.partition("/")[0] not in PROGRAMS or not self.settings.sources.found:
                raise
        return self.found.get(name)


_SERVER = (
    click.option(
        "--url", envvar="FREEHOLD_URL", metavar="URL", help="Address of the server.  [default: http://127.0.0.1:8080]"
    ),
    click.option("--api-key", envvar="FREEHOLD_API_KEY", metavar="KEY", help="The server's key; FREEHOLD_API_KEY is safer."),
)
_CONFIG = click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file (TOML).")
_FOLDER = click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Folder of models and state.")
_FOLDER_DIRECT = click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Folder of models and state; given here, it is used without the server.",
)


def with_session(data_dir: str = "direct") -> Callable[[Command], Command]:
    """Adds the common options to a command and hands them over as its first argument, a Session.

    `data_dir` is "direct" for commands that work on that folder without a server, "used" for those that only keep something
    there, "none" for those that have no use for it.
    """
    folder = {"direct": (_FOLDER_DIRECT,), "used": (_FOLDER,), "none": ()}[data_dir]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(
            *args: Any, url: str | None, api_key: str | None, config: Path | None, data_dir: Path | None = None, **rest: Any
        ) -> Any:
            return command(Session(url or None, api_key or None, config, data_dir), *args, **rest)

        for option in reversed((*_SERVER, *folder, _CONFIG)):
            wrapped = option(wrapped)
        return wrapped  # type: ignore[return-value]

    return decorate


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def warn(message: str) -> None:
    """A line on standard error that does not end the command."""
    from freehold.cli.output import printable

    print(f"warning: {printable(' '.join(message.split()))}", file=sys.stderr, flush=True)
