"""A server that hears with the starter recogniser and speaks with the starter voice; the model between them is played."""

from __future__ import annotations

import json
import os
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import CACHE, Server, fake_model, serving
from tests.speech import HEARS

DEFAULTS = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}


def lend(data: Path, name: str) -> None:
    """Installs a model that is fetched once for this machine."""
    cached, store = Store(CACHE), Store(data)
    if not cached.has(name):
        pull(cached, name, on_progress=lambda progress: None)
    manifest = cached.get(name)
    for file in manifest.files:
        store.path(file).parent.mkdir(parents=True, exist_ok=True)
        os.link(cached.path(file), store.path(file))
    store.save(manifest)


def install(data: Path) -> None:
    """The two real ones, and played chat models: one that repeats what it hears, one that talks slowly and without end."""
    fake_model(data)
    fake_model(data, "talkative", tokens=400, token_delay_s=0.05)
    lend(data, HEARS)
    pull(Store(data), "espeak-ng", on_progress=lambda progress: None)


@pytest.fixture(scope="session")
def voiced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("voiced")
    install(data)
    with serving(data, env={**DEFAULTS, "FREEHOLD_REALTIME_SESSIONS": "8", "FREEHOLD_TIMEOUTS_WRITE": "2"}) as running:
        for model in (HEARS, "espeak-ng", "talkative"):
            running.post("/api/load", {"model": model}, timeout=120)
        yield running


@pytest.fixture(scope="session")
def say(voiced: Server) -> Callable[[str], bytes]:
    """A sentence as PCM, with the pauses of a person around it."""
    known: dict[str, bytes] = {}

    def spoken(text: str) -> bytes:
        if text not in known:
            body = json.dumps({"model": "tts-1", "voice": "alloy", "input": text, "response_format": "pcm"}).encode()
            request = urllib.request.Request(
                f"{voiced.base_url}/audio/speech", body, {"Content-Type": "application/json"}, method="POST"
            )
            with urllib.request.urlopen(request, timeout=60) as answer:
                known[text] = bytes(14_400) + answer.read() + bytes(38_400)
        return known[text]

    return spoken
