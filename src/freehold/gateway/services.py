"""Everything the handlers use, composed in one place and passed in."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from freehold.fleet.supervisor import Supervisor
from freehold.gateway.auth import HostCheck, KeyCheck
from freehold.gateway.background import Background
from freehold.gateway.middleware import Traffic
from freehold.gateway.newest import Newest
from freehold.gateway.pictures import Pictures
from freehold.gateway.realtime.lobby import Lobby
from freehold.gateway.retry import Suspects
from freehold.gateway.said import Spoken
from freehold.gateway.web.fetch import Fetcher
from freehold.hardware.pace import Paces
from freehold.hardware.tuning import fingerprint
from freehold.routing.catalog import Catalog
from freehold.routing.planner import Home, Planner
from freehold.routing.pulls import Pulls
from freehold.routing.scheduler import Scheduler
from freehold.settings import Settings
from freehold.settings import home as users_home
from freehold.state.keeper import State
from freehold.store.found import Found, usual
from freehold.store.store import Store
from freehold.telemetry import Telemetry

_FETCHES = 8  # images that are fetched at a time: each may take its full size of memory


@dataclass(frozen=True)
class Services:
    settings: Settings
    home: Home
    store: Store
    catalog: Catalog
    scheduler: Scheduler
    supervisor: Supervisor
    pulls: Pulls
    telemetry: Telemetry
    traffic: Traffic
    key: KeyCheck
    hosts: HostCheck
    suspects: Suspects
    lobby: Lobby
    pictures: Pictures
    paces: Paces
    state: State
    background: Background
    fetcher: Fetcher
    spoken: Spoken = field(default_factory=Spoken)
    newest: Newest = field(default_factory=Newest)
    fetches: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_FETCHES))

    async def close(self) -> None:
        """Ends what the server owns: pulls first, then workers."""
        await self.pulls.close()
        await self.background.close()
        await self.scheduler.close()
        await self.supervisor.close()
        await self.state.close()


def compose(settings: Settings, store: Store, runtime: Path, home: Home) -> Services:
    """Builds the parts; must run inside the event loop. `runtime` is the 0700 folder of the workers' sockets."""
    telemetry, traffic = Telemetry(), Traffic()
    url = settings.state.url.get_secret_value() if settings.state.url else ""
    state = State(url, settings.data_dir, settings.state.days)
    supervisor = Supervisor(runtime, settings.timeouts, settings.worker, settings.memory.kv_keep_mib)
    scheduler = Scheduler(
        settings.queue,
        supervisor,
        settings.memory,
        budget=home.bytes_by_device,
        needed=home.whole.needed,
        observe=home.observed,
    )
    services = Services(
        settings=settings,
        home=home,
        store=store,
        catalog=Catalog(store, settings, Planner(settings, home), Found(usual(os.environ, users_home()))),
        scheduler=scheduler,
        supervisor=supervisor,
        pulls=Pulls(store, settings.sources.ollama_registry, supervisor.forgive),
        telemetry=telemetry,
        traffic=traffic,
        key=KeyCheck(settings),
        hosts=HostCheck(settings),
        suspects=Suspects(),
        lobby=Lobby(),
        pictures=Pictures(runtime / "pictures"),
        paces=Paces(settings.data_dir, fingerprint(home.machine)),
        state=state,
        background=Background(state, traffic),
        fetcher=Fetcher(settings.images.hosts),
    )
    telemetry.watch(lambda: _gauges(services))
    return services


def _gauges(services: Services) -> Iterator[tuple[str, str, Mapping[str, str], float]]:
    yield "freehold_requests_active", "Requests being answered.", {}, services.traffic.active
    yield "freehold_realtime_sessions", "Realtime sessions that are open.", {}, services.lobby.sessions
    for model, load in services.scheduler.loads().items():
        labels = {"model": model}
        yield "freehold_leases", "Slots taken by requests.", labels, load.taken
        yield "freehold_slots", "Slots there are.", labels, load.slots
        yield "freehold_queue_depth", "Requests waiting for a lease.", labels, load.waiting
    yield "freehold_evictions", "Models that have left memory.", {}, services.scheduler.evictions
    for device, budget, planned in services.scheduler.memory():
        yield "freehold_memory_budget_bytes", "Memory for all models.", {"device": device}, budget
        yield "freehold_memory_planned_bytes", "Memory that loaded models are planned to take.", {"device": device}, planned
    for worker in services.supervisor.status():
        for state in ("loading", "ready", "failed", "stopping"):
            labels = {"model": worker.model, "state": state}
            yield "freehold_worker_state", "1 for the state a worker is in.", labels, float(worker.state == state)
        yield "freehold_worker_restarts", "Times a worker was started again.", {"model": worker.model}, worker.restarts
        if worker.rss_bytes is not None:
            yield "freehold_worker_resident_bytes", "Resident memory of a worker.", {"model": worker.model}, worker.rss_bytes
