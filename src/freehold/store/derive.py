"""Models made from installed ones: the same files under another name, with another system message, parameters or template."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from freehold.errors import InvalidRequest
from freehold.store import disk
from freehold.store.manifest import File, Manifest
from freehold.store.names import check_name
from freehold.store.ollama.messages import LONGEST_SYSTEM, examples
from freehold.store.ollama.parameters import parameters
from freehold.store.ollama.templates import translated
from freehold.store.staging import temporary
from freehold.store.store import Store


@dataclass(frozen=True)
class Changes:
    """What is to be different; None leaves it. `parameters` are in Ollama's words, and change single ones; `messages`
    are turns of an example conversation."""

    system: str | None = None
    template: str | None = None
    license: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    messages: list[Any] | None = None


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
    if changes.template is None:
        store.save(made)
        return made
    return _with_template(store, made, _jinja(changes.template))


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


def _with_template(store: Store, made: Manifest, text: str) -> Manifest:
    data = text.encode()
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    file = File("chat_template", "template.jinja", digest, len(data))
    files = (*(old for old in made.files if old.role != "chat_template"), file)
    with disk.translated(), temporary(store.staging) as folder:
        staged = folder / file.name
        staged.write_bytes(data)
        return store.install(replace(made, files=files), {digest: staged})
