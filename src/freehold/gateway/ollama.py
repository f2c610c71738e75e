"""What Ollama's clients ask of a model: /api/chat, /api/generate, /api/embed, /api/embeddings."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from freehold.errors import ModelNotFound
from freehold.gateway.fim import FilledAnswer
from freehold.gateway.http import Json
from freehold.gateway.inference import answered, received
from freehold.gateway.loading import bring_in, take_out
from freehold.gateway.models import find
from freehold.gateway.services import Services
from freehold.protocol.ollama.joiner import as_message, as_response, now
from freehold.protocol.ollama.plan import chat_lines_plan, embed_plan, generate_plan
from freehold.protocol.requests.ollama import ChatBody, EmbedBody, EmbeddingsBody, GenerateBody, OllamaRequest
from freehold.routing.catalog import Entry

LATEST = ":latest"  # the tag of a name that has none


async def chat(services: Services, request: Request) -> Response:
    asked = await received(services, request, ChatBody)
    if not asked.value.messages:
        return await _only_loaded(services, asked.value, as_message("", "", []))
    return await answered(services, request, asked, chat_lines_plan, resolve=find_tagged)


async def generate(services: Services, request: Request) -> Response:
    asked = await received(services, request, GenerateBody)
    if not asked.value.prompt and not asked.value.suffix:
        return await _only_loaded(services, asked.value, as_response("", "", []))
    return await answered(services, request, asked, generate_plan, resolve=find_tagged, made=FilledAnswer)


async def embed(services: Services, request: Request) -> Response:
    asked = await received(services, request, EmbedBody)
    if not asked.value.input:
        return await _only_loaded(services, asked.value, {"embeddings": []})
    return await answered(services, request, asked, embed_plan, resolve=find_tagged)


async def embeddings(services: Services, request: Request) -> Response:
    asked = await received(services, request, EmbeddingsBody)
    if not asked.value.prompt:
        return await _only_loaded(services, asked.value, {"embedding": []})
    return await answered(services, request, asked, embed_plan, resolve=find_tagged)


async def _only_loaded(services: Services, body: OllamaRequest, said: dict[str, Any]) -> Response:
    """A request that asks for nothing loads its model; one that lets it stay for no time unloads it."""
    entry = find_tagged(services, body.model)
    leave = body.keep_alive == 0
    if leave:
        await take_out(services, entry.manifest.name)
    else:
        await bring_in(services, entry, body.keep_alive)
    end = {"done": True, "done_reason": "unload" if leave else "load"}
    return Json({"model": body.model, "created_at": now(), **said, **end})


def find_tagged(services: Services, name: str) -> Entry:
    """The model behind a name as Ollama's clients write it, where no tag is the tag "latest". Raises ModelNotFound."""
    other = name.removesuffix(LATEST) if name.endswith(LATEST) else name + LATEST
    try:
        return find(services, name)
    except ModelNotFound as error:
        if ":" in name.rpartition("/")[2].removesuffix(LATEST):
            raise
        try:
            return find(services, other)
        except ModelNotFound:
            raise error from None


def tagged(name: str) -> str:
    """A name as Ollama's clients know it: with a tag."""
    return name if ":" in name.rpartition("/")[2] else name + LATEST
