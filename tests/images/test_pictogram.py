"""The worker of the drawing model that needs no engine of its own, on random weights of the real shapes."""

from __future__ import annotations

import hashlib
import json
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageChops

from freehold.fleet.engines import Deployment
from freehold.hardware.plan import Knobs, Plan
from freehold.store.manifest import File, Manifest
from freehold.store.store import Store
from freehold.workers.images.request import parsed
from freehold.workers.images.server import Server as Endpoints
from freehold.workers.pictogram.code import Code
from freehold.workers.pictogram.network import Network, Told
from freehold.workers.pictogram.pictures import lifted, numbers, shown, untouched
from freehold.workers.pictogram.sampler import Course, nothing_said, sampled
from freehold.workers.pictogram.weights import Unfit, load
from freehold.workers.pictogram.words import words_of
from freehold.workers.serve import Refused
from tests.conftest import Server, fake_model, serving
from tests.images.parts import Worker, data_of, image_of, photo, png, running
from tests.images.pictograms import tensors, write
from tests.images.serving import ENV
from tests.images.test_worker import mask

OPTIONS = {"size": 128, "steps": 4}


@pytest.fixture(scope="module")
def encoder(starters: Path) -> Path:
    store = Store(starters)
    weights = store.get("all-minilm:22m").file("weights")
    assert weights is not None
    return store.path(weights)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp("pictogram") / "pictogram.safetensors", tensors())


def deployment(model: Path, encoder: Path) -> Deployment:
    plan = Plan(context=1, slots=1, knobs=Knobs(threads=2))
    files: Any = {"weights": model, "encoder": encoder}
    return Deployment("pictogram", "image", "pictogram", plan, "auto", files=files, options=OPTIONS)


@pytest.fixture(scope="module")
def worker(model: Path, encoder: Path) -> Iterator[Worker]:
    with running(deployment(model, encoder)) as started:
        yield started


def test_readiness_is_a_picture(worker: Worker) -> None:
    assert worker.post("/ready", {})[0] == 200
    assert worker.ask("GET", "/v1/images/pace")[2] == b"null"


def test_a_picture_says_the_size_that_it_was_drawn_in(worker: Worker) -> None:
    status, answer = worker.generate(size="300x200")
    assert status == 200, answer
    assert (image_of(answer).size, answer["size"], answer["native_size"]) == ((300, 200), "300x200", "128x128")
    usage = answer["usage"]
    assert usage["input_tokens_details"]["text_tokens"] >= 2
    assert usage["output_tokens"] == 64
    assert json.loads(worker.ask("GET", "/v1/images/pace")[2])["steps"] == 4
    assert image_of(worker.generate()[1]).size == (128, 128)


def test_a_seed_draws_its_picture_to_the_byte_alone_and_among_others(worker: Worker) -> None:
    answer = worker.generate(seed=7, n=3)[1]
    assert [each["seed"] for each in answer["data"]] == [7, 8, 9]
    assert data_of(answer, 1) == data_of(worker.generate(seed=8)[1])
    assert len({data_of(answer, index) for index in range(3)}) == 3


def test_words_order_guidance_and_what_is_unwanted_change_the_picture(worker: Worker) -> None:
    told: tuple[dict[str, Any], ...] = (
        {"prompt": "a red apple and a moon"},
        {"prompt": "a moon and a red apple"},
        {"prompt": "a red apple and a moon", "guidance_scale": 1.0},
        {"prompt": "a red apple and a moon", "negative_prompt": "fog"},
        {"prompt": "a red apple and a moon", "quality": "low"},
        {"prompt": "???"},
    )
    assert len({data_of(worker.generate(**fields)[1]) for fields in told}) == len(told)


def test_a_background_is_transparent_where_that_is_asked_for(worker: Worker) -> None:
    clear, opaque = (worker.generate(background=each)[1] for each in ("transparent", "opaque"))
    assert (clear["background"], opaque["background"]) == ("transparent", "opaque")
    assert image_of(clear).mode == "RGBA"
    assert image_of(clear).getextrema()[3][0] < 255  # type: ignore[index]
    white = Image.alpha_composite(Image.new("RGBA", (128, 128), "white"), image_of(clear)).convert("RGB")
    assert ImageChops.difference(white, image_of(opaque)).getextrema() == ((0, 0),) * 3
    status, answer = worker.generate(background="transparent", output_format="jpeg")
    assert (status, answer["error"]["param"]) == (400, "output_format")
    assert image_of(worker.generate(background="transparent", output_format="webp")[1]).mode == "RGBA"


def test_an_edit_with_a_mask_changes_its_hole_and_nothing_else(worker: Worker) -> None:
    image, hole = photo(200, 150), (20, 10, 90, 70)
    status, answer = worker.form("/v1/images/edits", {"image": png(image), "mask": png(mask(200, 150, hole))})
    assert status == 200, answer
    assert ImageChops.difference(image_of(answer), image).getbbox() == hole
    clear = image.convert("RGBA")
    clear.putalpha(120)
    kept = image_of(
        worker.form("/v1/images/edits", {"image": png(clear), "mask": png(mask(200, 150, hole))}, background="transparent")[1]
    )
    assert kept.getpixel((150, 120)) == clear.getpixel((150, 120))


def test_edits_and_variations_start_from_the_picture(worker: Worker) -> None:
    gradient = Image.radial_gradient("L").resize((96, 96)).convert("RGB")
    for path, prompt in (("/v1/images/edits", "a tree"), ("/v1/images/variations", "")):
        made = []
        for image, strength in ((gradient, 0.3), (gradient, 0.9), (photo(96, 96), 0.3)):
            status, answer = worker.form(path, {"image": png(image)}, prompt=prompt, steps=8, strength=strength)
            assert status == 200, answer
            assert image_of(answer).size == image.size
            made.append(data_of(answer))
        assert len(set(made)) == 3, path


def test_a_model_without_blocks_is_not_loaded() -> None:
    with pytest.raises(Unfit, match="missing"):
        Network({name: value for name, value in tensors().items() if not name.startswith("blocks.")})


class _Sure:
    """A network that foresees the same picture whatever it is shown, and remembers when it was asked."""

    def __init__(self, picture: np.ndarray):
        self.picture, self.times = picture, list[float]()

    def hear(self, told: Told) -> int:
        return len(told.given)

    def foresee(self, noisy: np.ndarray, time: float, heard: int) -> np.ndarray:
        assert len(noisy) == heard
        self.times.append(time)
        return np.repeat(self.picture[None], heard, 0)


def test_the_way_ends_at_what_is_foreseen_and_keeps_what_is_kept() -> None:
    wanted, sent = np.full((64, 64), 2, np.float32), np.full((64, 64), -1, np.float32)
    shown: list[int] = []
    network: Any = _Sure(wanted)
    told = [nothing_said(), nothing_said()]
    kept = np.arange(64) < 10
    course = Course(4, 2.5, 0.5, sent, kept)
    made = sampled(network, told, 3, course, lambda step, foreseen: shown.append(step))
    assert made[kept] == pytest.approx(sent[kept])
    assert made[~kept] == pytest.approx(wanted[~kept])
    assert shown == [1, 2, 3, 4]
    assert network.times[0] == 0.5
    assert network.times == sorted(network.times)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"size": "8x128"}, "size"),
        ({"size": "4096x64"}, "size"),
        ({"prompt": "word " * 600}, "prompt"),
        ({"prompt": " \n"}, "prompt"),
        ({"negative_prompt": "word " * 600}, "negative_prompt"),
        ({"negative_prompt": "fog", "guidance_scale": 1.0}, "negative_prompt"),
    ],
)
def test_what_it_cannot_do_is_refused_by_name(worker: Worker, fields: dict[str, Any], param: str) -> None:
    status, answer = worker.generate(**fields)
    assert (status, answer["error"]["param"]) == (400, param)


def test_an_edit_that_makes_no_sense_is_refused(worker: Worker) -> None:
    files = {"image": png(photo()), "mask": png(mask())}
    status, answer = worker.form("/v1/images/edits", files, strength=0.5)
    assert (status, answer["error"]["param"]) == (400, "strength")


def test_a_stream_shows_pictures_in_the_making(worker: Worker) -> None:
    told = worker.events(partial_images=2, seed=3)
    assert [name for name, _ in told if name] == ["image_generation.partial_image"] * 2 + ["image_generation.completed"]
    assert [data for name, data in told if not name] == [f": step {done}/4" for done in range(5)]
    assert told[-1][1]["b64_json"] == worker.generate(seed=3)[1]["data"][0]["b64_json"]


def test_the_server_draws_with_it_and_finds_it_by_openais_names(model: Path, encoder: Path, tmp_path: Path) -> None:
    store = Store(tmp_path)
    files = []
    for role, path in (("weights", model), ("encoder", encoder)):
        copy = Path(shutil.copy(path, tmp_path / path.name))
        digest = f"sha256:{hashlib.sha256(copy.read_bytes()).hexdigest()}"
        files.append((File(role, path.name, digest, copy.stat().st_size), copy))  # type: ignore[arg-type]
    manifest = Manifest(
        "pictogram", "image", "pictogram", tuple(file for file, _ in files), "test", None, int(time.time()), options={**OPTIONS}
    )
    store.install(manifest, {str(file.digest): copy for file, copy in files})
    fake_model(tmp_path)
    with serving(tmp_path, env=ENV, ready=False) as server:
        check_endpoints(server)


def check_endpoints(server: Server) -> None:
    status, headers, answer = server.post("/v1/images/generations", {"model": "gpt-image-1", "prompt": "a tree", "seed": 1})
    assert status == 200, answer
    assert image_of(answer).size == (128, 128)
    status, headers, answer = server.post("/v1/images/generations", {"prompt": "a tree", "size": "1024x1024", "n": 2})
    assert [each["url"].startswith(server.root) for each in answer["data"]] == [True, True]
    assert "about" in headers["x-freehold-estimate"]
    status, _, answer = server.post("/v1/images/generations", {"model": "pictogram", "prompt": "a", "background": "clear"})
    assert (status, answer["error"]["param"]) == (400, "background")


def test_pictures_and_numbers_are_each_others_way_back() -> None:
    image = photo(128, 128).convert("RGBA")
    image.putalpha(Image.linear_gradient("L").resize((128, 128)).point(lambda value: max(value, 8)))
    there = np.asarray(image, np.float32) - np.asarray(shown(numbers(image)), np.float32)
    assert np.abs(there[40:]).max() <= 4  # where the opacity is small, eight bits hold less of the colour
    code = Code(tensors())
    latents = np.random.default_rng(1).normal(0, 0.1, (64, 64)).astype(np.float32)
    assert code.encode(code.decode(latents) * 0 + 0.5) == pytest.approx(np.zeros((64, 64)), abs=1e-4)


@pytest.mark.parametrize("ground", [(255, 255, 255), (20, 90, 160)])
def test_things_are_lifted_off_a_ground_of_one_colour(ground: tuple[int, int, int]) -> None:
    image = Image.new("RGB", (96, 96), ground)
    image.paste((200, 30, 40), (24, 40, 96, 90))  # reaches the edge
    image.paste(ground, (40, 50, 50, 60))  # what is enclosed is no ground
    things, colour = lifted(image)
    assert colour == ground
    seen = things.resize((96, 96)).getchannel("A")
    assert [seen.getpixel(place) for place in ((5, 5), (60, 5), (60, 65), (90, 65), (45, 55))] == [0, 0, 255, 255, 255]


def test_a_picture_that_has_no_such_ground_is_taken_whole() -> None:
    clear = photo(64, 64).convert("RGBA")
    clear.putalpha(Image.linear_gradient("L").resize((64, 64)))
    for image in (Image.linear_gradient("L").convert("RGB"), clear):
        assert lifted(image) == (image, (255, 255, 255))


def test_what_is_drawn_from_a_picture_stands_on_its_ground(worker: Worker) -> None:
    image = Image.new("RGB", (64, 64), (10, 200, 30))
    image.paste((200, 30, 40), (20, 20, 44, 44))
    drawn = image_of(worker.form("/v1/images/variations", {"image": png(image)}, strength=0.05)[1])
    corner = drawn.getpixel((1, 1))
    assert isinstance(corner, tuple)
    assert max(abs(one - other) for one, other in zip(corner, (10, 200, 30), strict=True)) < 40


async def test_a_request_is_looked_into_beside_the_event_loop() -> None:
    seen: list[int] = []

    def job(asked: Any) -> None:
        seen.append(threading.get_ident())
        raise Refused("No.")

    nobody: Any = None
    artist: Any = SimpleNamespace(job=job)
    with pytest.raises(Refused):
        await Endpoints(artist)._answer(nobody, parsed("generation", {"prompt": "a lion"}))
    assert len(seen) == 1
    assert threading.get_ident() not in seen


def test_squares_without_a_hole_are_kept() -> None:
    hole = Image.new("L", (256, 256), 0)
    hole.paste(255, (0, 0, 33, 20))  # a pixel of the second square of the first row
    assert np.flatnonzero(~untouched(hole)).tolist() == [0, 1]


def test_words_are_looked_at_one_by_one() -> None:
    assert words_of("Two RED apples, the cat’s ice-cream & 3 stars_!") == [
        "two",
        "red",
        "apples",
        "the",
        "cat’s",
        "ice-cream",
        "3",
        "stars",
    ]
    assert len(words_of("a " * 50)) == 12


@pytest.mark.parametrize(
    "damage", [lambda raw: raw[:100], lambda raw: raw[:-10], lambda raw: b"\xff" * 8 + raw[8:], lambda raw: b""]
)
def test_a_damaged_file_is_not_loaded(model: Path, tmp_path: Path, damage: Any) -> None:
    path = tmp_path / "x.safetensors"
    path.write_bytes(damage(model.read_bytes()))
    with pytest.raises(Unfit):
        load(path)


def test_matrices_of_eight_bits_have_a_factor_for_each_row(tmp_path: Path) -> None:
    whole = {"a": np.array([[1, -2], [3, 127]], np.int8), "a.scale": np.array([0.5, 2], np.float16)}
    assert load(write(tmp_path / "x.safetensors", whole))["a"].tolist() == [[0.5, -1.0], [6.0, 254.0]]
