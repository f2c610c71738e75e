"""What is written down about an installed model: one small JSON file each."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal, get_args

from freehold.errors import InvalidRequest, StoreError
from freehold.hardware.facts import ModelFacts
from freehold.store.names import check_name

SCHEMA = 1
Role = Literal["weights", "chat_template"]
Task = Literal["chat", "embedding"]
Engine = Literal["llama.cpp", "fake"]

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


@dataclass(frozen=True)
class File:
    """A file of a model. `name` is for people; its bytes are the blob of `digest` ("sha256:<64 hex>"). `size` is in bytes."""

    role: Role
    name: str
    digest: str
    size: int

    def __post_init__(self) -> None:
        check_digest(self.digest)  # it becomes part of a path


@dataclass(frozen=True)
class Manifest:
    """An installed model.

    `created` is Unix time in seconds; `sampling` the defaults its makers recommend; `dimensions` the sizes that its embeddings
    were trained to be cut to; `options` what the engine is told beside it; `source` where it came from, never with a secret.
    """

    name: str
    task: Task
    engine: Engine
    files: tuple[File, ...]
    source: str
    license: str | None
    created: int
    facts: ModelFacts | None = None
    sampling: Mapping[str, float] = field(default_factory=dict)
    dimensions: tuple[int, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""

    def file(self, role: Role) -> File | None:
        return next((file for file in self.files if file.role == role), None)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)


def check_digest(digest: str) -> str:
    """The digest itself, when it is "sha256:" and 64 small hex digits. Raises StoreError for anything else."""
    if not _DIGEST.fullmatch(digest):
        raise StoreError(f"{digest[:80]!a} is not a sha256 digest.")
    return digest


def sha256_in(text: str) -> str:
    """The 64 small hex digits in what a person gives as a sha256. Raises StoreError for anything else."""
    digits = text.strip().lower().removeprefix("sha256:")
    if not _DIGEST.fullmatch(f"sha256:{digits}"):
        raise StoreError(f"{text[:80]!a} is not a sha256 digest.", "It has 64 hex digits.")
    return digits


def dumps(manifest: Manifest) -> str:
    """The manifest as JSON text, with the version of its form."""
    plain = {item.name: getattr(manifest, item.name) for item in fields(manifest)}
    plain["files"] = [asdict(file) for file in manifest.files]
    plain["facts"] = asdict(manifest.facts) if manifest.facts else None
    plain["sampling"], plain["options"] = dict(manifest.sampling), dict(manifest.options)
    return json.dumps({"schema": SCHEMA, **plain}, indent=1, sort_keys=True, allow_nan=False) + "\n"


def loads(text: str, label: str) -> Manifest:
    """The manifest in JSON text; `label` names the model in the StoreError that anything unexpected raises."""
    try:
        return _manifest(json.loads(text))
    except (ValueError, TypeError, KeyError, RecursionError, InvalidRequest, StoreError) as error:
        raise StoreError(
            f"What is written down about the model {label} cannot be read ({_reason(error)}).",
            f"Remove it and pull it again: freehold rm {label}",
        ) from error


def _reason(error: Exception) -> str:
    return f"no {error}" if isinstance(error, KeyError) else str(error).rstrip(".")[:200]


def _manifest(data: Any) -> Manifest:
    raw = _exactly(data, "the manifest", {"schema", *(item.name for item in fields(Manifest))})
    if raw.pop("schema") != SCHEMA:
        raise ValueError(f"its form is not version {SCHEMA}")
    return Manifest(
        name=check_name(_is(raw, "name", str)),
        task=_one_of(raw, "task", get_args(Task)),
        engine=_one_of(raw, "engine", get_args(Engine)),
        files=tuple(_file(item) for item in _is(raw, "files", list)),
        source=_is(raw, "source", str),
        license=None if raw["license"] is None else _is(raw, "license", str),
        created=_is(raw, "created", int),
        facts=None if raw["facts"] is None else _facts(raw["facts"]),
        sampling={key: _number(value) for key, value in _is(raw, "sampling", dict).items()},
        dimensions=tuple(_positive(item) for item in _is(raw, "dimensions", list)),
        options=_is(raw, "options", dict),
        description=_is(raw, "description", str),
    )


def _file(data: Any) -> File:
    raw = _exactly(data, "a file", {item.name for item in fields(File)})
    role: Role = _one_of(raw, "role", get_args(Role))
    return File(role, _is(raw, "name", str), _is(raw, "digest", str), _positive(raw["size"]))


def _facts(data: Any) -> ModelFacts:
    raw = _exactly(data, "facts", {item.name for item in fields(ModelFacts)})
    expected: Mapping[str, Callable[[str], Any]] = {
        "int": lambda key: _is(raw, key, int),
        "str": lambda key: _is(raw, key, str),
        "str | None": lambda key: None if raw[key] is None else _is(raw, key, str),
    }
    return ModelFacts(**{item.name: expected[str(item.type)](item.name) for item in fields(ModelFacts)})


def _exactly(data: Any, what: str, keys: set[str]) -> dict[str, Any]:
    if not isinstance(data, dict):
        raise TypeError(f"{what} is not an object")
    if odd := data.keys() ^ keys:
        raise ValueError(f"{what} lacks or has too much: {', '.join(sorted(odd))}")
    return dict(data)


def _is(raw: Mapping[str, Any], key: str, kind: type) -> Any:
    if type(raw[key]) is not kind:  # not isinstance: true is no number here
        raise TypeError(f"{key} is not of type {kind.__name__}")
    return raw[key]


def _one_of(raw: Mapping[str, Any], key: str, choices: tuple[str, ...]) -> Any:
    if raw[key] not in choices:
        raise ValueError(f"{key} is none of {', '.join(choices)}")
    return raw[key]


def _number(value: Any) -> float:
    if type(value) not in (int, float):
        raise TypeError("a sampling value is not a number")
    return float(value)


def _positive(value: Any) -> int:
    if type(value) is not int or value < 1:
        raise TypeError("a size is not a positive integer")
    return value
