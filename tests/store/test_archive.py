"""Hostile archives: nothing outside the folder is written, whatever they hold."""

from __future__ import annotations

import gzip
import tarfile
from pathlib import Path
from typing import Any

import pytest

from freehold.errors import DigestMismatch
from freehold.store.archive import Limits, unpack
from tests.builder.parts import tar_file, write_tar

PREFIX = "p-1/vendor/llama.cpp/"
LINK: dict[str, Any] = {"type": tarfile.SYMTYPE, "linkname": "/etc"}


def everything(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_only_the_wanted_folder_is_unpacked(tmp_path: Path) -> None:
    members = [
        tar_file("p-1/setup.py", b"no"),
        tar_file(f"{PREFIX}sub", type=tarfile.DIRTYPE, mode=0),
        tar_file(f"{PREFIX}sub/a.c", b"int a;", mode=0o4777, uid=77),
        tar_file(f"{PREFIX}run.sh", b"#!/bin/sh", mode=0o755),
        tar_file("p-1/vendor/llama.cpp-other/x", b"no"),
        tar_file("p-1/link", **LINK),
    ]
    unpack(write_tar(tmp_path / "a.tar.gz", members), PREFIX, tmp_path / "out")
    assert everything(tmp_path / "out") == {"sub", "sub/a.c", "run.sh"}
    assert (tmp_path / "out/sub/a.c").read_bytes() == b"int a;"
    assert (tmp_path / "out/sub/a.c").stat().st_mode & 0o7777 == 0o755
    assert (tmp_path / "out/run.sh").stat().st_mode & 0o7777 == 0o755


@pytest.mark.parametrize(
    "member",
    [
        tar_file(f"{PREFIX}../../../../evil", b"x"),
        tar_file(f"{PREFIX}sub/../../evil", b"x"),
        tar_file(f"{PREFIX}/evil", b"x"),
        tar_file(f"{PREFIX}./evil", b"x"),
        tar_file(f"{PREFIX}sub//evil", b"x"),
        tar_file(f"{PREFIX}back\\slash", b"x"),
        tar_file(f"{PREFIX}new\nline", b"x"),
        tar_file(f"{PREFIX}{'n' * 201}", b"x"),
        tar_file(f"{PREFIX}{'d/' * 30}x", b"x"),
        tar_file(f"{PREFIX}link", **LINK),
        tar_file(f"{PREFIX}link", type=tarfile.SYMTYPE, linkname="a"),
        tar_file(f"{PREFIX}hard", type=tarfile.LNKTYPE, linkname=f"{PREFIX}a"),
        tar_file(f"{PREFIX}hard", type=tarfile.LNKTYPE, linkname="/etc/passwd"),
        tar_file(f"{PREFIX}pipe", type=tarfile.FIFOTYPE),
        tar_file(f"{PREFIX}device", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        tar_file(f"{PREFIX}odd", type=b"Z"),
    ],
    ids=lambda member: ascii(member[0].name[-20:]),
)
def test_what_is_no_plain_file_below_the_folder_is_refused(tmp_path: Path, member: tuple[tarfile.TarInfo, bytes]) -> None:
    archive = write_tar(tmp_path / "a.tar.gz", [tar_file(f"{PREFIX}a", b"a"), member])
    before = everything(tmp_path)
    with pytest.raises(DigestMismatch, match="not what it should be"):
        unpack(archive, PREFIX, tmp_path / "out")
    assert {name for name in everything(tmp_path) - before if not name.startswith("out")} == set()


def test_a_link_cannot_be_written_through(tmp_path: Path) -> None:
    members = [tar_file(f"{PREFIX}d", type=tarfile.SYMTYPE, linkname=str(tmp_path)), tar_file(f"{PREFIX}d/evil", b"x")]
    with pytest.raises(DigestMismatch):
        unpack(write_tar(tmp_path / "a.tar.gz", members), PREFIX, tmp_path / "out")
    assert not (tmp_path / "evil").exists()


def test_the_same_name_twice_is_refused(tmp_path: Path) -> None:
    for second in ("a", "a/b"):
        members = [tar_file(f"{PREFIX}a", b"1"), tar_file(f"{PREFIX}{second}", b"2")]
        with pytest.raises(DigestMismatch, match="twice"):
            unpack(write_tar(tmp_path / "a.tar.gz", members), PREFIX, tmp_path / second.replace("/", "-"))


@pytest.mark.parametrize(
    ("limits", "members"),
    [
        (Limits(files=3), [tar_file(f"x/{n}") for n in range(4)]),
        (Limits(file=1000), [tar_file(f"{PREFIX}a", bytes(1001))]),
        (Limits(total=1500), [tar_file(f"{PREFIX}a", bytes(800)), tar_file("elsewhere", bytes(800))]),
    ],
)
def test_bombs_are_refused_before_they_are_written(
    tmp_path: Path, limits: Limits, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    with pytest.raises(DigestMismatch, match="more than it should"):
        unpack(write_tar(tmp_path / "a.tar.gz", members), PREFIX, tmp_path / "out", limits)
    assert sum(path.stat().st_size for path in (tmp_path / "out").rglob("*") if path.is_file()) <= 1000


def test_a_broken_archive_is_refused(tmp_path: Path) -> None:
    whole = write_tar(tmp_path / "a.tar.gz", [tar_file(f"{PREFIX}a", bytes(range(256)) * 400)]).read_bytes()
    pieces = (b"", b"no archive", whole[:40], whole[:-30], whole[:200] + bytes(50) + whole[250:], gzip.compress(b"no tar"))
    for number, piece in enumerate(pieces):
        (tmp_path / "b.tar.gz").write_bytes(piece)
        with pytest.raises(DigestMismatch):
            unpack(tmp_path / "b.tar.gz", PREFIX, tmp_path / f"out{number}")


def test_an_archive_without_the_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DigestMismatch, match="are not in it"):
        unpack(write_tar(tmp_path / "a.tar.gz", [tar_file("p-1/other", b"x")]), PREFIX, tmp_path / "out")
