"""A file over HTTP, and all that may happen to it on the way: it arrives whole and right, or not at all."""

from __future__ import annotations

import hashlib
import os
import random
import resource
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from freehold.errors import DigestMismatch, DiskFull, SourceUnreachable
from freehold.store.progress import Meter, Progress
from freehold.store.pull import pull
from freehold.store.sources.download import Download, Wanted
from freehold.store.sources.journal import Journal
from freehold.store.sources.transfer import Limits
from freehold.store.store import Store
from tests.conftest import until
from tests.store.parts import Web, sha256, web_server, write_gguf

CHUNK = 1 << 16
QUICK = Limits(chunk=CHUNK, backoff=0.01, silence=5.0)
SIZE = 20 * CHUNK + 1234


def quiet(progress: Progress) -> None:
    pass


@pytest.fixture
def data(web: Web) -> bytes:
    """A file of random bytes, 21 chunks."""
    content = random.Random(5).randbytes(SIZE)
    (web.root / "file").write_bytes(content)
    return content


def download(web: Web, folder: Path, data: bytes, limits: Limits = QUICK, digest: str | None = None) -> Download:
    wanted = Wanted(f"{web.url}/file", digest or hashlib.sha256(data).hexdigest(), len(data))
    return Download(wanted, folder, Meter(quiet, "download", None), limits)


def fetched(one: Download) -> bytes:
    one.complete()
    one.verified()
    return one.part.read_bytes()


def test_several_connections_fetch_one_file(web: Web, data: bytes, tmp_path: Path) -> None:
    web.pause, web.piece = 0.01, 1 << 14
    assert fetched(download(web, tmp_path / "x", data)) == data
    asked = sorted(headers["Range"] for headers in web.asked("file"))
    assert asked == sorted(f"bytes={begin}-{min(begin + CHUNK, SIZE) - 1}" for begin in range(0, SIZE, CHUNK))
    until(lambda: web.sent == SIZE)  # no byte twice


def test_a_small_file_takes_one_request(web: Web, data: bytes, tmp_path: Path) -> None:
    assert fetched(download(web, tmp_path / "x", data, Limits())) == data
    assert len(web.requests) == 1


def test_a_server_that_ignores_ranges_sends_all_once(web: Web, data: bytes, tmp_path: Path) -> None:
    web.ignore_range = True
    assert fetched(download(web, tmp_path / "x", data)) == data
    assert len(web.requests) == 1
    until(lambda: web.sent == SIZE)


def test_without_a_strong_etag_one_connection_does_it(web: Web, data: bytes, tmp_path: Path) -> None:
    web.etag, web.cuts = 'W/"x"', [CHUNK, 5 * CHUNK]
    assert fetched(download(web, tmp_path / "x", data)) == data
    assert [headers.get("Range") for headers in web.asked("file")] == [f"bytes=0-{CHUNK - 1}", None] * 2


@pytest.mark.parametrize("connections", [1, 4])
@pytest.mark.parametrize("known", [True, False], ids=["size known", "size unknown"])
def test_cut_at_ten_places_it_goes_on_and_fetches_no_byte_twice(
    web: Web, data: bytes, tmp_path: Path, connections: int, known: bool
) -> None:
    numbers = random.Random(11)
    web.cuts = [numbers.randrange(1, CHUNK) for _ in range(10)]
    wanted = Wanted(f"{web.url}/file", hashlib.sha256(data).hexdigest(), len(data) if known else None)
    limits = Limits(chunk=CHUNK, backoff=0.01, connections=connections)
    assert fetched(Download(wanted, tmp_path / "x", Meter(quiet, "download", None), limits)) == data
    assert web.cuts == []
    until(lambda: web.sent == SIZE)  # the server counts what it has written a moment later


def test_killed_at_ten_places_it_goes_on_and_fetches_hardly_more(web: Web, tmp_path: Path) -> None:
    """The whole process dies, ten times, with a file of many megabytes; what it leaves is what the next goes on from."""
    content = random.Random(6).randbytes(24 << 20)
    (web.root / "file").write_bytes(content)
    web.pause, web.piece = 0.01, 1 << 17
    program = (
        "import sys; from pathlib import Path\n"
        "from freehold.store.progress import Meter\n"
        "from freehold.store.sources.download import Download, Wanted\n"
        "from freehold.store.sources.transfer import Limits\n"
        "meter = Meter(lambda p: None, 'download', None)\n"
        "Download(Wanted(sys.argv[1]), Path(sys.argv[2]), meter, Limits(chunk=2 << 20)).complete()"
    )
    folder = tmp_path / "x"
    journal = Journal(folder / "journal")

    def here() -> int:
        state = journal.read()
        return state.here if state else 0

    for step in range(1, 11):
        with subprocess.Popen([sys.executable, "-c", program, f"{web.url}/file", str(folder)]) as process:
            until(lambda goal=step * (2 << 20): here() >= goal or process.poll() is not None)
            process.kill()
    web.pause = 0
    received = web.sent
    assert fetched(download(web, folder, content, Limits(chunk=2 << 20))) == content
    assert web.sent - received < len(content) * 0.3
    # What the dead processes had in flight is counted as sent by the server, so there is some slack for the sockets' buffers.
    assert here() == len(content)


def test_one_flipped_byte_in_transit_is_found_and_only_chunks_are_fetched_again(web: Web, data: bytes, tmp_path: Path) -> None:
    web.flip = 2 * CHUNK + 17
    one = download(web, tmp_path / "x", data)
    one.complete()
    assert one.part.read_bytes() != data
    before = len(web.requests)
    one.verified()
    assert one.part.read_bytes() == data
    # In turn, up to the bad one: only the whole file's digest is known.
    again = [headers["Range"] for _, headers in web.requests[before:]]
    assert again == [f"bytes={number * CHUNK}-{(number + 1) * CHUNK - 1}" for number in range(3)]


def test_a_file_that_was_damaged_on_the_disk_is_mended_there_alone(web: Web, data: bytes, tmp_path: Path) -> None:
    one = download(web, tmp_path / "x", data)
    one.complete()
    with one.part.open("r+b") as file:
        file.seek(7 * CHUNK + 1)
        file.write(b"\x00\x01")
    before = len(web.requests)
    one.verified()
    assert one.part.read_bytes() == data
    assert [headers["Range"] for _, headers in web.requests[before:]] == [f"bytes={7 * CHUNK}-{8 * CHUNK - 1}"]


def test_a_bad_file_is_never_seen_under_its_final_name(store: Store, web: Web) -> None:
    model = write_gguf(web.root / "tiny.gguf")
    names: set[str] = set()

    def look(progress: Progress) -> None:
        names.update(path.name for path in (store.data_dir / "models" / "blobs").glob("*"))

    web.flip = 500
    pull(store, f"{web.url}/tiny.gguf", sha256=sha256(model), on_progress=look)
    assert names == set()
    store.verify("tiny")


def test_what_is_not_what_was_asked_for_is_thrown_away(web: Web, data: bytes, tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch):
        fetched(download(web, tmp_path / "x", data, digest="0" * 64))
    assert list((tmp_path / "x").iterdir()) == []
    with pytest.raises(DigestMismatch, match="bytes instead of"):
        Download(Wanted(f"{web.url}/file", None, 5), tmp_path / "y", Meter(quiet, "download", 5), QUICK).complete()


@pytest.mark.parametrize("careless", [False, True], ids=["heeds If-Range", "ignores If-Range"])
def test_a_file_that_changes_on_the_way_is_begun_anew_and_never_spliced(
    web: Web, data: bytes, tmp_path: Path, careless: bool
) -> None:
    new = random.Random(8).randbytes(SIZE)

    def change() -> None:
        (web.root / "file").write_bytes(new)
        web.etag = '"two"'
        web.then = lambda: None

    web.cuts, web.then, web.answer_range_of_another_file = [3 * CHUNK], change, careless
    assert fetched(download(web, tmp_path / "x", new)) == new


def test_a_file_that_keeps_changing_is_given_up(web: Web, data: bytes, tmp_path: Path) -> None:
    versions = iter(range(10_000))

    def route(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        answer = {"ETag": f'"{next(versions)}"'}
        if "Range" not in headers:
            return 200, answer | {"Content-Length": str(SIZE)}, data[:CHUNK]
        return 206, answer | {"Content-Range": f"bytes 0-{CHUNK - 1}/{SIZE}"}, data[:CHUNK]

    web.routes["/file"] = route
    with pytest.raises(SourceUnreachable, match="changed there"):
        fetched(download(web, tmp_path / "x", data))


def test_servers_that_disagree_about_the_version_are_left_to_one(web: Web, data: bytes, tmp_path: Path) -> None:
    versions = iter(range(10_000))

    def route(path: str, headers: dict[str, str]) -> tuple[int, dict[str, str], bytes]:
        answer = {"ETag": f'"{next(versions)}"'}
        if "Range" not in headers:
            return 200, answer, data
        first, _, last = headers["Range"].removeprefix("bytes=").partition("-")
        return 206, answer | {"Content-Range": f"bytes {first}-{last}/{SIZE}"}, data[int(first) : int(last) + 1]

    web.routes["/file"] = route
    assert fetched(download(web, tmp_path / "x", data)) == data


def test_a_server_that_is_busy_is_waited_for_as_long_as_it_asks(web: Web, data: bytes, tmp_path: Path) -> None:
    web.status, web.headers = [429, 503], {"Retry-After": "0"}
    assert fetched(download(web, tmp_path / "x", data)) == data
    web.status, web.headers = [429], {"Retry-After": "3600"}
    with pytest.raises(SourceUnreachable, match="come back in 3600 seconds"):
        download(web, tmp_path / "y", data).complete()


def test_a_server_that_takes_one_connection_only_is_left_to_one(web: Web, data: bytes, tmp_path: Path) -> None:
    web.one_at_a_time, web.pause, web.piece = True, 0.002, CHUNK
    assert fetched(download(web, tmp_path / "x", data)) == data
    assert web.refused >= 1
    until(lambda: web.sent == SIZE)


@pytest.mark.parametrize(("status", "words"), [(401, "login"), (403, "login"), (404, "no such file"), (410, "no such file")])
def test_a_refusal_is_final_and_says_what_to_do(web: Web, data: bytes, tmp_path: Path, status: int, words: str) -> None:
    web.status = [status]
    with pytest.raises(SourceUnreachable, match=str(status)) as caught:
        download(web, tmp_path / "x", data).complete()
    assert words in caught.value.remedy
    assert len(web.requests) == 1


def test_errors_of_the_server_are_tried_again_and_then_told(web: Web, data: bytes, tmp_path: Path) -> None:
    web.status = [500, 502, 503, 504]
    assert fetched(download(web, tmp_path / "x", data)) == data
    web.status = [500] * 50
    with pytest.raises(SourceUnreachable, match=r"broke off: .* 500"):
        download(web, tmp_path / "y", data).complete()
    assert len(web.status) == 50 - QUICK.attempts


def test_silence_ends_an_attempt(web: Web, data: bytes, tmp_path: Path) -> None:
    web.gate = threading.Event()
    limits = Limits(chunk=CHUNK, silence=0.2, attempts=2, backoff=0.01)
    with pytest.raises(SourceUnreachable, match="no byte came in time"):
        download(web, tmp_path / "x", data, limits).complete()
    web.gate.set()
    web.gate = None
    assert fetched(download(web, tmp_path / "x", data)) == data


def test_a_trickle_is_given_up(web: Web, data: bytes, tmp_path: Path) -> None:
    web.pause, web.piece = 0.02, 20
    limits = Limits(chunk=SIZE, window=0.1, slowest=100_000, attempts=3, backoff=0.01)
    with pytest.raises(SourceUnreachable, match="fewer than 100000 bytes a second"):
        download(web, tmp_path / "x", data, limits).complete()


def test_a_journal_that_is_torn_or_senseless_costs_its_bytes_and_no_more(web: Web, data: bytes, tmp_path: Path) -> None:
    one = download(web, tmp_path / "x", data)
    one.complete()
    journal = tmp_path / "x" / "journal"
    text = journal.read_text()
    torn = (text[: len(text) // 2], text + '{"n": 1, "at"')
    for damage in (*torn, "", "{}\n", "[]\n", text.replace(f"{SIZE}", "-5"), "\0" * 100):
        journal.write_text(damage)
        assert fetched(download(web, tmp_path / "x", data)) == data
    journal.write_text(text.splitlines()[0] + '\n{"n": 99, "at": 5}\n')
    assert Journal(journal).read() is None


def test_the_rate_and_the_time_left_are_told() -> None:
    now = [0.0]
    seen: list[Progress] = []
    meter = Meter(seen.append, "download", 100_000_000, clock=lambda: now[0])
    meter.here(20_000_000)
    for _ in range(8):
        now[0] += 0.5
        meter.add(5_000_000)
    assert seen[-1].rate_bytes_per_s == 10_000_000
    assert seen[-1].eta_s == 4.0
    assert seen[-1].describe() == "downloading, 60 of 100 MB (60 %), 10.0 MB/s, 4 s left"
    meter.add(-60_000_000)  # begun anew
    assert seen[-1].done == 0
    now[0] += 1.0
    meter.add(1_000_000)
    assert seen[-1].rate_bytes_per_s == 1_000_000


# --- credentials


def test_a_token_goes_to_its_host_and_follows_no_redirect_to_another(web: Web, data: bytes, tmp_path: Path) -> None:
    with web_server(web.root) as other:
        web.redirect = f"{other.url}/file"
        wanted = Wanted(f"{web.url}/file", None, None, {"Authorization": "Bearer secret"})
        one = Download(wanted, tmp_path / "x", Meter(quiet, "download", None), QUICK)
        one.complete()
        assert one.part.read_bytes() == data
        assert all(headers.get("Authorization") == "Bearer secret" for headers in web.asked("file"))
        assert other.requests
        assert all("Authorization" not in headers for headers in other.asked("file"))


def test_a_token_follows_a_redirect_on_its_own_host(web: Web, data: bytes, tmp_path: Path) -> None:
    (web.root / "moved").write_bytes(data)
    web.routes["/file"] = lambda path, headers: (302, {"Location": f"{web.url}/moved"}, b"")
    wanted = Wanted(f"{web.url}/file", None, None, {"Authorization": "Bearer secret"})
    Download(wanted, tmp_path / "x", Meter(quiet, "download", None), QUICK).complete()
    assert web.asked("moved")
    assert all(headers.get("Authorization") == "Bearer secret" for headers in web.asked("moved"))


# --- disk full


def test_a_file_that_the_system_will_not_let_grow_is_a_full_disk(web: Web, data: bytes, tmp_path: Path) -> None:
    """RLIMIT_FSIZE in a process of its own: the write fails in the middle, as on a full disk."""
    folder = tmp_path / "x"
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from freehold.errors import DiskFull\n"
        "from freehold.store.progress import Meter\n"
        "from freehold.store.sources.download import Download, Wanted\n"
        "from freehold.store.sources.transfer import Limits\n"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({SIZE // 2}, {SIZE // 2}))\n"
        "try:\n"
        "    Download(Wanted(sys.argv[1]), Path(sys.argv[2]), Meter(lambda p: None, 'download', None),"
        f" Limits(chunk={CHUNK}, connections=1)).complete()\n"
        "except DiskFull as error:\n"
        "    sys.exit(f'full: {error}')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, f"{web.url}/file", str(folder)], capture_output=True, text=True, check=False
    )
    assert "full: The disk that holds the models is full. Make room" in done.stderr
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    before = web.sent
    assert fetched(download(web, folder, data)) == data  # there is room again: it goes on
    assert web.sent - before < SIZE * 0.9


@pytest.fixture
def small_disk(tmp_path: Path) -> Path:
    """A file system of 3 MB, which root can make."""
    folder = tmp_path / "small"
    folder.mkdir()
    if os.geteuid() != 0 or shutil.which("mount") is None:
        pytest.skip("only root can mount a small file system")
    command = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", folder]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"this system mounts no tmpfs: {done.stderr.strip()}")
    try:
        yield folder  # type: ignore[misc]
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_told_leaves_no_model_and_works_again_with_room(small_disk: Path, web: Web) -> None:
    model = write_gguf(web.root / "tiny.gguf", tokens=10_000)  # 1.5 MB
    store = Store(small_disk)
    ballast = small_disk / "ballast"
    ballast.write_bytes(bytes(1_000_000))

    def fill(progress: Progress) -> None:
        """Somebody else takes the rest of the disk while the download runs: what was free at its start is not."""
        if progress.stage == "download" and progress.done > 100_000 and ballast.stat().st_size < 1_500_000:
            with ballast.open("ab") as file, pytest.raises(OSError, match="space"):
                while True:
                    file.write(bytes(4096))
                    file.flush()

    web.pause, web.piece = 0.005, 1 << 14
    with pytest.raises(DiskFull, match="full"):
        pull(store, f"{web.url}/tiny.gguf", sha256=sha256(model), on_progress=fill)
    assert store.list() == []
    ballast.unlink()
    web.pause = 0
    pull(store, f"{web.url}/tiny.gguf", sha256=sha256(model), on_progress=quiet)
    store.verify("tiny")


# --- the pin of a file without a digest


def test_an_address_without_a_digest_is_pinned_the_first_time(store: Store, web: Web) -> None:
    model = write_gguf(web.root / "tiny.gguf")
    address = f"{web.url}/tiny.gguf"
    first = pull(store, address, on_progress=quiet)
    assert sha256(model) in first.notes[0]
    store.remove("tiny")
    assert pull(store, address, on_progress=quiet).notes == ()  # known by now
    store.remove("tiny")
    write_gguf(model, seed=4)
    web.etag = '"two"'
    with pytest.raises(DigestMismatch, match="at the first download"):
        pull(store, address, on_progress=quiet)
    assert store.list() == []
    pull(store, address, sha256=sha256(model), on_progress=quiet)  # who says so pins anew
    assert pull(store, address, on_progress=quiet).name == "tiny"
