"""The models themselves, for Ollama's clients: what there is, what is loaded; pulling, making, copying and deleting them."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Scope

from freehold.errors import Conflict, InvalidRequest, NotSupported, StoreError
from freehold.gateway.http import Json
from freehold.gateway.inference import received
from freehold.gateway.models import model_card, remove
from freehold.gateway.ollama import LATEST, find_tagged, tagged
from freehold.gateway.services import Services
from freehold.gateway.stream import Told
from freehold.protocol.framing import LINES
from freehold.protocol.ollama import models as told
from freehold.protocol.requests.ollama_library import CopyBody, CreateBody, DeleteBody, PullBody, ShowBody
from freehold.routing.catalog import Entry
from freehold.routing.pulls import Pull
from freehold.store import catalogue
from freehold.store.derive import Changes, derive
from freehold.store.manifest import Manifest
from freehold.store.names import check_name, is_path
from freehold.store.ollama.modelfile import modelfile
from freehold.store.starter import STARTERS
from freehold.store.uploads import Uploads

_TASKS = ("chat", "embedding")
_STAGES = {"verify": "verifying sha256 digest", "convert": "converting", "install": "writing manifest"}


async def tags(services: Services, request: Request) -> Response:
    """The installed models that Ollama's clients can use."""
    entries = await asyncio.to_thread(lambda: list(services.catalog.entries()))
    rows = [_row(services, entry) for entry in entries if entry.manifest.task in _TASKS]
    return Json({"models": rows})


async def show(services: Services, request: Request) -> Response:
    asked = (await received(services, request, ShowBody)).value
    entry = find_tagged(services, asked.model)
    manifest = entry.manifest
    card = model_card(services, entry)
    template = entry.template
    if entry.target.capabilities & {"fim", "fim_by_chat"}:
        template += told.FILLS_IN
    parameters = told.parameter_lines(manifest.sampling, manifest.options.get("context"))
    thinks = bool(entry.target.capabilities & {"thinking", "reasoning_effort"})
    return Json(
        {
            "license": manifest.license or "",
            "modelfile": told.modelfile_of(tagged(manifest.name), template, manifest.system, parameters, manifest.examples),
            "parameters": parameters,
            "template": template,
            "system": manifest.system,
            "messages": [{"role": role, "content": content} for role, content in manifest.examples],
            "details": told.details(card, _family(entry)),
            "model_info": _model_info(entry),
            "capabilities": told.capabilities(card["capabilities"], thinks),
            "modified_at": told.moment(manifest.created),
        }
    )


def loaded(services: Services) -> list[dict[str, Any]]:
    """The models in memory; the part of /api/ps that Ollama's clients read."""
    rows = []
    for worker in services.supervisor.status():
        if worker.state != "ready" or services.store.stamp(worker.model) is None:
            continue
        entry = services.catalog.resolve(worker.model)
        planned = (worker.plan or {}).get("bytes") or {}
        stays = services.scheduler.stays(worker.model)
        row = _row(services, entry)
        del row["modified_at"]
        rows.append(
            row
            | {
                "size": sum(planned.values()),
                "size_vram": sum(count for device, count in planned.items() if device != "host"),
                "expires_at": told.moment(None if stays is None else time.time() + stays),
                "context_length": worker.context,
            }
        )
    return rows


async def pull(services: Services, request: Request) -> Response:
    asked = (await received(services, request, PullBody)).value
    running = services.pulls.begin(_reference(services, asked.model), name=None)
    if asked.stream is not False:
        return _pulled(services, running)
    await services.pulls.wait(running)
    if running.error is not None:
        raise running.error
    return Json({"status": "success"})


async def copy(services: Services, request: Request) -> Response:
    asked = (await received(services, request, CopyBody)).value
    source = find_tagged(services, asked.source).manifest
    name = _new_name(services, asked.destination)
    await asyncio.to_thread(services.store.save, replace(source, name=name))
    return Response()


async def delete(services: Services, request: Request) -> Response:
    asked = (await received(services, request, DeleteBody)).value
    name = find_tagged(services, asked.model).manifest.name
    if asked.model.removesuffix(LATEST) != name.removesuffix(LATEST):
        raise InvalidRequest(f"{asked.model!r} only stands for {name!r}; delete that by its own name.", param="model")
    await remove(services, name)
    return Response()


async def create(services: Services, request: Request) -> Response:
    asked: CreateBody = (await received(services, request, CreateBody)).value
    base, changes = _wanted(asked)
    name = _new_name(services, asked.model)
    if asked.files:
        source = await _from_file(services, name, _sent(services, asked.files, "files"))
    elif base:
        source = find_tagged(services, base).manifest
    else:
        raise InvalidRequest("Missing required parameter: 'from'.", param="from", code="missing_required_parameter")
    if asked.adapters:
        changes = replace(changes, adapter=_sent(services, asked.adapters, "adapters"))
    await asyncio.to_thread(derive, services.store, source, name, changes)
    if asked.stream is False:
        return Json({"status": "success"})
    lines = ({"status": "using existing layers"}, {"status": "writing manifest"}, {"status": "success"})
    return Response(LINES.frames(lines), media_type=LINES.content_type)


async def push(services: Services, request: Request) -> Response:
    raise NotSupported("This server uploads no models.")


def on_ollamas_port(services: Services, scope: Scope) -> bool:
    """Whether a request came by the port for clients that look for Ollama."""
    return bool(services.settings.ollama_port) and scope["server"][1] == services.settings.ollama_port


def _wanted(asked: CreateBody) -> tuple[str | None, Changes]:
    """What to make it from, and what is to be different: from the Modelfile, then from the fields."""
    given = modelfile(asked.modelfile or "")
    licence = "\n".join(asked.license) if isinstance(asked.license, list) else asked.license
    changes = Changes(
        system=given.system if asked.system is None else asked.system,
        template=(given.template if asked.template is None else asked.template) or None,
        license=(given.license if licence is None else licence) or None,
        parameters={**given.parameters, **(asked.parameters or {})},
        messages=(given.messages if asked.messages is None else asked.messages) or None,
    )
    return asked.from_ or given.base, changes


def _sent(services: Services, files: Mapping[str, str], param: str) -> Path:
    """The one file that was sent before. Raises InvalidRequest when it was not, or too long ago."""
    try:
        return Uploads(services.store.data_dir).path(next(iter(files.values())))
    except StoreError as error:
        raise InvalidRequest(error.sentence, param=param, code="invalid_value") from None


async def _from_file(services: Services, name: str, path: Path) -> Manifest:
    """A model of that file, under that name."""
    running = services.pulls.begin(str(path), name=name)
    await services.pulls.wait(running)
    if running.error is not None:
        raise InvalidRequest(running.error.sentence, param="files", code="invalid_value")
    return services.store.get(name)


def _new_name(services: Services, name: str) -> str:
    """Where a model may be put. Raises InvalidRequest for no name, or that of an alias; Conflict while who has it is busy."""
    name = check_name(name.removesuffix(LATEST))
    if services.catalog.real_name(name) != name:
        raise InvalidRequest(f"{name!r} is an alias; choose another name.", param="model", code="invalid_value")
    if busy := services.scheduler.busy(name):
        raise Conflict(f"The model {name!r} is answering {busy} requests; replace it when they are done.", param="model")
    return name


def _reference(services: Services, name: str) -> str:
    """What is pulled under a name: a model that is known here by it, else one of Ollama's registry."""
    if is_path(name) or "://" in name:
        raise InvalidRequest("A model is pulled by its name; for a file or an address: freehold pull.", param="model")
    name = name.removesuffix(LATEST)
    if name.startswith(("hf.co/", "huggingface.co/")):
        return name
    check_name(name)
    known = name in STARTERS or catalogue.load(services.store.data_dir).find(name) is not None
    return name if known else f"ollama:{name}"


def _row(services: Services, entry: Entry) -> dict[str, Any]:
    manifest, name = entry.manifest, tagged(entry.manifest.name)
    return {
        "name": name,
        "model": name,
        "modified_at": told.moment(manifest.created),
        "size": manifest.size,
        "digest": _digest(manifest),
        "details": told.details(model_card(services, entry), _family(entry)),
    }


def _digest(manifest: Manifest) -> str:
    """That of its weights."""
    weights = manifest.file("weights")
    return (weights.digest if weights and weights.digest else "").removeprefix("sha256:")


def _family(entry: Entry) -> str:
    return entry.manifest.facts.architecture if entry.manifest.facts else ""


def _model_info(entry: Entry) -> dict[str, Any]:
    """Keys of the file, by their own names (GGUF)."""
    facts = entry.manifest.facts
    if facts is None:
        return {}
    kind = facts.architecture
    return {
        "general.architecture": kind,
        "general.parameter_count": facts.parameters,
        f"{kind}.context_length": facts.context_length,
        f"{kind}.embedding_length": facts.embedding_length,
        f"{kind}.block_count": facts.block_count,
        f"{kind}.attention.head_count": facts.head_count,
        f"{kind}.attention.head_count_kv": facts.head_count_kv,
        f"{kind}.vocab_size": facts.vocab_size,
    }


def _pulled(services: Services, pull: Pull) -> Response:
    """A pull as Ollama's lines of progress."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        line: dict[str, Any] = {"status": "pulling manifest"}
        yield LINES.encode(line)
        async with contextlib.aclosing(services.pulls.watch(pull)) as states:
            async for state in states:
                if state is not None and (progress := state["progress"]):
                    line = _progress(pull.reference, progress)
                yield LINES.encode(line)
        error = pull.error or StoreError("The pull was cancelled.")
        yield LINES.encode({"status": "success"} if pull.state == "done" else {"error": error.sentence})

    return Told(pieces(), services.settings.timeouts.write, LINES.content_type)


def _progress(reference: str, progress: dict[str, Any]) -> dict[str, Any]:
    """`digest` is what clients tell bars of progress apart by."""
    if progress["stage"] != "download":
        return {"status": _STAGES[progress["stage"]]}
    line = {"status": f"pulling {reference}", "digest": reference, "completed": progress["done"]}
    return line if progress["total"] is None else {**line, "total": progress["total"]}
