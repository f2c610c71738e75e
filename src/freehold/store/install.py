"""The one way into the store: what the files must be, and what is written down about them."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freehold.errors import BadModelFile
from freehold.hardware.facts import ModelFacts, facts_of
from freehold.hardware.gguf import Header, read_header
from freehold.store.manifest import File, Manifest, Task
from freehold.store.parts import merged
from freehold.store.progress import OnProgress, Progress
from freehold.store.staged import Part, Staged
from freehold.store.store import Store, digest_of

_EMBEDDING_ONLY = frozenset(
    {"bert", "nomic-bert", "nomic-bert-moe", "jina-bert-v2", "jina-bert-v3", "modern-bert", "t5encoder"}
)

_HEADLESS = "The model is said to rank documents, but its file has no head that gives one score."
_OTHER_FILE = "Its converter left the head out, or it is a classifier of another kind; choose another file of it."

_CHATML = "It brings no chat template, so chats are put to it as ChatML, which it may not have learnt."


def install(store: Store, model: str, staged: Staged, report: OnProgress) -> Manifest:
    """Reads the headers of the bytes that will be served, then moves all into the store at once.

    Raises BadModelFile for files that are no model. What is there already is left as it is.
    """
    report(Progress("install", 0, None))
    paths = {part: part.where(store) for part in staged.parts}
    files = [File(part.role, part.name, part.digest, path.stat().st_size) for part, path in paths.items()]
    moved = {part.digest: part.path for part in staged.parts if part.path is not None}
    if staged.terms.engine == "llama.cpp":
        manifest = _of_gguf(model, staged, paths, files, moved)
    else:
        manifest = _manifest(model, staged, None, None, tuple(files))
    if store.has(model) and _same(store.get(model), manifest):
        return store.get(model)  # a server goes on with the worker that it has
    return store.install(manifest, moved)


def _of_gguf(model: str, staged: Staged, paths: Mapping[Part, Path], files: list[File], moved: dict[str, Path]) -> Manifest:
    header, facts = described([path for part, path in paths.items() if part.role == "weights"])
    for part, path in paths.items():
        if part.role == "projector":
            check_projector(path)
        elif part.role == "draft":
            facts_of(read_header(path), path.stat().st_size)
    text = staged.template or (staged.fallback if facts.chat_template is None else None)
    if text is not None:
        files.append(_template(text, staged.folder, moved))
    return _manifest(model, staged, header, facts, tuple(files))


def described(weights: list[Path]) -> tuple[Header, ModelFacts]:
    """What the weights of a model say, all parts together."""
    header = merged([read_header(path) for path in weights])
    return header, facts_of(header, sum(path.stat().st_size for path in weights))


def task_of(facts: ModelFacts) -> Task:
    """What a model file is for. Raises BadModelFile for a reranker without the part that scores."""
    if facts.decision:
        return "decision"
    if facts.score:
        return "rerank"
    if facts.pooling == "rank":
        raise BadModelFile(_HEADLESS, _OTHER_FILE)
    if facts.pooling not in (None, "none") or facts.architecture in _EMBEDDING_ONLY:
        return "embedding"
    return "chat"


def license_in(metadata: Mapping[str, Any]) -> str | None:
    """The licence that a GGUF file names."""
    found = metadata.get("general.license")
    return found[:100] if isinstance(found, str) else None


def check_projector(path: Path) -> None:
    """Raises BadModelFile for a file that does not turn images into tokens (GGUF architecture "clip" in llama.cpp)."""
    metadata = read_header(path).metadata
    if metadata.get("general.architecture") != "clip":
        raise BadModelFile("The projector is of a kind that no engine here runs.", "It is a GGUF file named mmproj….")
    if metadata.get("clip.has_vision_encoder") is False:
        raise BadModelFile("The projector is for sound, which no endpoint here takes.", "Choose a model without it.")


def _template(text: str, folder: Path, moved: dict[str, Path]) -> File:
    """A chat template as a file of its own, staged with the others."""
    path = folder / "template.jinja"
    path.write_text(text, encoding="utf-8")
    digest = digest_of(path)
    moved[digest] = path
    return File("chat_template", path.name, digest, path.stat().st_size)


def _manifest(model: str, staged: Staged, header: Header | None, facts: ModelFacts | None, files: tuple[File, ...]) -> Manifest:
    terms = staged.terms
    task = terms.task or (task_of(facts) if facts else None)
    if task is None:
        raise BadModelFile("The files do not say what the model is for.", "Choose a model of the catalogue: freehold models")
    if task == "rerank" and facts is not None and not facts.score:
        raise BadModelFile(_HEADLESS, _OTHER_FILE)
    untold = facts is not None and facts.chat_template is None
    speechless = task == "chat" and untold and all(file.role != "chat_template" for file in files)
    return Manifest(
        name=model,
        task=task,
        engine=terms.engine,
        files=files,
        source=terms.source,
        license=terms.license or (license_in(header.metadata) if header else None),
        created=int(time.time()),
        facts=facts,
        sampling=terms.sampling,
        options=terms.options,
        description=terms.description,
        system=terms.system,
        examples=terms.examples,
        notes=(*terms.notes, _CHATML) if speechless else terms.notes,
    )


def _same(old: Manifest, new: Manifest) -> bool:
    def of(manifest: Manifest) -> tuple[Any, ...]:
        files = sorted((file.role, file.digest or "") for file in manifest.files)
        return (
            files,
            manifest.source,
            dict(manifest.sampling),
            dict(manifest.options),
            manifest.system,
            manifest.examples,
            manifest.task,
        )

    return of(old) == of(new)
