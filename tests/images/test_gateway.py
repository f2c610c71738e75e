"""OpenAI's image endpoints, by its SDK, on a tiny pipeline: from the pull to the picture."""

from __future__ import annotations

import base64
import io
import json
import os
import signal
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from openai.types import ImagesResponse
from PIL import Image, ImageChops

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving, until
from tests.images.parts import data_of, events, image_of, multipart, photo, png
from tests.images.serving import ENV
from tests.images.test_worker import mask


@pytest.fixture
def client(drawer: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=drawer.base_url, api_key="x", max_retries=0, timeout=300) as sdk:
        yield sdk


def test_a_picture_by_the_sdk(client: openai.OpenAI) -> None:
    answer = client.images.generate(model="gpt-image-1", prompt="a tree", extra_body={"seed": 3, "steps": 3})
    ImagesResponse.model_validate(answer.model_dump(), strict=True)
    assert answer.data is not None
    assert answer.data[0].b64_json is not None
    image = Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json)))
    assert image.size == (64, 64)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


def test_an_address_for_an_hour_needs_no_key(drawer: Server, client: openai.OpenAI) -> None:
    answer = client.images.generate(model="dall-e-2", prompt="a tree", n=2, extra_body={"steps": 2})
    assert answer.data is not None
    addresses = [each.url for each in answer.data]
    assert len(set(addresses)) == 2
    assert all(address is not None and address.startswith(f"{drawer.root}/v1/images/files/") for address in addresses)
    with urllib.request.urlopen(str(addresses[0])) as found:
        assert found.headers["content-type"] == "image/png"
        assert Image.open(io.BytesIO(found.read())).size == (64, 64)
    for name in ("x", "0" * 32 + ".png", "..%2f..%2fetc%2fpasswd", "0" * 32):
        assert drawer.get(f"/v1/images/files/{name}")[0] == 404


def test_an_edit_by_the_sdk_changes_the_hole_alone(client: openai.OpenAI) -> None:
    image, hole = photo(96, 64), (10, 10, 50, 40)
    answer = client.images.edit(
        model="tiny",
        image=[("a.png", png(image), "image/png")],
        mask=("m.png", png(mask(96, 64, hole)), "image/png"),
        prompt="a hat",
        extra_body={"steps": 4, "seed": 1},
    )
    assert answer.data is not None
    edited = Image.open(io.BytesIO(base64.b64decode(answer.data[0].b64_json or "")))
    assert ImageChops.difference(edited.convert("RGB"), image).getbbox() == hole


def test_an_edit_as_json_is_the_same_as_in_a_form(drawer: Server) -> None:
    def url(image: Image.Image) -> dict[str, str]:
        return {"image_url": f"data:image/png;base64,{base64.b64encode(png(image)).decode()}"}

    fields = {"model": "tiny", "prompt": "a hat", "seed": 5, "steps": 4}
    as_json = drawer.post("/v1/images/edits", {**fields, "images": [url(photo())], "mask": url(mask())})
    assert as_json[0] == 200, as_json
    texts = {name: str(value) for name, value in fields.items()}
    body, kind = multipart(texts, {"image": png(photo()), "mask": png(mask())})
    in_form = drawer.post("/v1/images/edits", body, headers={"Content-Type": kind})
    assert data_of(as_json[2]) == data_of(in_form[2])


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_a_variation_by_the_sdk(client: openai.OpenAI) -> None:
    answer = client.images.create_variation(image=("a.png", png(photo())), n=2, response_format="b64_json")
    assert answer.data is not None
    assert len({each.b64_json for each in answer.data}) == 2


def test_a_stream_has_openais_events(client: openai.OpenAI) -> None:
    stream = client.images.generate(model="tiny", prompt="a tree", stream=True, partial_images=2, extra_body={"steps": 6})
    kinds = [event.type for event in stream]
    assert kinds == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    edit = client.images.edit(
        model="tiny", prompt="a hat", image=("a.png", png(photo())), stream=True, partial_images=1, extra_body={"steps": 6}
    )
    assert [event.type for event in edit] == ["image_edit.partial_image", "image_edit.completed"]


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"prompt": ""}, "prompt"),
        ({"prompt": None}, "prompt"),
        ({"n": 0}, "n"),
        ({"n": 11}, "n"),
        ({"n": "2"}, "n"),
        ({"n": 2, "stream": True}, "n"),
        ({"size": "64"}, "size"),
        ({"size": "63x64"}, "size"),
        ({"size": "99999x99999"}, "size"),
        ({"quality": "best"}, "quality"),
        ({"response_format": "url", "stream": True}, "response_format"),
        ({"output_format": "gif"}, "output_format"),
        ({"output_compression": 50}, "output_compression"),
        ({"output_compression": 101, "output_format": "jpeg"}, "output_compression"),
        ({"background": "transparent"}, "background"),
        ({"partial_images": 2}, "partial_images"),
        ({"partial_images": 4, "stream": True}, "partial_images"),
        ({"moderation": "low"}, "moderation"),
        ({"style": "natural"}, "style"),
        ({"seed": -1}, "seed"),
        ({"steps": 501}, "steps"),
        ({"guidance_scale": float("inf")}, "guidance_scale"),
        ({"strength": 0.5}, "strength"),
        ({"model": "fake"}, "model"),
        ({"model": "nobody"}, "model"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_honoured_is_refused_by_name(drawer: Server, fields: dict[str, Any], param: str) -> None:
    status, _, answer = drawer.post("/v1/images/generations", {"model": "tiny", "prompt": "a tree", **fields})
    assert status in (400, 404)
    assert answer["error"]["param"] == param, answer


def test_values_that_ask_for_nothing_pass(drawer: Server) -> None:
    fields = {"background": "auto", "moderation": "auto", "style": "vivid", "user": "u", "n": None, "size": "auto", "steps": 1}
    asked = {"model": "tiny", "prompt": "a tree", "output_compression": 100, "quality": "auto", **fields}
    assert drawer.post("/v1/images/generations", asked)[0] == 200


@pytest.mark.parametrize(
    ("files", "fields", "param"),
    [
        ({}, {"prompt": "x"}, "image"),
        ({"image": b"x"}, {"prompt": "x"}, "image"),
        ({"image": b"x"}, {}, "prompt"),
        ({"picture": b"x"}, {"prompt": "x"}, "picture"),
        ({"image": b"x"}, {"prompt": "x", "n": "many"}, "n"),
        ({"image": b"x"}, {"prompt": "x", "stream": "perhaps"}, "stream"),
        ({"image": b"x"}, {"prompt": "x", "input_fidelity": "high"}, "input_fidelity"),
        ({"image": b"x" * 11_000_000}, {"prompt": "x"}, "image"),
    ],
)
def test_forms_are_held_to_the_same_rules(drawer: Server, files: dict[str, bytes], fields: dict[str, str], param: str) -> None:
    body, kind = multipart({"model": "tiny", **fields}, files)
    status, _, answer = drawer.post("/v1/images/edits", body, headers={"Content-Type": kind})
    assert (status, answer["error"]["param"]) == (400, param), answer


@pytest.mark.parametrize(
    ("images", "param"),
    [
        ([], "images"),
        ([{"image_url": "https://example.com/a.png"}], "images[0].image_url"),
        ([{"image_url": "data:image/png;base64,!"}], "images[0].image_url"),
        ([{"image_url": "file:///etc/passwd"}], "images[0].image_url"),
        ([{"file_id": "file-1"}], "images[0].file_id"),
        ([{}], "images"),
    ],
)
def test_pictures_in_json_are_never_fetched(drawer: Server, images: list[Any], param: str) -> None:
    status, _, answer = drawer.post("/v1/images/edits", {"model": "tiny", "prompt": "x", "images": images})
    assert (status, answer["error"]["param"]) == (400, param), answer


def test_how_long_it_will_take_is_said_before(drawer: Server) -> None:
    def card() -> Any:
        return drawer.get("/v1/models/tiny")[2]["image"]

    drawer.post("/v1/images/generations", {"model": "tiny", "prompt": "x", "steps": 3})
    found = until(lambda: card() if card()["measured"] else None)
    assert found["size"] == "64x64"
    assert found["steps"] == 25
    assert 0 < found["seconds_per_picture"] < 600
    _, headers, _ = drawer.post("/v1/images/generations", {"model": "tiny", "prompt": "x", "steps": 2})
    assert headers["x-freehold-estimate"].startswith("about ")
    assert "first estimate" not in headers["x-freehold-estimate"]


def test_a_dead_worker_costs_one_request_at_most(drawer: Server) -> None:
    drawer.post("/v1/images/generations", {"model": "tiny", "prompt": "x", "steps": 1})
    os.kill(drawer.worker("tiny")["pid"], signal.SIGKILL)
    status, _, _ = drawer.post("/v1/images/generations", {"model": "tiny", "prompt": "x", "steps": 1}, timeout=300)
    assert status in (200, 503)
    assert drawer.post("/v1/images/generations", {"model": "tiny", "prompt": "x", "steps": 1}, timeout=300)[0] == 200


def test_a_client_that_leaves_frees_the_model(drawer: Server) -> None:
    body = {"model": "tiny", "prompt": "x", "steps": 500, "size": "512x512"}
    with pytest.raises(TimeoutError):
        drawer.post("/v1/images/generations", body, timeout=1.5)
    assert drawer.post("/v1/images/generations", {"model": "tiny", "prompt": "x", "steps": 1}, timeout=60)[0] == 200


def test_with_no_image_model_it_says_what_to_install(tmp_path: Path) -> None:
    fake_model(tmp_path)
    with serving(tmp_path, env=ENV, ready=False) as server:
        for model in ("gpt-image-1", "dall-e-3"):
            status, headers, answer = server.post("/v1/images/generations", {"model": model, "prompt": "x"})
            assert (status, answer["error"]["code"]) == (503, "no_image_model")
            assert "freehold engine install diffusers" in answer["error"]["message"]
            assert "freehold pull" in answer["error"]["message"]
            assert headers["x-should-retry"] == "false"
        assert server.post("/v1/images/generations", {"prompt": "x"})[2]["error"]["code"] == "no_image_model"


def test_with_a_model_and_no_engine_it_says_so(tiny: Path, tmp_path: Path) -> None:
    pull(Store(tmp_path), str(tiny), name="tiny", on_progress=lambda progress: None)
    fake_model(tmp_path)
    with serving(tmp_path, env=ENV, ready=False) as server:
        status, _, answer = server.post("/v1/images/generations", {"model": "tiny", "prompt": "x"})
        assert (status, answer["error"]["code"]) == (503, "engine_not_installed")
        assert "freehold engine install diffusers" in answer["error"]["message"]
        card = server.get("/v1/models/tiny")[2]["image"]
        assert card["measured"] is False
        assert "first estimate" in card["estimate"]


def test_a_stream_by_hand_begins_before_the_picture_is_done(drawer: Server) -> None:
    status, headers, text = drawer.post(
        "/v1/images/generations", {"model": "tiny", "prompt": "x", "steps": 3, "stream": True, "seed": 1}
    )
    assert (status, headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    found = events(text)
    assert [name for name, _ in found if name] == ["image_generation.completed"]
    assert json.dumps(found[0][1]) == '": step 0/3"'
    assert image_of({"data": [found[-1][1]]}).size == (64, 64)
