"""The quickest that this machine's memory has been seen at. A busy machine's memory is slow at the moment; a choice of models
is for longer than that.

    data_dir/machine/<fingerprint>.json     {"schema", "bandwidth": bytes a second, "measured": Unix time}
"""

from __future__ import annotations

import datetime
import json
import math
from dataclasses import dataclass
from pathlib import Path

from freehold.hardware import records
from freehold.telemetry import log

SCHEMA = 1
_LARGEST_FILE = 1 << 12
_MOST = 1e14  # bytes a second; no machine's memory is quicker


@dataclass(frozen=True)
class Seen:
    """`bandwidth` in bytes a second, `measured` in Unix time."""

    bandwidth: float
    measured: float

    @property
    def day(self) -> str:
        """The date, in UTC: "2026-11-25"."""
        return f"{datetime.datetime.fromtimestamp(self.measured, datetime.UTC):%Y-%m-%d}"


def quickest(data_dir: Path, machine: str, now: Seen) -> Seen:
    """`now`, or what was seen earlier on the machine of that fingerprint where that was quicker. The quicker one is kept.

    A file that cannot be read or makes no sense counts for nothing; one that cannot be written costs the memory of it.
    """
    path = data_dir / "machine" / f"{machine}.json"
    before = _read(path)
    if before is not None and before.bandwidth >= now.bandwidth:
        return before
    try:
        records.write(path, {"schema": SCHEMA, "bandwidth": now.bandwidth, "measured": now.measured})
    except OSError as error:
        log("the memory's speed is not kept", level=30, reason=str(error.strerror or error))
    return now


def _read(path: Path) -> Seen | None:
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError("it is too large")
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise ValueError(f"its form is not version {SCHEMA}")
        found = Seen(float(values["bandwidth"]), float(values["measured"]))
        if not (0 < found.bandwidth < _MOST and 0 <= found.measured < 1 << 36 and math.isfinite(found.measured)):
            raise ValueError("its figures make no sense")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        log("the memory's speed of earlier is ignored", level=30, file=path.name, reason=str(error)[:200])
        return None
    return found
