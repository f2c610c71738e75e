"""Sizes and spans of time as people write them."""

from __future__ import annotations

import re
from typing import Any

_SIZES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SPANS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400}


def bytes_in(value: Any) -> Any:
    """ "12 GiB" or "800MB" as bytes; what is no such text is given back as it is."""
    found = re.fullmatch(r"([0-9]{1,18}(?:\.[0-9]+)?)\s*([A-Za-z]*)", value.strip()) if isinstance(value, str) else None
    if found is None or found[2].upper() not in _SIZES:
        return value
    return int(float(found[1]) * _SIZES[found[2].upper()])


def seconds_in(value: Any) -> Any:
    """ "10m", "1h30m", "500ms" or "-1" as seconds; what is no such text is given back as it is."""
    text = re.sub(r"\s+(?=[a-z])", "", value.strip()) if isinstance(value, str) else ""
    if re.fullmatch(r"-?[0-9]{1,12}(?:\.[0-9]+)?", text):
        return float(text)
    if not re.fullmatch(r"-?(?:[0-9]{1,12}(?:\.[0-9]+)?(?:ms|[smhd])){1,5}", text):
        return value
    parts = re.findall(r"([0-9.]+)(ms|[smhd])", text)
    seconds = sum(float(number) * _SPANS[unit] for number, unit in parts)
    return -seconds if text.startswith("-") else seconds
