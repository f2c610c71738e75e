"""Digests of files that came without one: what an address gave the first time is what it must give from then on."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from freehold.errors import StoreError
from freehold.store import disk
from freehold.store.locks import locked
from freehold.store.manifest import check_digest


class Pins:
    """The pins of one data folder, by address. An address may hold a secret, so it is not written down, only its digest."""

    def __init__(self, data_dir: Path):
        self._path = data_dir / "models" / "pins.json"
        self._lock = data_dir / "locks" / "%pins.lock"

    def get(self, address: str) -> str | None:
        """The sha256 (64 hex digits) that is pinned for an address. Raises StoreError when the pins cannot be read."""
        return self._read().get(_key(address))

    def put(self, address: str, sha256: str) -> None:
        """Pins, in place of what was pinned before."""
        with locked(self._lock):
            pins = self._read() | {_key(address): sha256}
            self._path.parent.mkdir(parents=True, exist_ok=True)
            disk.write_atomically(self._path, json.dumps({"schema": 1, "pins": pins}, indent=1, sort_keys=True) + "\n")

    def _read(self) -> dict[str, str]:
        try:
            pins = json.loads(self._path.read_text(encoding="utf-8"))["pins"]
            for digest in pins.values():
                check_digest(f"sha256:{digest}")
        except FileNotFoundError:
            return {}
        except (ValueError, LookupError, TypeError, AttributeError, StoreError):
            raise StoreError(
                "The pinned digests of earlier downloads (models/pins.json) cannot be read.",
                "Restore that file, or remove it to trust what comes next.",
            ) from None
        return dict(pins)


def _key(address: str) -> str:
    return hashlib.sha256(address.encode()).hexdigest()
