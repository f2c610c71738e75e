"""How a server ends that nobody asked to: killed, or broken inside."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from freehold.gateway.server import serve
from freehold.gateway.services import Services
from freehold.hardware.probe import probe
from freehold.routing.planner import Home
from freehold.settings import Settings
from freehold.store.store import Store
from tests.conftest import fake_model, serving, until


def test_a_killed_server_takes_its_workers_along_and_the_next_one_cleans_up_and_has_its_port(tmp_path: Path) -> None:
    fake_model(tmp_path)
    with serving(tmp_path, env={"FREEHOLD_DEFAULT_CHAT": "fake"}) as server:
        until(server.ready)
        worker = server.worker("fake")["pid"]
        server.process.kill()
        server.process.wait()
        until(lambda: not Path(f"/proc/{worker}").exists(), within=2)
        folder = server.log.parent
        left = set(folder.glob("freehold-run-*"))
        assert left
        again = {"FREEHOLD_DEFAULT_CHAT": "fake", "TMPDIR": str(folder)}
        with serving(tmp_path, "--port", str(server.port), env=again) as successor:
            assert not left & set(folder.glob("freehold-run-*"))
            assert (successor.port, successor.chat("hello")[0]) == (server.port, 200)


def test_http_that_ends_by_itself_ends_the_server_with_an_error(tmp_path: Path) -> None:
    """As when its socket is taken from it: a server that serves nobody must not look like one that was told to end."""
    fake_model(tmp_path)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.close()
    settings = Settings(data_dir=tmp_path)

    async def forever(services: Services) -> None:
        await asyncio.Event().wait()

    async def run() -> None:
        home = Home.of(probe(), settings)
        await serve(settings, Store(tmp_path), [listener], home, during=forever, read=lambda: settings)

    with pytest.raises(OSError, match="Bad file descriptor"):
        asyncio.run(run())
