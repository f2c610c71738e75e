"""The whole route table on one screen, and the onion around it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from freehold.errors import MethodNotAllowed, NotFound
from freehold.gateway import (
    audio,
    blobs,
    catalogue,
    completions,
    control,
    conversations,
    decisions,
    fim,
    health,
    images,
    inference,
    loading,
    messages,
    models,
    moderations,
    ollama,
    ollama_library,
    ranking,
    responses,
    responses_socket,
    speech,
    tabby,
    tokens,
)
from freehold.gateway.auth import HostCheck
from freehold.gateway.dialects import ANTHROPIC, ELEVENLABS, OLLAMA, OPENAI, Dialect, by_path
from freehold.gateway.middleware import Cors, Edge
from freehold.gateway.realtime import doors as realtime
from freehold.gateway.reload import Live
from freehold.gateway.services import Services

Handler = Callable[[Services, Request], Awaitable[Response]]


@dataclass(frozen=True)
class Entry:
    """A route. `access` "key" asks for the API key where one is set; "open" does not. `dialect` is whose clients call it."""

    method: str
    path: str
    handler: Handler
    access: Literal["key", "open", "own"] = "key"
    dialect: Dialect = OPENAI


ROUTES = (
    Entry("POST", "/v1/chat/completions", completions.create),
    Entry("GET", "/v1/chat/completions", completions.list_stored),
    Entry("GET", "/v1/chat/completions/{completion}", completions.get),
    Entry("POST", "/v1/chat/completions/{completion}", completions.update),
    Entry("DELETE", "/v1/chat/completions/{completion}", completions.delete),
    Entry("GET", "/v1/chat/completions/{completion}/messages", completions.list_messages),
    Entry("POST", "/v1/responses", responses.create),
    Entry("GET", "/v1/responses", responses_socket.connect),
    Entry("POST", "/v1/responses/input_tokens", responses.count_tokens),
    Entry("POST", "/v1/responses/compact", responses.compact),
    Entry("GET", "/v1/responses/{response}", responses.get),
    Entry("DELETE", "/v1/responses/{response}", responses.delete),
    Entry("POST", "/v1/responses/{response}/cancel", responses.cancel),
    Entry("GET", "/v1/responses/{response}/input_items", responses.input_items),
    Entry("POST", "/v1/conversations", conversations.create),
    Entry("GET", "/v1/conversations/{conversation}", conversations.get),
    Entry("POST", "/v1/conversations/{conversation}", conversations.update),
    Entry("DELETE", "/v1/conversations/{conversation}", conversations.delete),
    Entry("POST", "/v1/conversations/{conversation}/items", conversations.add_items),
    Entry("GET", "/v1/conversations/{conversation}/items", conversations.list_items),
    Entry("GET", "/v1/conversations/{conversation}/items/{item}", conversations.get_item),
    Entry("DELETE", "/v1/conversations/{conversation}/items/{item}", conversations.delete_item),
    Entry("POST", "/v1/completions", fim.completions),
    Entry("POST", "/v1/fim/completions", fim.fim_completions),
    Entry("POST", "/infill", fim.infill),
    Entry("GET", "/v1/health", tabby.health),
    Entry("POST", "/v1/health", tabby.health),
    Entry("GET", "/v1beta/server_setting", tabby.server_setting),
    Entry("POST", "/v1/events", tabby.events),
    Entry("POST", "/v1/embeddings", inference.embeddings),
    Entry("POST", "/v1/rerank", ranking.rerank),
    Entry("POST", "/rerank", ranking.rerank),
    Entry("POST", "/v2/rerank", ranking.rerank_cohere),
    Entry("POST", "/v1/moderations", moderations.moderations),
    Entry("POST", "/v1/decisions", decisions.decisions),
    Entry("POST", "/v1/systemone", decisions.systemone),
    Entry("POST", "/tokenize", tokens.tokenize),
    Entry("POST", "/detokenize", tokens.detokenize),
    Entry("POST", "/apply-template", tokens.apply_template),
    Entry("GET", "/props", tokens.props),
    Entry("POST", "/v1/audio/speech", speech.speech),
    Entry("GET", "/v1/audio/voices", speech.list_voices),
    Entry("POST", "/v1/audio/transcriptions", audio.transcriptions),
    Entry("POST", "/v1/audio/translations", audio.translations),
    Entry("GET", "/v1/realtime", realtime.connect, access="own"),
    Entry("POST", "/v1/realtime/client_secrets", realtime.client_secrets),
    Entry("POST", "/v1/text-to-speech/{voice}", speech.text_to_speech, dialect=ELEVENLABS),
    Entry("POST", "/v1/text-to-speech/{voice}/stream", speech.text_to_speech, dialect=ELEVENLABS),
    Entry("GET", "/v1/voices", speech.elevenlabs_voices, dialect=ELEVENLABS),
    Entry("POST", "/v1/messages", messages.messages, dialect=ANTHROPIC),
    Entry("POST", "/v1/messages/count_tokens", messages.count_tokens, dialect=ANTHROPIC),
    Entry("POST", "/v1/images/generations", images.generations),
    Entry("POST", "/v1/images/edits", images.edits),
    Entry("POST", "/v1/images/variations", images.variations),
    Entry("GET", "/v1/images/files/{name}", images.get_picture, access="open"),
    Entry("GET", "/v1/models", models.list_models),
    Entry("GET", "/v1/models/{model:path}", models.get_model),
    Entry("DELETE", "/v1/models/{model:path}", models.delete_model),
    Entry("POST", "/api/chat", ollama.chat, dialect=OLLAMA),
    Entry("POST", "/api/generate", ollama.generate, dialect=OLLAMA),
    Entry("POST", "/api/embed", ollama.embed, dialect=OLLAMA),
    Entry("POST", "/api/embeddings", ollama.embeddings, dialect=OLLAMA),
    Entry("GET", "/api/tags", ollama_library.tags, dialect=OLLAMA),
    Entry("POST", "/api/show", ollama_library.show, dialect=OLLAMA),
    Entry("POST", "/api/pull", ollama_library.pull, dialect=OLLAMA),
    Entry("POST", "/api/create", ollama_library.create, dialect=OLLAMA),
    Entry("POST", "/api/copy", ollama_library.copy, dialect=OLLAMA),
    Entry("DELETE", "/api/delete", ollama_library.delete, dialect=OLLAMA),
    Entry("GET", "/api/blobs/{digest}", blobs.get_blob, dialect=OLLAMA),
    Entry("POST", "/api/blobs/{digest}", blobs.put_blob, dialect=OLLAMA),
    Entry("POST", "/api/push", ollama_library.push, dialect=OLLAMA),
    Entry("GET", "/api/version", control.version),
    Entry("GET", "/api/ps", control.workers),
    Entry("POST", "/api/load", loading.load),
    Entry("POST", "/api/unload", loading.unload),
    Entry("GET", "/api/catalogue", catalogue.list_catalogue),
    Entry("GET", "/api/pulls", control.list_pulls),
    Entry("POST", "/api/pulls", control.begin_pull),
    Entry("GET", "/api/pulls/{pull}", control.get_pull),
    Entry("DELETE", "/api/pulls/{pull}", control.cancel_pull),
    Entry("GET", "/api/pulls/{pull}/events", control.pull_events),
    Entry("GET", "/livez", health.livez, access="open"),
    Entry("GET", "/health", health.livez, access="open"),
    Entry("GET", "/readyz", health.readyz, access="open"),
    Entry("GET", "/metrics", health.metrics, access="open"),
)


def build_app(live: Live) -> ASGIApp:
    """The ASGI application over the services that are in force."""
    paths = dict.fromkeys(entry.path for entry in ROUTES)
    resources = [_Resource(live, [entry for entry in ROUTES if entry.path == path]) for path in paths]
    routes = [Route(resource.path, resource, methods=None) for resource in resources]
    router = Router(routes, redirect_slashes=False, default=_Nowhere(live))
    services = live.now

    def hosts() -> HostCheck:
        return live.now.hosts

    dialects = by_path({entry.path: entry.dialect for entry in ROUTES})
    return Cors(Edge(router, services.traffic, hosts, services.telemetry, dialects), hosts)


class _Resource:
    """What is at one path. The edge turns the errors into answers, so nothing stands between a handler and the server.

    The key is checked by the route that matched, never by the path as sent: two readings of a path cannot differ.
    """

    def __init__(self, live: Live, entries: Sequence[Entry]):
        self.path = entries[0].path
        self._live = live
        self._entries = {entry.method: entry for entry in entries}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        method = scope["method"]
        entry = self._entries.get("GET" if method == "HEAD" else method)
        if entry is None:
            raise MethodNotAllowed(f"Not allowed: {_line(scope)}. Allowed: {', '.join(self._entries)}.", tuple(self._entries))
        scope["freehold.route"] = entry.path
        scope["freehold.untyped"] = entry.dialect.untyped
        request = Request(scope, receive)
        services = self._live.now
        if entry.access == "key":
            services.key(request.headers)
        response = await entry.handler(services, request)
        await response(scope, receive, send)


class _Nowhere:
    """What is at no path of the table: nothing, but for the sign by which Ollama's clients know their port."""

    def __init__(self, live: Live):
        self._live = live

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if (
            scope["path"] == "/"
            and ollama_library.on_ollamas_port(self._live.now, scope)
            and scope["method"] in ("GET", "HEAD")
        ):
            await PlainTextResponse("Ollama is running")(scope, receive, send)
        else:
            raise _unknown(scope)


def _unknown(scope: Scope) -> NotFound:
    return NotFound(f"Unknown request URL: {_line(scope)}. Please check the URL for typos.", code="unknown_url")


def _line(scope: Scope) -> str:
    return f"{scope['method']} {scope['path'][:200]}"
