"""What is written down about an installed model: one small JSON file each."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from freehold.errors import InvalidRequest, StoreError
from freehold.hardware.facts import ModelFacts
from freehold.store.names import check_name

SCHEMA = 2  # 1 knew no files outside the store, no parts, no projector, no notes; it is still read
Role = Literal[
    "weights",
    "projector",
    "draft",
    "adapter",
    "chat_template",
    "encoder",
    "decoder",
    "joiner",
    "tokens",
    "voices",
    "lexicon",
    "vocoder",
    "part",
]
Task = Literal["chat", "embedding", "rerank", "decision", "transcription", "diarization", "speech", "image"]
Engine = Literal["llama.cpp", "fake", "sherpa-onnx", "espeak-ng", "diffusers", "pictogram", "external", "vllm"]

Example = tuple[Literal["system", "user", "assistant"], str]  # who speaks, and what

_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_INSIDE = re.compile(r"(?:\w[\w.+-]*/){0,8}\w[\w.+-]*", re.ASCII)
_STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class File:
    """A file of a model. `name` is for people; `size` is in bytes.

    In the store, its bytes are the blob of `digest` ("sha256:<64 hex>"). A file that is used where it lies has an absolute
    `path`, the time of its last change (`modified`, in ns since 1970), and a digest only where its owner names one.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    role: Role
    name: str
    digest: str | None
    size: Annotated[int, Field(gt=0)]
    path: Annotated[str, StringConstraints(pattern=r"^/[^\x00]*$")] | None = None
    modified: int | None = None

    def __post_init__(self) -> None:
        if self.digest is not None:
            check_digest(self.digest)  # it becomes part of a path
        elif self.path is None:
            raise StoreError(f"The file {self.name[:80]!a} has neither a digest nor a place.")
        if self.role == "part" and not _INSIDE.fullmatch(self.name):  # it becomes part of a path, too
            raise StoreError(f"{self.name[:200]!a} is not the path of a file in a model's folder.")

    @property
    def identity(self) -> str:
        """Tells these bytes from all others: their digest, else the place, size and last change of the file."""
        return self.digest or f"{self.path}:{self.size}:{self.modified}"


@dataclass(frozen=True)
class Manifest:
    """A model that can be run.

    Of role "weights" there may be several files: the parts of one model, in order. A model that is a folder has files of role
    "part", each with its path in that folder as its name; one whose engine brings all it needs has no files. `created` is Unix
    time in seconds; `sampling` the defaults its makers recommend, by the names of the API ("stop" holds strings); `dimensions`
    the sizes that its embeddings were trained to be cut to; `options` what the engine is told beside it ("context": tokens a
    request, as its makers set them; "memory_bytes": what a model without facts takes; "family": its kind, as its engine names
    it); `source` where it came from, never with a secret; `notes` say what of the source could not be honoured; `system` is the
    system message of chats that bring none, `examples` are turns that stand before what is said in any.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    name: str
    task: Task
    engine: Engine
    files: tuple[File, ...]
    source: str
    license: str | None
    created: int
    facts: ModelFacts | None = None
    sampling: Mapping[str, float | tuple[str, ...]] = field(default_factory=dict)
    dimensions: tuple[Annotated[int, Field(gt=0)], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    notes: tuple[str, ...] = ()
    system: str = ""
    examples: tuple[Example, ...] = ()

    def file(self, role: Role) -> File | None:
        """The file of that role; of several, the first."""
        return next(iter(self.all(role)), None)

    def all(self, role: Role) -> tuple[File, ...]:
        """The files of that role, in order."""
        return tuple(file for file in self.files if file.role == role)

    @property
    def size(self) -> int:
        """Bytes of all its files."""
        return sum(file.size for file in self.files)

    @property
    def in_place(self) -> bool:
        """Whether some of its files lie outside the store."""
        return any(file.path is not None for file in self.files)


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
    """The manifest in JSON text; `label` names the model in the StoreError that anything unexpected raises.

    Facts that a later version added take their defaults, and those of a later version than this are left out.
    """
    try:
        raw = json.loads(text)
        if not isinstance(raw, dict) or raw.pop("schema", None) not in range(1, SCHEMA + 1):
            raise ValueError(f"its form is not of version 1 to {SCHEMA}")
        if isinstance(facts := raw.get("facts"), dict):
            raw["facts"] = {name: value for name, value in facts.items() if name in _FACTS}
        manifest = _ADAPTER.validate_json(json.dumps(raw))
        check_name(manifest.name)
    except (ValueError, TypeError, RecursionError, InvalidRequest, StoreError) as error:
        raise StoreError(
            f"What is written down about the model {label} cannot be read ({_reason(error)}).",
            f"Remove it and pull it again: freehold rm {label}",
        ) from error
    return manifest


def _reason(error: Exception) -> str:
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"[:200]
    return str(error).rstrip(".")[:200]


_FACTS = {item.name for item in fields(ModelFacts)}
_ADAPTER = TypeAdapter(Manifest)
