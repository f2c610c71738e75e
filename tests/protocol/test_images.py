"""Images are checked by their headers, within limits, before an engine sees them; a refusal names the field and says why."""

from __future__ import annotations

import base64
import resource
import sys
import time

import pytest

from freehold.errors import InvalidRequest
from freehold.protocol.images import Image, ImageLimits, check_images
from tests.zoo import pictures
from tests.zoo.pictures import picture, uri

LIMITS = ImageLimits(count=2, bytes=100_000, pixels=1_000_000)


def refusal(url: str, limits: ImageLimits = LIMITS) -> InvalidRequest:
    with pytest.raises(InvalidRequest) as caught:
        check_images([Image("here", url)], limits)
    assert caught.value.param == "here"
    return caught.value


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_the_formats_that_the_engine_reads_pass(kind: str) -> None:
    check_images([Image("here", uri(picture(kind=kind), kind.lower()))], LIMITS)


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/cat.png",
        "http://169.254.169.254/latest/meta-data",
        "HTTP://127.0.0.1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/x",
        "httpx://example.com/cat.png",
        "//127.0.0.1/x.png",
        "/etc/passwd",
        "",
        base64.b64encode(picture()).decode(),
        " data:image/png;base64,AAAA",
    ],
)
def test_nothing_is_fetched_whatever_the_address(url: str) -> None:
    error = refusal(url)
    assert error.code == "invalid_image_url"
    assert ("images.fetch" in error.message) == url.lower().startswith(("http:", "https:"))


@pytest.mark.parametrize(
    ("url", "code"),
    [
        ("data:image/svg+xml;base64,PHN2Zy8+", "unsupported_image_media_type"),
        ("data:video/mp4;base64,AAAA", "unsupported_image_media_type"),
        ("data:image/png,AAAA", "unsupported_image_media_type"),
        ("data:image/png;base64,", "empty_image_file"),
        ("data:image/png;base64,@@@@", "invalid_base64_image"),
        ("data:image/png;base64,AAA", "invalid_base64_image"),
        ("data:image/png;base64,AAAA AAAA", "invalid_base64_image"),
        ("data:image/png;base64,AAAA,AAAA", "invalid_base64_image"),
        ("data:image/png;base64,AAAA\u00e9AA", "invalid_base64_image"),
        (uri(b"hello, world"), "invalid_image_format"),
        (uri(b"MM\0*" + bytes(100)), "invalid_image_format"),
        (uri(b"BM" + bytes(100)), "invalid_image_format"),
        (uri(picture(kind="WEBP"), "webp"), "invalid_image_format"),
        (uri(pictures.moving(), "gif"), "invalid_image_format"),
        (uri(picture()[:20]), "image_parse_error"),
        (uri(picture(kind="JPEG")[:30], "jpeg"), "image_parse_error"),
        (uri(b"GIF89a"), "image_parse_error"),
        (uri(b"\x89PNG\r\n\x1a\n" + bytes(200)), "image_parse_error"),
        (uri(b"\xff\xd8\xff" + bytes(200)), "image_parse_error"),
        (uri(picture(size=(1, 900))), "invalid_image"),
        (uri(picture(size=(900, 1))), "invalid_image"),
        (uri(picture(size=(1001, 1000))), "image_too_large"),
    ],
)
def test_what_is_no_image_of_a_fit_size_is_refused_in_fixed_words(url: str, code: str) -> None:
    error = refusal(url)
    assert error.code == code
    assert len(error.message) < 200
    assert not any(
        word in error.message.lower() for word in ("pil", "pillow", "0x", "traceback", "exception", "cannot identify")
    )


def test_the_limits_on_number_and_bytes_name_their_settings() -> None:
    small = Image("here", uri(picture()))
    with pytest.raises(InvalidRequest, match=r"images\.count") as caught:
        check_images([small, small, Image("third", small.url)], LIMITS)
    assert caught.value.param == "third"
    assert "images.bytes" in refusal(uri(bytes(100_001))).message
    assert refusal(uri(bytes(100_000))).code == "invalid_image_format"  # just small enough to be looked into


@pytest.mark.parametrize(
    "bomb",
    [
        pictures.png_that_claims(60_000, 60_000),
        pictures.png_that_claims(2**31 - 1, 2**31 - 1),
        pictures.png_that_claims(64, 64, pictures.compressed_text(400)),
        pictures.png_that_claims(64, 64, *[pictures.compressed_text(40)] * 20),
        pictures.gif_that_claims(65_535, 65_535),
        pictures.jpeg_that_claims(65_500, 65_500),
    ],
    ids=["png", "png-largest", "png-text", "png-texts", "gif", "jpeg"],
)
def test_bombs_are_refused_quickly_and_without_unpacking_them(bomb: bytes) -> None:
    before, began = _peak_bytes(), time.monotonic()
    refusal(uri(bomb), ImageLimits(count=2, bytes=10 << 20, pixels=25_000_000))
    assert time.monotonic() - began < 10
    assert _peak_bytes() - before < 100e6


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
