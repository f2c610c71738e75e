"""What becomes of damaged model files: refused by the reader, or given to a real worker. Shared by the tests and the soak."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from freehold.errors import BadModelFile
from freehold.hardware.shape import shape_of
from freehold.store.install import described, task_of
from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server
from tests.zoo.mutations import Mutation

LONGEST = 30.0  # seconds until a model that cannot serve has said so


@dataclass(frozen=True)
class Outcome:
    """`reason` is the reader's or the engine's; `seconds` is how long the answer took."""

    name: str
    kind: Literal["refused", "failed", "served"]
    reason: str
    seconds: float


def read(mutation: Mutation, path: Path) -> str | None:
    """Why the reader refuses the file, which it writes to `path`; None when it takes it. Any other error is a bug."""
    path.write_bytes(mutation.data)
    try:
        _, facts = described([path])
        task_of(facts)
        shape_of(facts)
    except BadModelFile as error:
        return error.message
    return None


def run(mutation: Mutation, server: Server, store: Store, folder: Path) -> Outcome:
    """Installs the file, asks it something, and removes it again."""
    path, began = folder / "m.gguf", time.monotonic()
    if reason := read(mutation, path):
        return Outcome(mutation.name, "refused", reason, time.monotonic() - began)
    name = mutation.name.lower().replace("<", "").replace(">", "")
    pull(store, str(path), name=name, on_progress=lambda progress: None)
    began = time.monotonic()
    if mutation.embeds:
        status, _, body = server.post("/v1/embeddings", {"model": name, "input": "hello"}, timeout=2 * LONGEST)
    else:
        status, _, body = server.chat("hello", model=name, max_tokens=4)
    taken = time.monotonic() - began
    if status == 200:
        outcome = Outcome(name, "served", "", taken)
    else:
        assert status in (400, 502, 503), (name, status, body)
        assert body["error"]["message"], name
        outcome = Outcome(name, "failed", f"{status}: {body['error']['message']}", taken)
    assert server.request("DELETE", f"/v1/models/{name}")[0] == 200
    return outcome
