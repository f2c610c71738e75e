"""/v1/models: the installed models, described so that every client that reads the list finds its own fields."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from freehold.errors import Conflict, InvalidRequest, ModelNotFound, ModelPulling
from freehold.fleet.remote import UNTOLD
from freehold.gateway.dialects import speaks_anthropic
from freehold.gateway.http import Json
from freehold.gateway.outlook import outlook
from freehold.gateway.services import Services
from freehold.protocol.anthropic.models import model_info, model_page
from freehold.protocol.values import Target
from freehold.routing.catalog import Entry
from freehold.store.manifest import Manifest

# What models of a task take and give, where it is not text.
_TAKES = {"transcription": "audio", "diarization": "audio"}
_GIVES = {"embedding": "embeddings", "rerank": "score", "decision": "score", "speech": "audio", "image": "image"}
_CAPABILITIES = (
    *("completion", "chat", "tools", "vision", "fim", "fim_by_chat", "embeddings", "rerank", "moderation", "decision"),
)


def model_card(services: Services, entry: Entry) -> dict[str, Any]:
    """OpenAI's four fields, then the superset that IDEs and SDKs look for. No path of this machine is in it."""
    manifest, target = entry.manifest, served_as(services, entry)
    facts = manifest.facts
    context = told_context(target)
    return {
        "id": manifest.name,
        "object": "model",
        "created": manifest.created,
        "owned_by": "freehold",
        "type": "base",  # as opposed to Mistral's fine-tuned ones: its clients know a card by it
        "task": manifest.task,
        "engine": manifest.engine,
        "max_model_len": context,
        "context_length": context,
        "max_input_tokens": context,
        "max_output_tokens": context if target.task == "chat" else 0,
        "meta": _meta(manifest, context),
        "architecture": _modalities(target),
        "capabilities": {name: name in target.capabilities for name in _CAPABILITIES},
        "parent": None,
        "status": {"value": _state(services, manifest.name)},
        **({"image": outlook(services, entry).card()} if target.task == "image" else {}),
        "aliases": services.catalog.aliases_of(manifest.name),
        "license": manifest.license,
        "quantization": facts.quantization if facts else None,
        "source": manifest.source,
        "description": manifest.description,
        "system": manifest.system,
        "notes": manifest.notes,
        "tuned": entry.deployment.plan.tuned or None,
        "via": services.supervisor.via(manifest.name),
    }


def _modalities(target: Target) -> dict[str, list[str]]:
    return {
        "input_modalities": ["text", "image"] if "vision" in target.capabilities else [_TAKES.get(target.task, "text")],
        "output_modalities": [_GIVES.get(target.task, "text")],
    }


def told_context(target: Target) -> int | None:
    """Tokens a request; None of an engine elsewhere that has not said yet."""
    return None if target.context == UNTOLD and target.external else target.context


def _meta(manifest: Manifest, context: int | None) -> dict[str, int | None]:
    """llama.cpp's own words for a model's sizes."""
    facts = manifest.facts
    return {
        "n_ctx": context,
        "n_ctx_train": facts.context_length if facts else context,
        "n_params": facts.parameters if facts else 0,
        "size": manifest.size,
        "n_vocab": facts.vocab_size if facts else 0,
        "n_embd": facts.embedding_length if facts else 0,
    }


def served_as(services: Services, entry: Entry) -> Target:
    """What a request may ask of a model now: less than planned where its worker met the end of memory and runs with less."""
    plan = services.supervisor.effective(entry.manifest.name)
    if plan is None or plan is entry.deployment.plan:
        return entry.target
    return replace(entry.target, context=plan.context, slots=plan.slots)


async def list_models(services: Services, request: Request) -> Response:
    everything = request.query_params.get("all", "false")
    if everything not in ("true", "false"):
        raise InvalidRequest("The parameter 'all' is true or false.", param="all")
    entries = await asyncio.to_thread(lambda: list(services.catalog.entries(everything == "true")))  # headers may be read
    cards = [model_card(services, entry) for entry in entries]
    return Json(model_page(cards) if speaks_anthropic(request.headers) else {"object": "list", "data": cards})


async def get_model(services: Services, request: Request) -> Response:
    card = model_card(services, find(services, request.path_params["model"]))
    return Json(model_info(card) if speaks_anthropic(request.headers) else card)


async def delete_model(services: Services, request: Request) -> Response:
    """Stops the worker and removes the files. Raises Conflict while it answers somebody, InvalidRequest for an alias."""
    asked = request.path_params["model"]
    name = find(services, asked).manifest.name
    if asked != name:
        raise InvalidRequest(f"{asked!r} only stands for {name!r}; delete that by its own name.", param="model")
    await remove(services, name)
    return Json({"id": name, "object": "model", "deleted": True})


async def remove(services: Services, name: str) -> None:
    """Ends an installed model's worker and removes its files. Raises Conflict while it answers somebody, InvalidRequest for a
    model of another program, or of an engine elsewhere."""
    if services.store.stamp(name) is None and services.catalog.is_external(name):
        raise InvalidRequest(f"{name!r} is the model of an external engine: take it out of the settings.", param="model")
    if services.store.stamp(name) is None:
        raise InvalidRequest(f"{name!r} is another program's model; only that one removes it.", param="model")
    busy = services.scheduler.busy(name)
    if busy:
        raise Conflict(f"The model {name!r} is answering {busy} requests; delete it when they are done.", param="model")
    await services.scheduler.unload(name)
    services.scheduler.forget(name)
    services.supervisor.forget(name)
    services.store.remove(name)


def find(services: Services, name: str) -> Entry:
    """The model behind a name. Raises ModelPulling for one on its way, ModelNotFound for one that is not here."""
    try:
        return services.catalog.resolve(name)
    except ModelNotFound:
        services.pulls.check(services.catalog.real_name(name))
        raise


def _state(services: Services, name: str) -> str:
    try:
        services.pulls.check(name)
    except ModelPulling:
        return "pulling"
    match services.supervisor.state(name):
        case None:
            return "unloaded"
        case "ready":
            return "loaded"
        case other:
            return other
