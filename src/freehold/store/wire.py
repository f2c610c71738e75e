"""What a pulling child process says on its stdout: a JSON object a line.

{"progress": {"stage", "done", "total", "rate_bytes_per_s", "eta_s"}}
{"installed": "<name>"}     {"error": {"message", "remedy", "kind"}}
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, get_args

from freehold.errors import BadModelFile, DigestMismatch, DiskFull, NotInstalled, SourceUnreachable, StoreError
from freehold.store.progress import Progress, Stage

_KINDS: Mapping[str, type[StoreError]] = MappingProxyType(
    {kind.__name__: kind for kind in (StoreError, BadModelFile, DigestMismatch, SourceUnreachable, DiskFull, NotInstalled)}
)


@dataclass(frozen=True)
class Installed:
    """The pull ended well: the model's name."""

    name: str


_STAGES = get_args(Stage)

Message = Progress | Installed | StoreError


def encode(message: Message) -> str:
    """The message as one line, without its end."""
    match message:
        case Progress():
            body: dict[str, Any] = {"progress": asdict(message)}
        case Installed():
            body = {"installed": message.name}
        case StoreError():
            kind = type(message).__name__
            body = {"error": {"message": message.message, "remedy": message.remedy, "kind": kind}}
    return json.dumps(body)


def decode(line: str) -> Message | None:
    """The message in a line; None for a line that is none, such as one of a traceback."""
    try:
        match json.loads(line):
            case {"progress": dict(fields)}:
                return _progress(fields)
            case {"installed": str(name)}:
                return Installed(name)
            case {"error": {"message": str(message), "remedy": str(remedy), "kind": str(kind)}}:
                return _KINDS.get(kind, StoreError)(message, remedy)
    except ValueError:
        pass
    return None


def _progress(fields: dict[str, Any]) -> Progress | None:
    stage, done = next((stage for stage in _STAGES if stage == fields.get("stage")), None), fields.get("done")
    if stage is None or type(done) is not int:
        return None
    return Progress(stage, done, fields.get("total"), fields.get("rate_bytes_per_s"), fields.get("eta_s"))
