"""The images of a request: fetched where they are addresses and that is switched on, and checked before an engine sees them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from freehold.errors import InvalidRequest, Unavailable
from freehold.gateway.services import Services
from freehold.gateway.web.answer import NotFetched
from freehold.protocol.images import Image, ImageLimits, as_uri, check_count, check_images, is_address


async def seen(services: Services, images: Sequence[Image]) -> dict[str, str]:
    """The images that were fetched, as data: URIs by their addresses; all of them pass. Raises InvalidRequest with the field
    of one that does not, Unavailable when too many are being fetched."""
    settings = services.settings.images
    limits = ImageLimits(settings.count, settings.bytes, settings.pixels)
    check_count(images, limits)
    asked = {image.url: image for image in reversed(images) if is_address(image.url)} if settings.fetch else {}
    pictures = await _fetched(services, list(reversed(asked.values()))) if asked else {}
    held = [Image(image.param, pictures.get(image.url, image.url)) for image in images]
    await asyncio.to_thread(check_images, held, limits)
    return pictures


async def _fetched(services: Services, images: Sequence[Image]) -> dict[str, str]:
    """All within one limit of time, and together no more than a body may have."""
    settings, most, total = services.settings.images, services.settings.max_body_bytes, 0
    pictures: dict[str, str] = {}

    async def one(image: Image) -> None:
        nonlocal total
        async with services.fetches:
            data = await services.fetcher.fetch(image.url, settings.bytes)
        total += len(data)
        if total > most:
            problem = f"The images that were fetched have more than {most:,} bytes together (setting `max_body_bytes`)."
            raise InvalidRequest(problem, param=image.param, code="image_file_too_large")
        pictures[image.url] = await asyncio.to_thread(as_uri, data)

    async def told(image: Image) -> None:
        try:
            await one(image)
        except NotFetched as problem:
            raise InvalidRequest(str(problem), param=image.param, code=problem.code) from None

    tasks = [asyncio.create_task(told(image)) for image in images]
    try:
        async with asyncio.timeout(settings.fetch_timeout):
            await asyncio.gather(*tasks)
    except TimeoutError:
        late = next((image for image in images if image.url not in pictures), images[-1])  # all came in the very last moment
        problem = f"The image could not be fetched within {settings.fetch_timeout:g} seconds (setting `images.fetch_timeout`)."
        if services.fetches.locked():
            raise Unavailable(problem, retry_after=settings.fetch_timeout) from None
        raise InvalidRequest(problem, param=late.param, code="invalid_image_url") from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return pictures
