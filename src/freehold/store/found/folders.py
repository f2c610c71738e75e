"""Models that lie in folders under their own names: LM Studio's, llama.cpp's cache, and Hugging Face's.

LM Studio: `<publisher>/<repository>/<file>.gguf`. llama.cpp: `<file>.gguf`. huggingface_hub: `models--<org>--<repository>/`
with `refs/main`, a revision, and `snapshots/<revision>/<file>`, links to `blobs/<digest>` (huggingface_hub's own docs, "manage
the cache"); the blob of a large file is named by its sha256.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from freehold.store.found.candidate import Candidate, gguf_files, models_in, named
from freehold.store.parts import whole_name


def lmstudio(root: Path) -> Iterator[Candidate]:
    for candidate, projector in models_in(root, gguf_files(root, depth=3)):
        name = named("lmstudio", *_plain(candidate.paths[0]).split("/"))
        if name is not None:
            weights = tuple(root / path for path in candidate.paths)
            yield Candidate(name, "lmstudio", weights, root / projector if projector else None)


def llamacpp(root: Path) -> Iterator[Candidate]:
    """Projectors of this cache lie beside models of all kinds, so none is taken for a model's own."""
    for candidate, _ in models_in(root, gguf_files(root, depth=0)):
        name = named("llamacpp", _plain(candidate.paths[0]))
        if name is not None:
            yield Candidate(name, "llama.cpp", tuple(root / path for path in candidate.paths))


def hub(root: Path) -> Iterator[Candidate]:
    for repository in _listed(root):
        found = re.fullmatch(r"models--(?P<org>.+?)--(?P<repository>.+)", repository.name)
        snapshot = _snapshot(repository) if found else None
        if not found or snapshot is None:
            continue
        for candidate, projector in models_in(snapshot, gguf_files(snapshot, depth=2)):
            stem = _plain(candidate.paths[0]).replace("/", "-")
            head, tail = named("hf", found["org"], found["repository"]), named(stem)
            if head is None or tail is None:
                continue
            paths = [snapshot / path for path in (*candidate.paths, *((projector,) if projector else ()))]
            yield Candidate(
                f"{head}:{tail}",
                f"hf:{found['org']}/{found['repository']}",
                tuple(paths[: len(candidate.paths)]),
                paths[-1] if projector else None,
                {path: digest for path in paths if (digest := _digest(path)) is not None},
            )


def _plain(path: str) -> str:
    """Without the number of a part, and without the ending."""
    folder, _, name = path.rpartition("/")
    stem = re.sub(r"(?i)\.gguf$", "", whole_name(name))
    return f"{folder}/{stem}" if folder else stem


def _listed(root: Path) -> list[Path]:
    try:
        return sorted(root.iterdir())
    except OSError:
        return []


def _snapshot(repository: Path) -> Path | None:
    """The snapshot of the main branch, else the newest that is there."""
    try:
        revision = (repository / "refs" / "main").read_text(encoding="ascii", errors="replace")[:100].strip()
        if re.fullmatch(r"[0-9a-f]{40}", revision) and (repository / "snapshots" / revision).is_dir():
            return repository / "snapshots" / revision
    except OSError:
        pass
    snapshots = [path for path in _listed(repository / "snapshots") if path.is_dir()]
    return max(snapshots, key=lambda path: path.stat().st_mtime_ns, default=None)


def _digest(path: Path) -> str | None:
    try:
        name = path.resolve(strict=True).name
    except (OSError, RuntimeError):
        return None
    return f"sha256:{name}" if re.fullmatch(r"[0-9a-f]{64}", name) else None
