"""OpenAI's audio endpoints: forms with a file are read and checked here, and answered by the model's worker."""

from __future__ import annotations

import contextlib
from typing import TypeVar

from starlette.requests import Request
from starlette.responses import Response

from freehold.errors import InvalidRequest
from freehold.gateway.asked import ignored, terms_of
from freehold.gateway.diarized import PATIENCE, Diarization, DiarizedAnswer, diariser
from freehold.gateway.models import find
from freehold.gateway.relayed import Call, RelayedAnswer
from freehold.gateway.services import Services
from freehold.gateway.upload import FilePart, Form, received
from freehold.protocol.requests import Parsed, TranscriptionRequest, TranslationRequest, parse_form
from freehold.routing.catalog import Entry
from freehold.store.manifest import Task

_OURS = frozenset({"keep_alive", "priority"})  # fields that no worker is told of

T = TypeVar("T", TranscriptionRequest, TranslationRequest)


async def transcriptions(services: Services, request: Request) -> Response:
    return await _heard(services, request, TranscriptionRequest)


async def translations(services: Services, request: Request) -> Response:
    return await _heard(services, request, TranslationRequest)


async def _heard(services: Services, request: Request, kind: type[T]) -> Response:
    """All that needs no worker: what is wrong with a request is said before it waits for anything."""
    settings = services.settings
    with contextlib.ExitStack() as held:
        form = await received(request, settings.data_dir / "uploads", settings.max_upload_bytes, held)
        parsed = parse_form(kind, form.fields, unknown=settings.unknown_parameters)
        file = _file(form)
        if not file.span.size:
            raise InvalidRequest("The file is empty.", param="file", code="invalid_audio")
        entry = for_task(services, parsed.value.model, "transcription")
        request.scope["freehold.model"] = entry.manifest.name
        entry.check()
        terms = terms_of(request, parsed.value, entry)
        if parsed.value.form == "diarized_json":
            tells = await diariser(services, entry)
            asked = Diarization(tells, form, file, _fields(form, parsed), request.url.path, ignored(parsed.ignored))
            return DiarizedAnswer(services, entry, asked, terms, held.pop_all())
        call = Call(request.url.path, form.upload(_fields(form, parsed), [file]), ignored(parsed.ignored), first=PATIENCE)
        return RelayedAnswer(services, entry, call, terms, held.pop_all())


def _file(form: Form) -> FilePart:
    for part in form.files:
        if part.name != "file":
            raise InvalidRequest(f"Unknown file: {part.name[:64]!r}.", param=part.name[:64], code="unknown_parameter")
    return form.file("file")


def for_task(services: Services, name: str, task: Task) -> Entry:
    """The model behind a name. Raises InvalidRequest for one that does something else."""
    entry = find(services, name)
    if entry.manifest.task != task:
        wanted = {"transcription": "does not turn speech into text", "speech": "does not speak"}[task]
        default = services.settings.defaults[f"@{task}"]
        raise InvalidRequest(
            f"The model {entry.manifest.name!r} is for {entry.manifest.task}, and {wanted}; {default!r} does.", param="model"
        )
    return entry


def _fields(form: Form, parsed: Parsed[T]) -> list[tuple[str, str]]:
    left_out = _OURS | set(parsed.ignored)
    return [(name, value) for name, value in form.fields if name.partition("[")[0] not in left_out]
