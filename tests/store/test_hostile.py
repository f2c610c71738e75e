"""Names, references, archives and addresses made to do harm: none leads outside the store, and none is a surprise."""

from __future__ import annotations

import ipaddress
import os
import random
import resource
import socket
import zipfile
from pathlib import Path

import pytest

from freehold.errors import FreeholdError, InvalidRequest, SourceUnreachable, StoreError
from freehold.store import disk
from freehold.store.found import Found, Roots
from freehold.store.names import check_name, file_name, is_path
from freehold.store.ollama.image import image_name
from freehold.store.parts import siblings
from freehold.store.progress import Progress
from freehold.store.pull import pull
from freehold.store.references import resolve
from freehold.store.sources import addresses, hf, pypi
from freehold.store.store import Store
from tests.conftest import Server
from tests.store.parts import write_gguf

STEPS = [
    "..",
    ".",
    "",
    "...",
    "..%2f",
    "%2e%2e",
    "..\\",
    "\\..",
    "~",
    "~root",
    "\0",
    "a\0b",
    "\n",
    "\r\n",
    "\x1b[2J",
    "\u202e",
    "ａ",
    "．．",
]
PLACES = ["{}", "{}/etc/passwd", "a/{}/b", "a/{}", "/{}", "a:{}", "{}:b", "a/{}/../../b"]
NAMES = sorted(
    {place.format(step) for place in PLACES for step in STEPS}
    | {
        "/etc/passwd",
        "/proc/self/environ",
        "C:\\Windows",
        "\\\\host\\share",
        "file:///etc/passwd",
        "-rf",
        "--data-dir=/",
        "%store",
    }
    | {"a" * 5000, "COM1\0", "a|b", "$(id)", "`id`", "a;b", "${HOME}", "{{7*7}}", "a\u0000", "é", "a\ud800"}
)
REFERENCES = [
    f"{kind}{name}"
    for kind in ("hf:", "ollama:", "pypi:", "hf.co/", "hf:org/repo/", "hf:org/repo:", "pypi:x==1:")
    for name in NAMES
]


def quiet(progress: Progress) -> None:
    pass


def test_there_are_enough_of_them() -> None:
    assert len(NAMES) >= 120
    assert len(NAMES) + len(REFERENCES) >= 200


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_no_name_leads_outside_the_store(store: Store, name: str) -> None:
    try:
        check_name(name)
    except InvalidRequest:
        for use in (store.get, store.stamp, store.remove):
            with pytest.raises(FreeholdError):
                use(name)
        with pytest.raises(FreeholdError):
            Found(Roots((store.data_dir,))).get(f"ollama/{name}")
    else:  # a name after all, such as "a/.../b": then its file is one in the folder
        assert Path(file_name(name)).name == file_name(name)
    assert not store.data_dir.exists() or all(path.name.startswith("%") or path.is_dir() for path in store.data_dir.rglob("*"))


def test_no_name_in_a_request_leads_outside(fake_server: Server) -> None:
    for name in NAMES:
        body = {"model": name, "messages": [{"role": "user", "content": "x"}]}
        status, _, answer = fake_server.post("/v1/chat/completions", body)
        assert status in (400, 404), (name, answer)


def test_no_reference_is_taken_for_more_than_it_is() -> None:
    """Each is refused, or is a source whose every part has been checked; nothing is asked of any network."""
    for reference in REFERENCES:
        try:
            source = resolve(reference)
        except (StoreError, InvalidRequest):
            continue
        match source:
            case hf.FromHub():
                found = source._reference
                assert ".." not in found.repository
                assert found.repository.isascii()
            case pypi.FromPackage():
                assert not source.requirement.startswith("-")
                assert source.requirement == "x==1"  # what follows is looked up in the archive, never on the disk
            case _:
                assert ".." not in source.name


@pytest.mark.parametrize(
    "name", ["", "a/b/c", "..", "a/..", "a:..", "/a", "a:", ":b", "a b", "a:b:c", "ä", "a\0", "-a", "a" * 90, "a//b"]
)
def test_names_that_ollamas_registry_does_not_have_are_not_asked_for(name: str) -> None:
    with pytest.raises(StoreError, match="no name of Ollama"):
        image_name(name)


@pytest.mark.parametrize(
    "text", ["-r", "x", "x==", "==1", "x==1;rm", "x == 1", "--index-url=http://x==1", "x[y]==1", "../x==1", "x==1 -e ."]
)
def test_what_pip_might_take_for_an_option_is_refused(text: str) -> None:
    with pytest.raises(StoreError, match="not a package"):
        pypi.package(text, None)


def test_only_paths_are_paths() -> None:
    assert all(is_path(text) for text in ("./x", "/x", "~/x", "x.gguf", "file:x", "../x"))
    assert not any(
        is_path(text) for text in ("hf:a/b/x.gguf", "https://a/x.gguf", "ollama:x.gguf", "pypi:a==1:x.gguf", "qwen3")
    )


def test_numbers_of_parts_that_make_no_sense_are_refused() -> None:
    for name in ("x-00000-of-00003.gguf", "x-00004-of-00003.gguf", "x-00001-of-99999.gguf", "x-00001-of-00000.gguf"):
        with pytest.raises(StoreError):
            siblings(name)
    assert siblings("plain.gguf") == ("plain.gguf",)


# --- addresses


PRIVATE = [
    *(
        "127.0.0.1",
        "127.1",
        "127.255.255.254",
        "0.0.0.0",
        "0",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "localhost",
        "LOCALHOST.",
    ),
    *(
        "10.0.0.1",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "192.0.2.1",
        "198.18.0.1",
        "224.0.0.1",
        "255.255.255.255",
    ),
    *(
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "64:ff9b::7f00:1",
        "2002:7f00:1::",
        "ff02::1",
        "fe80::1%eth0",
    ),
]


@pytest.mark.parametrize("host", PRIVATE)
def test_a_public_address_redirects_to_no_private_one(host: str) -> None:
    assert addresses.is_private(host)
    shown = f"[{host}]" if ":" in host else host
    way = addresses.Way("https://example.com/x.gguf")
    with pytest.raises(SourceUnreachable, match="private network"):
        way.redirect(f"https://{shown}/x.gguf")


def test_what_a_name_stands_for_is_looked_at_before_it_is_connected_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """A public name first; then a redirect to a name that stands for this machine."""
    connected: list[tuple[str, int]] = []
    table = {"public.example": "93.184.216.34", "evil.example": "127.0.0.1"}

    def found(host: str, port: int, **options: object) -> list[object]:
        family = socket.AF_INET6 if ":" in table[host] else socket.AF_INET
        return [(family, socket.SOCK_STREAM, 6, "", (table[host], port))]

    def connect(address: tuple[str, int], *rest: object) -> socket.socket:
        connected.append(address)
        return socket.socket()

    monkeypatch.setattr(socket, "getaddrinfo", found)
    monkeypatch.setattr(socket, "create_connection", connect)
    way = addresses.Way("https://public.example/x")
    way.connect(("public.example", 443), 1.0).close()
    for hidden in ("127.0.0.1", "10.1.1.1", "169.254.169.254", "::ffff:127.0.0.1", "fd00::1"):
        table["evil.example"] = hidden
        with pytest.raises(SourceUnreachable, match="private network"):
            way.connect(("evil.example", 443), 1.0)
    assert connected == [("93.184.216.34", 443)]  # the address that was checked, not the name
    inside = addresses.Way("https://evil.example/x")  # a mirror of the user's own
    inside.connect(("evil.example", 443), 1.0).close()
    inside.connect(("evil.example", 443), 1.0).close()


def test_public_addresses_are_public() -> None:
    for host in ("93.184.216.34", "1.1.1.1", "2606:4700:4700::1111", "example.com", "huggingface.co", "::ffff:1.1.1.1"):
        assert not addresses.is_private(host)
    assert addresses.is_global(ipaddress.ip_address("64:ff9b::101:101"))


# --- archives


def wheel(folder: Path, entries: dict[str, bytes]) -> Path:
    path = folder / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
    return path


def unpacked(folder: Path, path: Path, inner: str | None = None) -> object:
    target = folder / "out"
    target.mkdir(exist_ok=True)
    return pypi.package(f"x==1:{inner}" if inner else "x==1", None)._unpacked(path, target, quiet)


@pytest.mark.parametrize(
    "name",
    ["../../evil.gguf", "/etc/evil.gguf", "a/../../evil.gguf", "..\\evil.gguf", "evil\n.gguf", "ü/evil.gguf", "C:\\evil.gguf"],
)
def test_a_path_in_an_archive_is_never_a_path_on_the_disk(tmp_path: Path, name: str) -> None:
    data = write_gguf(tmp_path / "m.gguf").read_bytes()
    path = wheel(tmp_path, {name: data, "other.txt": b"x"})
    unpacked(tmp_path, path)
    assert sorted(each.name for each in (tmp_path / "out").iterdir()) == ["model.gguf"]
    assert (tmp_path / "out" / "model.gguf").read_bytes() == data
    assert not list(tmp_path.parent.glob("evil*"))


def test_a_link_in_an_archive_is_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "x-1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        link = zipfile.ZipInfo("link.gguf")
        link.external_attr = (0o120777) << 16
        archive.writestr(link, "/etc/passwd")
    unpacked(tmp_path, path)
    assert not (tmp_path / "out" / "model.gguf").is_symlink()
    assert (tmp_path / "out" / "model.gguf").read_bytes() == b"/etc/passwd"


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"bomb.gguf": bytes(150 << 20)})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(StoreError, match="far more than a model"):
        unpacked(tmp_path, path)
    assert disk.tree_bytes(tmp_path / "out") == 0
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB


def test_an_archive_that_lies_about_its_sizes_writes_no_more_than_it_claims(tmp_path: Path) -> None:
    content = random.Random(1).randbytes(1_000_000)
    path = wheel(tmp_path, {"x.gguf": content})
    raw = path.read_bytes()
    path.write_bytes(raw.replace((1_000_000).to_bytes(4, "little"), (1_000).to_bytes(4, "little")))
    with pytest.raises(StoreError):
        unpacked(tmp_path, path)
    assert disk.tree_bytes(tmp_path / "out") <= 1_000


def test_an_archive_of_several_models_asks_which(tmp_path: Path) -> None:
    path = wheel(tmp_path, {"a.gguf": b"x", "b/c.gguf": b"y"})
    with pytest.raises(StoreError, match="2 GGUF files") as caught:
        unpacked(tmp_path, path)
    assert "pypi:x==1:b/c.gguf" in caught.value.remedy
    unpacked(tmp_path, path, "b/c.gguf")
    assert (tmp_path / "out" / "model.gguf").read_bytes() == b"y"
    with pytest.raises(StoreError, match="no GGUF file"):
        unpacked(tmp_path, path, "../c.gguf")


def test_archives_that_are_damaged_are_refused(tmp_path: Path) -> None:
    good = wheel(tmp_path, {"x.gguf": os.urandom(5000)}).read_bytes()
    numbers = random.Random(3)
    refused = 0
    for _ in range(60):
        raw = bytearray(good)
        raw[numbers.randrange(len(raw))] ^= 1 << numbers.randrange(8)
        path = tmp_path / "damaged.whl"
        path.write_bytes(raw[: numbers.randrange(len(raw)) if numbers.random() < 0.3 else len(raw)])
        (tmp_path / "out" / "model.gguf").unlink(missing_ok=True)
        try:
            unpacked(tmp_path, path)
        except StoreError:
            refused += 1
        assert disk.tree_bytes(tmp_path / "out") <= 5000
    assert refused > 30


# --- files


def test_a_link_or_a_device_is_no_way_to_other_files(store: Store, tmp_path: Path) -> None:
    for path in ("/dev/zero", "/proc/self/environ", "/etc/passwd", "/", str(tmp_path)):
        with pytest.raises(StoreError):
            pull(store, f"file:{path}", on_progress=quiet)
    loop = tmp_path / "loop.gguf"
    loop.symlink_to(loop)
    with pytest.raises(StoreError):
        pull(store, str(loop), on_progress=quiet)
    os.mkfifo(tmp_path / "pipe.gguf")
    with pytest.raises(StoreError):
        pull(store, str(tmp_path / "pipe.gguf"), on_progress=quiet)
    assert store.list() == []
