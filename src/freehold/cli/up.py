"""`freehold up`: bind, then pull what is missing, load, and say how to use it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from freehold.errors import FreeholdError, StartError, StoreError
from freehold.settings import Settings, load
from freehold.telemetry import configure_logging

if TYPE_CHECKING:
    from freehold.cli.progress import Board
    from freehold.gateway.services import Services
    from freehold.routing.pulls import Pull


@click.command(
    epilog="""\b
Examples:
  freehold up
  freehold up --port 9000 --model smollm2:135m
  FREEHOLD_API_KEY=secret freehold up --host 0.0.0.0"""
)
@click.option("--host", help="Address to listen on.  [default: 127.0.0.1]")
@click.option("--port", type=int, help="Port to listen on; 0 takes a free one.  [default: 8080]")
@click.option("--model", help="Chat model to serve by default.  [default: smollm2:135m]")
@click.option("--data-dir", type=click.Path(path_type=Path, file_okay=False), help="Folder of models and state.")
@click.option("--api-key", help="Key that clients must send; FREEHOLD_API_KEY keeps it out of the process list.")
@click.option("--config", type=click.Path(path_type=Path, dir_okay=False), help="Configuration file (TOML).")
@click.option(
    "--log-level", type=click.Choice(["debug", "info", "warning", "error"]), default="warning", help="Events logged to stderr."
)
def up(
    host: str | None,
    port: int | None,
    model: str | None,
    data_dir: Path | None,
    api_key: str | None,
    config: Path | None,
    log_level: str,
) -> None:
    """Serve the API: binds at once, pulls the default models if they are missing, loads them."""
    flags = {"host": host, "port": port, "default_chat": model, "data_dir": data_dir, "api_key": api_key}
    settings = load(config, flags)
    configure_logging(log_level)
    from freehold.gateway.bind import bind_all

    listeners = bind_all(settings)  # before anything slow is imported: who connects now waits, and is not refused
    try:
        _prepare_folder(settings.data_dir)
        _run(settings, listeners, lambda: load(config, flags))
    finally:
        for listener in listeners:
            listener.close()


def _prepare_folder(folder: Path) -> None:
    """Makes the data folder. One with models that cannot be written is served as it is, with a warning; another is refused."""
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_text("x", encoding="ascii")
        probe.unlink()
    except OSError as error:
        with contextlib.suppress(OSError):
            probe.unlink()
        trouble = f"The data folder {folder} cannot be written: {error.strerror}."
        if not (folder / "models" / "manifests").is_dir():
            raise StartError(trouble, "Choose another with --data-dir, or free its disk.") from None
        _warn(f"{trouble} Its models are served; none can be pulled or removed.")


def _run(settings: Settings, listeners: list[socket.socket], read: Callable[[], Settings]) -> None:
    import uvloop

    from freehold.gateway.server import serve
    from freehold.hardware.probe import probe
    from freehold.routing.planner import Home
    from freehold.store.store import Store

    async def during(services: Services) -> None:
        await _start_models(services, _base_url(listeners[0]))

    home = Home.of(probe(), settings)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(settings, Store(settings.data_dir), listeners, home, during=during, read=read))


def _base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    if host in {"0.0.0.0", "::"}:  # noqa: S104
        host = "127.0.0.1"
    return f"http://{f'[{host}]' if ':' in host else host}:{port}"


async def _start_models(services: Services, base: str) -> None:
    """Pulls what is missing, loads, prints the way in. A model that only embeds may fail: chat goes on without it."""
    from freehold.cli.progress import board

    settings = services.settings
    if settings.state.url is not None and not settings.state.url.get_secret_value().startswith("sqlite:"):
        await services.state.run(lambda database, connection: None)  # what is wrong with it is said now
    _say(f"Freehold is listening on {base}")
    _say_where(services)
    await asyncio.to_thread(_install_bundled, services)
    preloaded = (name for name, own in settings.models.items() if own.preload)
    wanted = list(dict.fromkeys((settings.default_chat, settings.default_embedding, *preloaded)))
    external = [name for name in wanted if services.catalog.is_external(name)]
    # Whoever runs those engines may start them later, or never: nothing here waits for them.
    looking = [asyncio.create_task(_find_model(services, name)) for name in (external if settings.preload else ())]
    try:
        with board() as progress:
            await _start_here(services, [name for name in wanted if name not in external], progress)
        _say(_welcome(services, base))
        if not services.store.has(settings.default_transcription):
            await _pull_later(services, settings.default_transcription)
        await _pull_later(services, await asyncio.to_thread(_drawing_model, services))
        await asyncio.gather(*looking)
    finally:
        for task in looking:
            task.cancel()
        await asyncio.gather(*looking, return_exceptions=True)


async def _start_here(services: Services, wanted: list[str], progress: Board) -> None:
    """Of the models that are to be started on this machine, the default chat model has to start."""
    tasks = {name: asyncio.create_task(_start_model(services, name, progress)) for name in wanted}
    try:
        if chat := tasks.get(services.settings.default_chat):
            await chat
        late = await asyncio.gather(*tasks.values(), return_exceptions=True)
    finally:
        for task in tasks.values():
            task.cancel()
        await asyncio.gather(*tasks.values(), return_exceptions=True)
    for name, result in zip(tasks, late, strict=True):
        if isinstance(result, FreeholdError):
            _warn(f"{name} is not available: {result}")
        elif isinstance(result, BaseException):
            raise result


async def _find_model(services: Services, name: str) -> None:
    """A model of an engine elsewhere, which is looked for again when it is not there."""
    try:
        entry = services.catalog.resolve(name)
        entry.check()
        await services.scheduler.load(entry.deployment, entry.stay)
    except FreeholdError as error:
        _warn(f"{name} is not available yet: {error}")


def _say_where(services: Services) -> None:
    """What leaves this machine, and what a name hides."""
    for entry in services.catalog.externals():
        name, remote = entry.manifest.name, entry.deployment.remote
        if remote is not None and (address := remote.address) is not None and not address.is_here:
            _say(f"Requests for {name} go to {address.shown}, and so leave this machine.")
            if not address.tls:
                _warn(f"whoever is on the way to {address.shown} can read them{', and its key' if remote.key_env else ''}.")
        if services.store.has(name):
            _warn(f"the installed model {name} is hidden by the external one of that name.")


async def _pull_later(services: Services, name: str) -> None:
    """Pulls a default model, if any, whose first request loads it. It may fail: all else goes on without it."""
    from freehold.cli.progress import board

    if not name or not services.settings.starter:
        return
    with board() as progress:
        try:
            await _follow(services, services.pulls.begin(name), name, progress)
        except FreeholdError as error:
            _warn(f"{name} is not available: {error}")


def _drawing_model(services: Services) -> str:
    """The drawing model that comes with Freehold, where nothing must be fetched for it, and nobody chose another or what is
    installed came with another version of Freehold; else ""."""
    from freehold.store.sources.shipped import PICTOGRAM, TEXT_MODEL, FromFreehold

    store = services.store
    drawing = {manifest.name: manifest for manifest in store.list() if manifest.task == "image"}
    if installed := drawing.get(PICTOGRAM):
        wanted = installed.source == FromFreehold.source and not FromFreehold().is_in(installed)
    else:
        wanted = not drawing and services.settings.default_image in ("", PICTOGRAM)
    return PICTOGRAM if wanted and store.has(TEXT_MODEL) else ""


def _install_bundled(services: Services) -> None:
    """The voice that comes with Freehold needs no pull; it loads in a moment when it is asked for. Another version of its
    package may have other voices, which are then written down."""
    from freehold.store.bundled import ESPEAK, FromInstall, install

    store = services.store
    if not services.settings.starter or services.settings.default_speech != ESPEAK:
        return
    try:
        if not store.has(ESPEAK) or not FromInstall().is_in(store.get(ESPEAK)):
            install(store, ESPEAK)
    except StoreError as error:
        _warn(f"{ESPEAK} is not available: {error}")


async def _start_model(services: Services, name: str, progress: Board) -> None:
    if not services.store.has(name):
        if not services.settings.starter:
            raise StartError(f"The model {name} is not installed.", f"Pull it first: freehold pull {name}")
        pull = services.pulls.begin(name)
        await _follow(services, pull, name, progress)
    if services.settings.preload:
        progress.note(name, "loading")
        entry = services.catalog.resolve(name)
        entry.check()
        await services.scheduler.load(entry.deployment, entry.stay)
        progress.note(name, "ready")


async def _follow(services: Services, pull: Pull, name: str, progress: Board) -> None:
    waiting = asyncio.create_task(services.pulls.wait(pull))
    try:
        while not waiting.done():
            if pull.job.progress is not None:
                progress.show(name, pull.job.progress)
            await asyncio.wait({waiting}, timeout=0.2)
    finally:
        waiting.cancel()
    if pull.error is not None:
        raise pull.error
    if pull.state != "done":
        raise StartError(f"The pull of {name} was cancelled.")


def _welcome(services: Services, base: str) -> str:
    key = "$FREEHOLD_API_KEY" if services.settings.api_key else ""
    header = f'-H "Authorization: Bearer {key}" ' if key else ""
    shown = 'os.environ["FREEHOLD_API_KEY"]' if key else '"none"'
    body = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Say hello."}]})
    start = "import os; from openai import OpenAI" if key else "from openai import OpenAI"
    return f"""
Freehold is ready at {base}/v1

  curl {base}/v1/chat/completions {header}-H "Content-Type: application/json" -d '{body}'

  {start}
  client = OpenAI(base_url="{base}/v1", api_key={shown})
  answer = client.chat.completions.create(model="gpt-4o", messages=[{{"role": "user", "content": "Say hello."}}])
  print(answer.choices[0].message.content)

Press Ctrl-C to stop.
"""


def _say(text: str) -> None:
    with contextlib.suppress(OSError):  # a full disk, or a pipe that nobody reads any more, ends no server
        print(text, flush=True)


def _warn(text: str) -> None:
    with contextlib.suppress(OSError):
        print(f"warning: {text}", file=sys.stderr, flush=True)
