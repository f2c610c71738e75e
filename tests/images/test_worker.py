"""The worker that draws, on tiny pipelines of the real code: what it answers, repeats, streams, and stops."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from freehold.fleet.environments import Environment
from tests.conftest import until
from tests.images.parts import Worker, data_of, drawing, image_of, photo, png


@pytest.fixture(scope="module")
def worker(engine: Environment, tiny: Path) -> Iterator[Worker]:
    with drawing(engine, tiny) as running:
        yield running


@pytest.fixture(scope="module")
def flux(engine: Environment, tiny_flux: Path) -> Iterator[Worker]:
    with drawing(engine, tiny_flux, {"size": 64, "steps": 3, "guidance": 0}) as running:
        yield running


def mask(width: int = 64, height: int = 64, hole: tuple[int, int, int, int] = (8, 8, 40, 32)) -> Image.Image:
    found = Image.new("RGBA", (width, height), (0, 0, 0, 255))
    found.paste((0, 0, 0, 0), hole)
    return found


def test_readiness_is_a_picture(worker: Worker) -> None:
    assert worker.post("/ready", {})[0] == 200
    assert worker.ask("GET", "/v1/images/pace")[2] == b"null"  # such a small one says nothing of others


def test_a_picture_is_drawn_in_the_size_of_the_model(worker: Worker) -> None:
    status, answer = worker.generate()
    assert status == 200, answer
    image = image_of(answer)
    assert (image.size, image.format, answer["size"]) == ((64, 64), "PNG", "64x64")
    assert len(set(image.tobytes())) > 100
    usage = answer["usage"]
    assert usage["output_tokens"] == 64
    assert usage["input_tokens"] == usage["input_tokens_details"]["text_tokens"] > 2
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]


def test_the_same_seed_draws_the_same_picture_and_another_another(worker: Worker) -> None:
    first, again, other = (data_of(worker.generate(seed=seed)[1]) for seed in (7, 7, 8))
    assert first == again
    assert first != other


def test_several_pictures_have_seeds_in_a_row(worker: Worker) -> None:
    answer = worker.generate(seed=7, n=3)[1]
    assert [each["seed"] for each in answer["data"]] == [7, 8, 9]
    assert data_of(answer, 1) == data_of(worker.generate(seed=8)[1])
    assert answer["usage"]["output_tokens"] == 3 * 64


def test_a_picture_without_a_seed_says_which_one_it_had(worker: Worker) -> None:
    answer = worker.generate(seed=None)[1]
    assert data_of(answer) == data_of(worker.generate(seed=answer["data"][0]["seed"])[1])


@pytest.mark.parametrize(("form", "compression"), [("png", 100), ("jpeg", 90), ("webp", 40)])
def test_each_format_decodes(worker: Worker, form: str, compression: int) -> None:
    answer = worker.generate(output_format=form, output_compression=compression)[1]
    assert image_of(answer).format == form.upper()
    assert answer["output_format"] == form


def test_compression_makes_smaller_files(worker: Worker) -> None:
    sizes = [len(data_of(worker.generate(output_format="jpeg", output_compression=each)[1])) for each in (100, 10)]
    assert sizes[1] < sizes[0] / 2


def test_quality_is_a_number_of_steps(worker: Worker) -> None:
    pictures = {data_of(worker.generate(quality=each)[1]) for each in ("low", "medium", "high")}
    assert len(pictures) == 3
    assert data_of(worker.generate(steps=2)[1]) == data_of(worker.generate(quality="low")[1])


@pytest.mark.parametrize(
    ("size", "status"), [("128x64", 200), ("72x64", 200), ("65x64", 400), ("8x8", 400), ("4096x4096", 400)]
)
def test_sizes_are_those_of_the_model_or_refused_with_the_nearest(worker: Worker, size: str, status: int) -> None:
    found, answer = worker.generate(size=size, steps=1)
    assert found == status
    if status == 200:
        assert image_of(answer).size == tuple(map(int, size.split("x")))
    else:
        assert answer["error"]["param"] == "size"
        assert "The nearest is " in answer["error"]["message"]


def test_a_prompt_that_would_be_cut_is_refused(worker: Worker) -> None:
    status, answer = worker.generate(prompt="x" * 200)
    assert (status, answer["error"]["param"]) == (400, "prompt")
    assert "202 tokens" in answer["error"]["message"]


def test_words_that_are_not_wanted_and_guidance_change_the_picture(worker: Worker) -> None:
    pictures = {data_of(worker.generate(**fields)[1]) for fields in ({}, {"negative_prompt": "fog"}, {"guidance_scale": 2.0})}
    assert len(pictures) == 3


def test_an_edit_with_a_mask_changes_its_hole_and_nothing_else(worker: Worker) -> None:
    """To the pixel, in a size that the model does not draw, too."""
    image, hole = photo(100, 75), (20, 10, 60, 50)
    status, answer = worker.form("/v1/images/edits", {"image": png(image), "mask": png(mask(100, 75, hole))})
    assert status == 200, answer
    edited = image_of(answer)
    assert edited.size == image.size
    assert ImageChops.difference(edited, image).getbbox() == hole
    assert answer["usage"]["input_tokens_details"]["image_tokens"] > 0


def test_an_edit_without_a_mask_starts_from_the_picture(worker: Worker) -> None:
    near, far = (
        image_of(worker.form("/v1/images/edits", {"image": png(photo())}, steps=8, strength=each)[1]) for each in (0.2, 1.0)
    )
    assert near.size == far.size == (64, 64)
    assert near.tobytes() != far.tobytes()


def test_a_variation_needs_no_words(worker: Worker) -> None:
    status, answer = worker.form("/v1/images/variations", {"image": png(photo(80, 48), "JPEG")}, prompt="", n=2)
    assert status == 200, answer
    assert [image_of(answer, index).size for index in range(2)] == [(80, 48), (80, 48)]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (mask(63, 64), "63 x 64"),
        (photo(), "no transparency"),
        (Image.new("RGBA", (64, 64), (0, 0, 0, 255)), "opaque everywhere"),
    ],
)
def test_a_mask_that_makes_no_sense_is_refused(worker: Worker, given: Image.Image, said: str) -> None:
    status, answer = worker.form("/v1/images/edits", {"image": png(photo()), "mask": png(given)})
    assert (status, answer["error"]["param"]) == (400, "mask")
    assert said in answer["error"]["message"]


def test_hostile_pictures_are_refused_and_the_worker_lives(worker: Worker) -> None:
    bomb = png(Image.new("1", (20_000, 20_000)))
    for data, code in ((b"", "invalid_image"), (b"GIF89a" + bytes(50), "invalid_image"), (png(photo())[:200], "invalid_image")):
        status, answer = worker.form("/v1/images/edits", {"image": data})
        assert (status, answer["error"]["param"], answer["error"]["code"]) == (400, "image", code)
    assert len(bomb) < 100_000
    status, answer = worker.form("/v1/images/edits", {"image": bomb})
    assert (status, answer["error"]["code"]) == (400, "image_too_large")
    status, answer = worker.form("/v1/images/edits", {"image": png(photo(80, 80))}, max_pixels=6399)
    assert (status, answer["error"]["code"]) == (400, "image_too_large")
    assert "80 x 80" in answer["error"]["message"]
    assert worker.generate()[0] == 200


def test_partial_pictures_come_in_order_and_before_the_whole(worker: Worker) -> None:
    found = [(name, data) for name, data in worker.events(steps=6, partial_images=2) if name]
    assert [name for name, _ in found] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [data.get("partial_image_index") for _, data in found] == [0, 1, None]
    pictures = [image_of({"data": [data]}) for _, data in found]
    assert {image.size for image in pictures} == {(64, 64)}
    assert len({image.tobytes() for image in pictures}) == 3
    assert data_of({"data": [found[-1][1]]}) == data_of(worker.generate(steps=6)[1])
    assert found[-1][1]["usage"]["total_tokens"] > 64


def test_steps_are_told_as_comments(worker: Worker) -> None:
    said = [line for name, line in worker.events(steps=3) if not name]
    assert said == [": step 0/3", ": step 1/3", ": step 2/3", ": step 3/3"]


def test_the_pace_is_that_of_the_last_picture(worker: Worker) -> None:
    worker.generate(steps=3)
    pace = json.loads(worker.ask("GET", "/v1/images/pace")[2])
    assert (pace["pixels"], pace["steps"]) == (64 * 64, 3)
    assert 0 < pace["step_seconds"] < 60


@pytest.mark.parametrize("stream", [False, True])
def test_a_client_that_leaves_stops_the_drawing_within_a_step(worker: Worker, stream: bool) -> None:
    body = json.dumps({"prompt": "a tree", "steps": 500, "size": "512x512", "stream": stream})
    with contextlib.closing(worker.connection()) as connection:
        connection.request("POST", "/v1/images/generations", body, {"Content-Type": "application/json"})
        if stream:
            answer = connection.getresponse()
            until(lambda: b"step 2/" in answer.readline())
    assert worker.generate(steps=1)[0] == 200  # its turn came
    assert json.loads(worker.ask("GET", "/v1/images/pace")[2])["steps"] != 500  # and not because the other was done


def test_packed_latents_are_shown_in_the_making_and_edited(flux: Worker) -> None:
    found = [(name, data) for name, data in flux.events(partial_images=1) if name]
    assert [name for name, _ in found] == ["image_generation.partial_image", "image_generation.completed"]
    image, hole = photo(), (16, 16, 48, 48)
    edited = image_of(flux.form("/v1/images/edits", {"image": png(image), "mask": png(mask(hole=hole))})[1])
    assert ImageChops.difference(edited, image).getbbox() == hole
    status, answer = flux.generate(size="72x64")
    assert (status, answer["error"]["param"]) == (400, "size")  # patches of two latents: multiples of 16
