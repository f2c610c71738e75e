"""/api/blobs: files that Ollama's clients send before a model is made of them."""

from __future__ import annotations

import asyncio

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from freehold.errors import InvalidRequest, NotFound, PayloadTooLarge, StoreError
from freehold.gateway.http import ClientGone
from freehold.gateway.services import Services
from freehold.store.manifest import check_digest
from freehold.store.uploads import Upload, Uploads

_BATCH = 1 << 20  # bytes that are written to the disk at once


async def get_blob(services: Services, request: Request) -> Response:
    """Whether the file is there. Its bytes are given to nobody."""
    digest = _digest(request)
    if not Uploads(services.store.data_dir).has(digest):
        raise NotFound(f"There is no uploaded file {digest}.", param="digest")
    return Response()


async def put_blob(services: Services, request: Request) -> Response:
    """Takes the file, as large as an upload may be. Raises InvalidRequest for bytes of another digest."""
    digest, limit = _digest(request), services.settings.max_upload_bytes
    claimed = request.headers.get("content-length", "0")
    size = int(claimed) if claimed.isdecimal() else 0
    if size > limit:
        raise _too_large(limit)
    upload = await asyncio.to_thread(Uploads(services.store.data_dir).begin, digest, size)
    with upload:
        await _received(request, upload, limit)
        try:
            await asyncio.to_thread(upload.finish)
        except StoreError as error:
            raise InvalidRequest(error.sentence, param="digest", code="invalid_value") from None
    return Response(status_code=201)


async def _received(request: Request, upload: Upload, limit: int) -> None:
    waiting, total = bytearray(), 0
    try:
        async for piece in request.stream():
            total += len(piece)
            if total > limit:
                raise _too_large(limit)
            waiting += piece
            if len(waiting) >= _BATCH:
                await asyncio.to_thread(upload.write, bytes(waiting))
                waiting.clear()
    except ClientDisconnect:
        raise ClientGone from None
    await asyncio.to_thread(upload.write, bytes(waiting))


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The file is larger than {limit:,} bytes, the limit (setting `max_upload_bytes`).")


def _digest(request: Request) -> str:
    try:
        return check_digest(request.path_params["digest"])
    except StoreError as error:
        raise InvalidRequest(error.sentence, param="digest", code="invalid_value") from None
