"""Pictures: drawn from words, edited, varied. What draws them is the model's own engine; nothing here knows which."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import FileResponse, Response

from freehold.aliases import IMAGE_DEFAULT
from freehold.errors import EngineBadResponse, FreeholdError, InvalidRequest, NotFound, StoreError, Unavailable
from freehold.fleet.client import EngineClient
from freehold.fleet.engines import check_installed
from freehold.fleet.exchange import Span, Upload
from freehold.gateway.asked import ignored, terms_of
from freehold.gateway.http import read_json_body
from freehold.gateway.models import find
from freehold.gateway.outlook import outlook, remember
from freehold.gateway.relayed import Call, RelayedAnswer
from freehold.gateway.services import Services
from freehold.gateway.upload import FilePart, Form, multipart, received
from freehold.protocol.requests.common import Parsed, parse
from freehold.protocol.requests.drawing import (
    Drawing,
    EditFields,
    EditRequest,
    GenerationRequest,
    VariationFields,
    from_form,
)
from freehold.routing.catalog import Entry

_GENERATIONS, _EDITS, _VARIATIONS = "/v1/images/generations", "/v1/images/edits", "/v1/images/variations"
_MOST_IMAGES = 16  # OpenAI's own limit
_DATA_URL = re.compile(r"data:image/(?:png|jpeg|jpg|webp);base64,([A-Za-z0-9+/=\s]*)")
_ALSO = {"image[]": "image"}  # as clients name files of which there may be several


async def generations(services: Services, request: Request) -> Response:
    raw = await read_json_body(request, services.settings.max_body_bytes)
    parsed = parse(GenerationRequest, raw, unknown=services.settings.unknown_parameters)
    entry = painter(services, request, parsed.value.model)
    return _answer(services, request, entry, parsed, Call(_GENERATIONS, to_json(parsed.value.order())))


async def edits(services: Services, request: Request) -> Response:
    """A form, or JSON with the pictures as data: URLs."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
        raw = await read_json_body(request, services.settings.max_body_bytes)
        parsed = parse(EditRequest, raw, unknown=services.settings.unknown_parameters)
        entry = painter(services, request, parsed.value.model)
        files = await asyncio.to_thread(_from_urls, parsed.value)
        return _answer(services, request, entry, parsed, Call(_EDITS, _upload(services, parsed.value, files, raw)))
    return await _of_form(services, request, EditFields, _EDITS)


async def variations(services: Services, request: Request) -> Response:
    return await _of_form(services, request, VariationFields, _VARIATIONS)


async def get_picture(services: Services, request: Request) -> Response:
    """A picture by its address. No key is asked for, as with OpenAI: who has the name has the picture."""
    path = services.pictures.path(request.path_params["name"])
    if path is None:
        raise NotFound("There is no such picture, or no longer: they are kept for an hour.")
    kind = path.suffix.removeprefix(".")
    return FileResponse(path, media_type=f"image/{kind}", headers={"cache-control": "private, max-age=3600"})


def painter(services: Services, request: Request, name: str) -> Entry:
    """The image model of that name. Raises Unavailable, saying what to install, where there is none; InvalidRequest for a model
    of another kind."""
    wanted = services.settings.aliases.get(name, name)
    entry = _newest(services) if wanted == IMAGE_DEFAULT and not services.settings.default_image else find(services, name)
    request.scope["freehold.model"] = entry.manifest.name
    entry.check()
    if entry.manifest.task != "image":
        raise InvalidRequest(
            f"The model {entry.manifest.name!r} does not draw; choose an image model.", param="model", code="invalid_value"
        )
    try:
        check_installed(entry.deployment)
    except StoreError as error:
        raise Unavailable(str(error), retry_after=None, code="engine_not_installed") from None
    return entry


def _newest(services: Services) -> Entry:
    """What stands for OpenAI's names while the setting `default_image` is empty."""
    found = [manifest for manifest in services.store.list() if manifest.task == "image"]
    if not found:
        raise Unavailable(
            "No image model is installed. The one that comes along draws pictograms: freehold pull pictogram. For pictures of "
            "any kind: freehold engine install diffusers, then freehold pull sd1.5",
            retry_after=None,
            code="no_image_model",
        )
    return find(services, max(found, key=lambda manifest: manifest.created).name)


async def _of_form(services: Services, request: Request, kind: type[EditFields] | type[VariationFields], path: str) -> Response:
    with contextlib.ExitStack() as held:
        form = await received(request, services.settings.data_dir / "uploads", services.settings.max_upload_bytes, held)
        parsed: Parsed[Any] = parse(kind, to_json(from_form(form.fields)), unknown=services.settings.unknown_parameters)
        entry = painter(services, request, parsed.value.model)
        body = _upload(services, parsed.value, _files(services, form, masked=kind is EditFields), form.digest)
        return _answer(services, request, entry, parsed, Call(path, body), held.pop_all())


def _files(services: Services, form: Form, *, masked: bool) -> list[tuple[str, bytes | Span]]:
    """A form's pictures, and its mask. Raises InvalidRequest for files of other names, too many, or too large."""
    found: list[tuple[str, FilePart]] = [(_ALSO.get(part.name, part.name), part) for part in form.files]
    count = {name: sum(name == other for other, _ in found) for name, _ in found}
    for name, _ in found:
        if name != "image" and not (masked and name == "mask"):
            raise InvalidRequest(f"Unknown parameter: {name[:80]!r}.", param=name[:80], code="unknown_parameter")
    if not count.get("image"):
        form.file("image")  # says what is wrong
    if count["image"] > _MOST_IMAGES or count.get("mask", 0) > 1:
        param = "image" if count["image"] > _MOST_IMAGES else "mask"
        raise InvalidRequest(f"There are too many files named {param!r}.", param=param, code="too_many_images")
    for name, part in found:
        if part.span.size > services.settings.images.bytes:
            most = services.settings.images.bytes
            raise InvalidRequest(
                f"The file {name!r} has more than {most:,} bytes, the limit (setting `images.bytes`).",
                param=name,
                code="image_file_too_large",
            )
    return [(name, part.span) for name, part in found]


def _from_urls(value: EditRequest) -> list[tuple[str, bytes | Span]]:
    """The pictures in a JSON request. Raises InvalidRequest for what is no data: URL."""
    named = [(f"images[{index}].image_url", "image", each) for index, each in enumerate(value.images)]
    if value.mask is not None:
        named.append(("mask.image_url", "mask", value.mask))
    files: list[tuple[str, bytes | Span]] = []
    for param, name, ref in named:
        match = _DATA_URL.fullmatch(ref.image_url or "")
        try:
            data = base64.b64decode(match[1], validate=False) if match else b""
        except ValueError:
            data = b""
        if not data:
            raise InvalidRequest(
                "The picture must be in the request itself, a PNG, JPEG or WebP file in base64: 'data:image/png;base64,…'. "
                "Nothing is fetched.",
                param=param,
                code="invalid_image_url",
            )
        files.append((name, data))
    return files


def _upload(services: Services, value: Drawing, files: list[tuple[str, bytes | Span]], told: bytes) -> Upload:
    """What workers take: the order as JSON in the field `request`, the pictures as files. `told` is the request, which tells it
    from others."""
    order = {**value.order(), "max_pixels": services.settings.images.pixels}
    parts = ((name, "", (data,)) for name, data in files)
    return multipart([("request", to_json(order).decode())], parts, hashlib.sha256(told + to_json(order)).digest())


def _answer(
    services: Services,
    request: Request,
    entry: Entry,
    parsed: Parsed[Any],
    call: Call,
    *held: contextlib.ExitStack,
) -> Response:
    """`held` is what must outlive the handler."""
    value: Drawing = parsed.value
    headers = ignored(parsed.ignored)
    if (expected := outlook(services, entry).estimate(value)) is not None:
        headers["x-freehold-estimate"] = str(expected)

    async def after(client: EngineClient) -> None:
        with contextlib.suppress(FreeholdError):  # the answer is complete, whatever becomes of this
            await remember(services, entry, client)

    base = f"{request.url.scheme}://{request.headers.get('host', request.url.netloc)}/v1/images/files/"
    rewrite = _addresses(services, base) if value.delivers_url else None
    call = replace(call, headers=headers, first=services.settings.timeouts.picture, rewrite=rewrite, after=after)
    return RelayedAnswer(services, entry, call, terms_of(request, value, entry), *held)


def _addresses(services: Services, base: str) -> Callable[[bytes], Awaitable[bytes]]:
    """Puts addresses in place of the pictures of a whole answer."""

    async def rewrite(body: bytes) -> bytes:
        try:
            table = await asyncio.to_thread(json.loads, body)
            form, items = table["output_format"], table["data"]
            pictures = [base64.b64decode(item.pop("b64_json")) for item in items]
        except (ValueError, TypeError, KeyError):
            raise EngineBadResponse("The model's worker sent an answer without pictures.") from None
        for item, picture in zip(items, pictures, strict=True):
            item["url"] = base + await services.pictures.put(picture, form)
        return to_json(table)

    return rewrite
