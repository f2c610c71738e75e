"""Settings read anew while the server runs: requests in progress keep what they began with, later ones get the new."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable
from dataclasses import replace

from freehold.errors import FreeholdError
from freehold.gateway.auth import HostCheck, KeyCheck
from freehold.gateway.services import Services
from freehold.gateway.web.fetch import Fetcher
from freehold.routing.catalog import Catalog
from freehold.routing.planner import Home, Planner
from freehold.settings import Settings
from freehold.telemetry import log

FIXED = (
    "host",
    "port",
    "ollama_port",
    "data_dir",
    "http",
    "max_body_bytes",
    "state",
)  # the server was built on them: they need a new start


class Live:
    """The services in force: asked for with each request, kept by it to its end."""

    def __init__(self, services: Services):
        self.now = services

    async def reload(self, read: Callable[[], Settings]) -> bool:
        """Applies the settings that `read` gives. Settings that are not valid change nothing; the reason is logged and told."""
        try:
            settings = await asyncio.to_thread(read)
            # The machine as it was at the start: what is free now lacks what our own models have taken since.
            home = await asyncio.to_thread(Home.of, self.now.home.machine, settings)
        except FreeholdError as error:
            log("settings not reloaded", level=40, reason=error.message)
            print(f"error: the settings stay as they were: {error}", file=sys.stderr, flush=True)  # noqa: T201
            return False
        self._apply(_mixed(self.now.settings, settings), home)
        log("settings reloaded", level=30)
        return True

    def _apply(self, settings: Settings, home: Home) -> None:
        before = self.now
        before.supervisor.configure(settings.timeouts, settings.worker, settings.memory.kv_keep_mib)
        before.scheduler.configure(
            settings.queue, settings.memory, home.bytes_by_device, needed=home.whole.needed, observe=home.observed
        )
        if settings.api_key != before.settings.api_key:
            before.lobby.forget_all()
        self.now = replace(
            before,
            settings=settings,
            home=home,
            catalog=Catalog(before.store, settings, Planner(settings, home), before.catalog.found),
            key=KeyCheck(settings),
            hosts=HostCheck(settings),
            fetcher=Fetcher(settings.images.hosts),
        )
        for entry in before.catalog.externals():
            if not self.now.catalog.is_external(entry.manifest.name):
                before.scheduler.dismiss(entry.manifest.name)  # once its running requests have ended


def terminal_gone() -> bool:
    """Whether this process has a terminal that was closed: a hangup then means the end, not a reload."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_NOCTTY))
    except OSError:
        return True
    return False


def _mixed(before: Settings, wanted: Settings) -> Settings:
    """The wanted settings, but for those that hold until the next start."""
    kept = {name: getattr(before, name) for name in FIXED}
    changed = [name for name, value in kept.items() if value != getattr(wanted, name)]
    if changed:
        names = ", ".join(changed)
        print(f"warning: {names} cannot change while the server runs; start it anew for that.", file=sys.stderr, flush=True)  # noqa: T201
    return wanted.model_copy(update=kept)
