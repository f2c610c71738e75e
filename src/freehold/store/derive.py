"""Models made from installed ones: the same files under another name, with another system message, parameters or template."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from freehold.errors import InvalidRequest, StoreError
from freehold.hardware.gguf import read_header
from freehold.store import disk
from freehold.store.manifest import File, Manifest, Role
from freehold.store.names import check_name
from freehold.store.ollama.messages import LONGEST_SYSTEM, examples
from freehold.store.ollama.parameters import parameters
from freehold.store.ollama.templates import translated
from freehold.store.staging import temporary
from freehold.store.store import Store, digest_of


@dataclass(frozen=True)
class Changes:
    """What is to be different; None leaves it. `parameters` are in Ollama's words, and change single ones; `messages`
    are turns of an example conversation; `adapter` is a LoRA for these weights, a GGUF file that is copied."""

    system: str | None = None
    template: str | None = None
    license: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: list[Any] | None = None
    adapter: Path | None = None


def derive(store: Store, base: Manifest, name: str, changes: Changes) -> Manifest:
    """Installs the model. Raises InvalidRequest for a name, parameters or a template that cannot be."""
    check_name(name)
    turns = base.examples if changes.messages is None else examples(changes.messages)
    if turns is None:
        raise InvalidRequest(
            "An example conversation is a list of turns, each with a role (system, user or assistant) and a text, of "
            f"{LONGEST_SYSTEM:,} characters in all.",
            param="messages",
            code="invalid_value",
        )
    settings = parameters(changes.parameters)
    if settings.notes:
        raise InvalidRequest(f"{settings.notes[0]} Leave them out.", param="parameters", code="invalid_value")
    made = replace(
        base,
        name=name,
        created=int(time.time()),
        sampling={**base.sampling, **settings.sampling},
        options={**base.options, **settings.options},
        system=base.system if changes.system is None else changes.system,
        examples=turns,
        license=base.license if changes.license is None else changes.license,
    )
    template = None if changes.template is None else _jinja(changes.template)
    if template is None and changes.adapter is None:
        store.save(made)
        return made
    if changes.adapter is not None:
        _check_adapter(changes.adapter, base)
    with disk.translated(), temporary(store.staging) as folder:
        new: dict[Role, Path] = {}
        if template is not None:
            new["chat_template"] = folder / "template.jinja"
            new["chat_template"].write_text(template, encoding="utf-8")
        if changes.adapter is not None:
            new["adapter"] = folder / "adapter.gguf"
            shutil.copyfile(changes.adapter, new["adapter"])
        return _with_files(store, made, new)


def _jinja(template: str) -> str:
    if "{%" in template:
        return template
    found, _ = translated(template)
    if found is None:
        raise InvalidRequest(
            "The template is in Go's language, and of a family that is not known here. Give it in Jinja, or leave it out: then "
            "the model's own is used.",
            param="template",
            code="invalid_value",
        )
    return found


def _with_files(store: Store, made: Manifest, new: Mapping[Role, Path]) -> Manifest:
    files = [file for file in made.files if file.role not in new]
    staged = {}
    for role, path in new.items():
        digest = digest_of(path)
        files.append(File(role, path.name, digest, path.stat().st_size))
        staged[digest] = path
    return store.install(replace(made, files=tuple(files)), staged)


def _check_adapter(path: Path, base: Manifest) -> None:
    """Raises InvalidRequest for a file that is no LoRA of the base's architecture (keys as convert_lora_to_gguf.py writes
    them)."""
    try:
        metadata = read_header(path).metadata
    except StoreError as error:
        raise InvalidRequest(f"The adapter cannot be read. {error.sentence}", param="adapters", code="invalid_value") from None
    if metadata.get("general.type") != "adapter" or metadata.get("adapter.type") != "lora":
        raise InvalidRequest("The adapter is no LoRA in GGUF.", param="adapters", code="invalid_value")
    kind = base.facts.architecture if base.facts else None
    if metadata.get("general.architecture") != kind:
        raise InvalidRequest(
            f"The adapter is for models of the architecture {str(metadata.get('general.architecture'))[:40]!a}; {base.name!r} "
            f"is {kind or 'of another engine'!a}.",
            param="adapters",
            code="invalid_value",
        )
