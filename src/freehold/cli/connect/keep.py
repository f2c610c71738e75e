"""Files of other programs: written as a whole or not at all, with what they were before kept for `--undo`.

A symbolic link stays one, a file's mode its mode. What is kept lies in Freehold's data folder, for its owner alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from freehold.cli.connect.changes import Change, Unreadable, taken_out
from freehold.errors import OperatorError

_LARGEST = 4 * 2**20  # bytes of a configuration file
Action = Literal["written", "created", "unchanged", "restored", "removed", "gone"]


@dataclass(frozen=True)
class Done:
    """What became of a file. `backup` is where the bytes it had before are kept, None where there was no file."""

    path: Path
    action: Action
    backup: Path | None = None

    def as_json(self) -> dict[str, Any]:
        return {"path": str(self.path), "action": self.action, "backup": str(self.backup) if self.backup else None}


class Keeper:
    """The changes of one client, and the record of them."""

    def __init__(self, data_dir: Path, client: str):
        self._folder = data_dir / "connect" / client
        self._record = self._folder / "record.json"

    @property
    def connected(self) -> bool:
        return self._record.exists()

    def make(self, changes: Iterable[Change], secret: bool) -> list[Done]:
        """Makes the changes. All are computed before the first is written. Raises OperatorError.

        `secret` is whether the text holds a key: a file that is new then is for its owner alone.
        """
        old = {entry["path"]: entry for entry in self._entries()}
        planned = [self._planned(change, old.get(str(change.path))) for change in changes]
        done, entries = [], {**old}
        for number, (change, now, base, new, memo) in enumerate(planned):
            path, backup = change.path, None
            kept = (old.get(str(path)) or {}).get("file") or f"{len(old) + number}.before"
            if base is not None:
                backup = self._folder / kept
                _private(backup, base)
            made = (old.get(str(path)) or {}).get("made") or [str(folder) for folder in _missing(path)]
            entry = {"path": str(path), "file": kept if base is not None else None, "made": made, "memo": memo}
            entries[str(path)] = {**entry, "after": _digest(new)}
            _private(self._record, json.dumps(list(entries.values()), indent=1).encode())
            if now != new:
                _write(path, new, 0o600 if secret else 0o644)
            done.append(Done(path, "unchanged" if now == new else "created" if now is None else "written", backup))
        return done

    def _planned(self, change: Change, old: dict[str, Any] | None) -> tuple[Change, bytes | None, bytes | None, bytes, Any]:
        """The change with the file's bytes now, those without anything of ours, the new ones, and the memo."""
        now = _read(change.path)
        _check_writable(change.path)
        base = now if old is None or now is None else self._without(now, old)
        bom = b"\xef\xbb\xbf" if base and base.startswith(b"\xef\xbb\xbf") else b""
        try:
            text, memo = change.apply(None if base is None else base[len(bom) :].decode("utf-8"))
        except UnicodeDecodeError:
            raise _refused(change.path, "it is not text in UTF-8") from None
        except Unreadable as error:
            raise _refused(change.path, str(error)) from None
        if memo["kind"] == "own" and base is not None and old is None and base.decode("utf-8", "replace") != text:
            raise _refused(change.path, "there is a file of that name that Freehold did not write")
        return change, now, base, bom + text.encode("utf-8"), memo

    def undo(self) -> list[Done]:
        """Takes all back: to the byte where nobody changed the file since, else only what is ours. Raises OperatorError."""
        entries = self._entries()
        if not entries:
            raise OperatorError(
                "There is nothing to undo: this client has not been connected.", "`freehold connect` lists them."
            )
        planned = []
        for entry in entries:
            now = _read(Path(entry["path"]))
            _check_writable(Path(entry["path"]))
            planned.append((entry, now, None if now is None else self._without(now, entry)))
        done = []
        for entry, now, base in planned:
            path = Path(entry["path"])
            if now is None:
                done.append(Done(path, "gone"))
            elif base is None:
                _target(path).unlink()
                done.append(Done(path, "removed"))
            else:
                if base != now:
                    _write(path, base, 0o644)
                done.append(Done(path, "restored"))
        for folder in sorted({Path(name) for entry in entries for name in entry["made"]}, reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                folder.rmdir()
        shutil.rmtree(self._folder)
        return done

    def _without(self, now: bytes, entry: dict[str, Any]) -> bytes | None:
        """A file's bytes without what is ours in it, None where there was no file."""
        if _digest(now) == entry["after"]:
            return (self._folder / entry["file"]).read_bytes() if entry["file"] else None
        path = Path(entry["path"])
        if entry["memo"]["kind"] == "own":
            raise _refused(path, "it was changed after Freehold wrote it: remove it yourself, or bring back what was there")
        try:
            text = taken_out(now.decode("utf-8"), entry["memo"])
        except (UnicodeDecodeError, Unreadable) as error:
            raise _refused(path, f"{error}") from None
        if text is not None and not text.strip() and entry["file"] is None:
            return None
        return None if text is None else text.encode("utf-8")

    def _entries(self) -> list[dict[str, Any]]:
        try:
            return list(json.loads(self._record.read_bytes()))
        except FileNotFoundError:
            return []
        except (ValueError, TypeError):
            raise OperatorError(f"{self._record} is damaged.", "The files beside it are what was there before.") from None


def _refused(path: Path, why: str) -> OperatorError:
    return OperatorError(f"{path} is left as it is: {why}.", "--print shows what belongs there.")


def _target(path: Path) -> Path:
    """The file that a path leads to through links. Raises OperatorError for links that lead in a circle."""
    try:
        return Path(os.path.realpath(path, strict=path.exists()))
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}.") from None


def _read(path: Path) -> bytes | None:
    target = _target(path)
    try:
        facts = target.stat()
        if not stat.S_ISREG(facts.st_mode):
            raise _refused(path, "it is not a file")
        if facts.st_size > _LARGEST:
            raise _refused(path, "it is too large for a configuration")
        return target.read_bytes()
    except FileNotFoundError:
        if path.is_symlink() and not target.parent.is_dir():
            raise _refused(path, f"it is a link to {target}, whose folder is not there") from None
        return None
    except OSError as error:
        raise OperatorError(f"{path} cannot be read: {error.strerror}.") from None


def _check_writable(path: Path) -> None:
    """By the mode, for the superuser too: who made a file read-only did not want it changed."""
    target = _target(path)
    if target.exists() and not stat.S_IMODE(target.stat().st_mode) & 0o222:
        raise _refused(path, "it is read-only")


def _write(path: Path, data: bytes, mode: int) -> None:
    """Replaces a file's bytes at once; `mode` is for one that is new."""
    target = _target(path)
    if target.exists():
        mode = stat.S_IMODE(target.stat().st_mode)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(mode)
            Path(name).replace(target)
        except OSError:
            Path(name).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise OperatorError(f"{path} cannot be written: {error.strerror}.", "--print shows what belongs there.") from None


def _private(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(path, data, 0o600)
    path.chmod(0o600)


def _missing(path: Path) -> list[Path]:
    """The folders that have to be made for a file, the outermost first."""
    folders = [folder for folder in path.parents if not folder.exists()]
    return folders[::-1]


def _digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
