"""The KV cache of long prompts over an eviction: on the real engine, and its bounds with a client that plays one."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import WorkerDied
from freehold.fleet.client import Answer
from freehold.fleet.engines import Deployment, Launch
from freehold.fleet.keeping import Keeper
from freehold.hardware.plan import Plan, Share
from freehold.store.store import Store
from tests.conftest import STARTERS, Server, serving

PLAN = Plan(1000, 2, memory=(Share("host", 0, 2000, 0),))  # a byte a token
ONE = Deployment("one", "chat", "llama.cpp", PLAN, "off")
TOLD = Launch(("worker", "as told"), {})


class Engine:
    """Plays a worker: writes files of a byte a token into the folder, and notes what it is asked to restore."""

    def __init__(self, folder: Path, *tokens: int, busy: bool = False):
        self._folder = folder
        self._tokens = tokens
        self._busy = busy
        self.refuses = self.dies = False
        self.restored: list[int] = []

    async def get(self, path: str, within: float) -> Answer:
        slots = [{"id": slot, "is_processing": self._busy, "n_prompt_tokens": count} for slot, count in enumerate(self._tokens)]
        return Answer(200, json.dumps(slots).encode())

    async def post(self, path: str, body: bytes, within: float) -> Answer:
        if self.dies:
            raise WorkerDied("gone", reached=True)
        slot = int(path.removeprefix("/slots/").partition("?")[0])
        file = self._folder / json.loads(body)["filename"]
        if path.endswith("save"):
            file.write_bytes(bytes(self._tokens[slot] // (2 if self.refuses else 1)))
        else:
            assert file.stat().st_size
            self.restored.append(slot)
        return Answer(500 if self.refuses else 200, b"{}")


@pytest.fixture
def keeper(tmp_path: Path) -> Keeper:
    return Keeper(tmp_path / "kv", 2000)


def engine(tmp_path: Path, *tokens: int, **options: Any) -> Any:
    return Engine(tmp_path / "kv", *tokens, **options)


def files(tmp_path: Path) -> list[int]:
    return sorted(path.stat().st_size for path in (tmp_path / "kv").glob("*"))


async def test_long_prompts_are_kept_and_given_back_once(tmp_path: Path, keeper: Keeper) -> None:
    await keeper.save(engine(tmp_path, 600, 100, 800), ONE, TOLD, PLAN)
    assert files(tmp_path) == [600, 800]
    after = engine(tmp_path)
    await keeper.restore(after, ONE, TOLD)
    assert sorted(after.restored) == [0, 2]
    assert files(tmp_path) == []
    await keeper.restore(after, ONE, TOLD)
    assert sorted(after.restored) == [0, 2]


async def test_all_models_together_keep_no_more_than_the_limit_and_the_oldest_go_first(tmp_path: Path, keeper: Keeper) -> None:
    await keeper.save(engine(tmp_path, 900), ONE, TOLD, PLAN)
    await keeper.save(engine(tmp_path, 800), replace(ONE, name="two"), TOLD, PLAN)
    await keeper.save(engine(tmp_path, 700, 5000), replace(ONE, name="three"), TOLD, PLAN)
    assert files(tmp_path) == [700, 800]
    keeper.limit(750)
    assert files(tmp_path) == [700]
    unplanned = replace(PLAN, memory=())  # nothing says how large it will be
    await keeper.save(engine(tmp_path, 900), replace(ONE, name="four"), TOLD, unplanned)
    assert files(tmp_path) == []


@pytest.mark.parametrize("other", [{"plan": replace(PLAN, kv_type="q8_0")}, {"sandbox": "auto"}])
async def test_what_another_version_of_the_model_left_is_dropped(tmp_path: Path, keeper: Keeper, other: Any) -> None:
    await keeper.save(engine(tmp_path, 600), ONE, TOLD, PLAN)
    after = engine(tmp_path)
    await keeper.restore(after, replace(ONE, **other), TOLD)
    assert (after.restored, files(tmp_path)) == ([], [])


async def test_what_a_worker_left_that_was_told_otherwise_is_dropped(tmp_path: Path, keeper: Keeper) -> None:
    await keeper.save(engine(tmp_path, 600), ONE, TOLD, PLAN)
    after = engine(tmp_path)
    await keeper.restore(after, ONE, Launch(("worker", "another build"), {}))
    assert (after.restored, files(tmp_path)) == ([], [])


@pytest.mark.parametrize("fault", ["refuses", "dies"])
async def test_a_failed_save_or_restore_leaves_nothing_and_fails_nothing(tmp_path: Path, keeper: Keeper, fault: str) -> None:
    broken = engine(tmp_path, 600)
    setattr(broken, fault, True)
    await keeper.save(broken, ONE, TOLD, PLAN)
    keeper.tidy()
    assert files(tmp_path) == []
    await keeper.save(engine(tmp_path, 600), ONE, TOLD, PLAN)
    await keeper.restore(broken, ONE, TOLD)
    assert files(tmp_path) == []


async def test_a_busy_slot_is_not_waited_for(tmp_path: Path, keeper: Keeper) -> None:
    await keeper.save(engine(tmp_path, 600, busy=True), ONE, TOLD, PLAN)
    assert files(tmp_path) == []


async def test_what_is_kept_of_a_removed_model_goes(tmp_path: Path, keeper: Keeper) -> None:
    await keeper.save(engine(tmp_path, 600), ONE, TOLD, PLAN)
    keeper.drop("one")
    assert files(tmp_path) == []


@pytest.mark.parametrize("unfit", [{"task": "embedding"}, {"engine": "fake"}, {"draft": Path("d")}, {"projector": Path("p")}])
def test_models_whose_state_is_not_in_their_slots_keep_nothing(keeper: Keeper, unfit: Any) -> None:
    assert keeper.folder(ONE) is not None
    assert keeper.folder(replace(ONE, **unfit)) is None
    keeper.limit(0)
    assert keeper.folder(ONE) is None


# --- on the real engine


@contextmanager
def serving_twins(starters: Path, data: Path, kv_keep_mib: int) -> Iterator[Server]:
    """The starter model under two names, with room for one of them."""
    source, store = Store(starters), Store(data)
    manifest = source.get(STARTERS[0])
    for file in manifest.files:
        store.path(file).parent.mkdir(parents=True, exist_ok=True)
        store.path(file).symlink_to(source.path(file))
    for name in ("one", "two"):
        store.save(replace(manifest, name=name))
    for engines in (starters / "engines",) if (starters / "engines").is_dir() else ():
        (data / "engines").symlink_to(engines)
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "one",
        "FREEHOLD_DEFAULT_EMBEDDING": "two",
        "FREEHOLD_PRELOAD": "false",
        "FREEHOLD_ENGINE_SLOTS": "1",
        "FREEHOLD_ENGINE_CONTEXT": "2048",
        "FREEHOLD_MEMORY_BUDGET": "340 MiB",
        "FREEHOLD_MEMORY_KV_KEEP_MIB": str(kv_keep_mib),
    }
    with serving(data, env=environment, ready=False) as server:
        yield server


def ask(server: Server, model: str, system: str) -> dict[str, Any]:
    messages = [{"role": "system", "content": system}, {"role": "user", "content": "Hello"}]
    body = {"model": model, "messages": messages, "max_tokens": 1, "temperature": 0}
    status, _, answer = server.post("/v1/chat/completions", body, timeout=120)
    assert status == 200, answer
    usage: dict[str, Any] = answer["usage"]
    return usage


@pytest.mark.parametrize("kv_keep_mib", [512, 0])
def test_a_long_prompt_outlasts_an_eviction_where_it_may(starters: Path, tmp_path: Path, kv_keep_mib: int) -> None:
    long = "You answer in one word. " * 100
    with serving_twins(starters, tmp_path, kv_keep_mib) as server:
        first = ask(server, "one", long)
        assert first["prompt_tokens"] > 512
        assert first["prompt_tokens_details"]["cached_tokens"] == 0
        ask(server, "two", "Be brief.")
        assert server.metric("freehold_evictions") == 1
        folder = server.log.parent
        kept = list(folder.glob("freehold-run-*/kv/*"))
        assert len(kept) == (1 if kv_keep_mib else 0)
        for file in kept:
            assert stat.S_IMODE(file.stat().st_mode) == 0o600
            assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
        again = ask(server, "one", long)
        assert not [file for file in kept if file.exists()]
        cached = again["prompt_tokens_details"]["cached_tokens"]
        assert (cached > 0.9 * first["prompt_tokens"]) if kv_keep_mib else (cached == 0)
        server.post("/api/unload", {"model": "one"})
        assert not list(folder.glob("freehold-run-*/kv/*"))
        assert server.stop() == 0
        assert [path.name for path in folder.iterdir()] == ["log"]
