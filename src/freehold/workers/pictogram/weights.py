"""The model's one file: safetensors (a length, a table in JSON, the numbers), read with numpy alone.

Matrices are kept as whole numbers of eight bits, with a factor for each of their rows beside them (`name.scale`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[Any]]  # of float32

_TYPES = {"F32": np.float32, "F16": np.float16, "I8": np.int8}
_LARGEST_TABLE = 1 << 20


class Unfit(Exception):
    """A file that is not loaded, and why."""


def load(path: Path) -> dict[str, Array]:
    """The numbers by name, all as float32. Raises Unfit."""
    try:
        data = path.read_bytes()
        size = int.from_bytes(data[:8], "little")
        if size > _LARGEST_TABLE:
            raise ValueError("its table is too large")
        table = json.loads(data[8 : 8 + size])
        table.pop("__metadata__", None)
        raw = {name: _tensor(data, 8 + size, entry) for name, entry in table.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise Unfit(f"its weights cannot be read: {error}") from None
    return {name: _real(name, raw) for name in raw if not name.endswith(".scale") or name == "code.scale"}


def _tensor(data: bytes, start: int, entry: Mapping[str, Any]) -> np.ndarray[Any, Any]:
    kind, shape = np.dtype(_TYPES[entry["dtype"]]), tuple(int(side) for side in entry["shape"])
    first, last = (int(each) for each in entry["data_offsets"])
    count = int(np.prod(shape, dtype=np.int64))
    if min(shape, default=0) < 0 or first < 0 or last - first != count * kind.itemsize or start + last > len(data):
        raise ValueError("its table does not fit its numbers")
    return np.frombuffer(data, kind, count, start + first).reshape(shape)


def _real(name: str, raw: Mapping[str, np.ndarray[Any, Any]]) -> Array:
    found = raw[name].astype(np.float32)
    return found * raw[f"{name}.scale"].astype(np.float32)[:, None] if raw[name].dtype == np.int8 else found
