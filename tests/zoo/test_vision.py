"""Models that see, asked by OpenAI's own client: pictures inside the request, counted and told apart by the real engine."""

from __future__ import annotations

import base64
import contextlib
import signal
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import openai
import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving, until
from tests.zoo import pictures
from tests.zoo.build import write
from tests.zoo.pictures import picture, uri
from tests.zoo.shapes import zoo
from tests.zoo.test_zoo import ENGINE, freehold
from tests.zoo.vision import Seeing, seeing

SEEING = {model.text.name: model for model in seeing()}
BLIND = "llama-gqa"


def install(home: Path, model: Seeing, folder: Path) -> None:
    text, projector = write(model.text, folder), write(model.projector, folder)
    done = freehold(home, "pull", str(text), "--projector", str(projector), "--name", model.text.name)
    assert done.code == 0, done.err


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    home, folder = tmp_path_factory.mktemp("vision"), tmp_path_factory.mktemp("files")
    data = home / "data"
    fake_model(data)
    for model in SEEING.values():
        install(home, model, folder)
    pull(
        Store(data),
        str(write(next(s for s in zoo() if s.name == BLIND), folder)),
        name=BLIND,
        on_progress=lambda progress: None,
    )
    (home / "sitecustomize.py").write_text(NAMES)
    with gallery() as port:
        env = {
            "FREEHOLD_ENGINE_CONTEXT": "1024",
            "FREEHOLD_IMAGES_FETCH": "true",
            "PYTHONPATH": str(home),
            "GALLERY": str(port),
        }
        with serving(data, env=ENGINE | env, ready=False) as running:
            yield running


# In the server under test: a name that has a public address, behind which is a server of the test's.
NAMES = """
import asyncio, os, socket
known, connect = socket.getaddrinfo, asyncio.open_connection
addresses = {"pictures.example": "93.184.216.34", "inside.example": "10.1.2.3"}
def getaddrinfo(host, *args, **options):
    return known(addresses.get(host, host), *args, **options)
async def open_connection(host, port, **options):
    assert host == "93.184.216.34", host
    return await connect("127.0.0.1", int(os.environ["GALLERY"]), **options)
socket.getaddrinfo, asyncio.open_connection = getaddrinfo, open_connection
"""


@contextlib.contextmanager
def gallery() -> Iterator[int]:
    """A web server with one picture."""

    class Pictures(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(picture("green"))

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Pictures) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield web.server_port
        web.shutdown()


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0, timeout=60) as made:
        yield made


def message(*urls: str, text: str = "what is in it", **image: Any) -> Any:
    parts = [{"type": "image_url", "image_url": {"url": url, **image}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": text}, *parts]}]


def ask(client: openai.OpenAI, model: str, *urls: str, **fields: Any) -> Any:
    fields = {"max_tokens": 8, "temperature": 0, "logprobs": True, "extra_body": {"grammar": "root ::= [a-z ]+"}} | fields
    return client.chat.completions.create(model=model, messages=message(*urls), **fields)


def scores(answer: Any) -> list[float]:
    return [token.logprob for token in answer.choices[0].logprobs.content]


def refused(client: openai.OpenAI, model: str, *urls: str, **image: Any) -> openai.BadRequestError:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=model, messages=message(*urls, **image), max_tokens=1)
    return caught.value


@pytest.mark.parametrize("model", SEEING)
def test_two_pictures_give_two_answers_and_the_same_one_the_same(client: openai.OpenAI, model: str) -> None:
    red, again, blue = (ask(client, model, uri(picture(colour))) for colour in ("red", "red", "blue"))
    assert scores(red) == pytest.approx(scores(again), abs=0.02)
    assert scores(red) != pytest.approx(scores(blue), abs=0.2)
    assert red.usage.prompt_tokens == blue.usage.prompt_tokens
    assert again.usage.prompt_tokens_details.cached_tokens > 0  # the same picture is not looked at twice


def test_the_tokens_of_a_picture_are_counted_by_the_engine(client: openai.OpenAI) -> None:
    square = (SEEING["gemma3-vision"].side // 8 // 2) ** 2  # patches of 8 pixels, two by two merged
    one, two = (ask(client, "gemma3-vision", *[uri(picture())] * count).usage.prompt_tokens for count in (1, 2))
    assert two - one > square  # and the words around a picture
    flat = ask(client, "smol-vision", uri(picture(size=(300, 40)))).usage.prompt_tokens
    assert ask(client, "smol-vision", uri(picture(size=(64, 64)))).usage.prompt_tokens > flat  # nine tiles against three


def test_other_apis_show_the_same_picture(server: Server, client: openai.OpenAI) -> None:
    model, data = "smol-vision", base64.b64encode(picture("green")).decode()
    expected = ask(client, model, uri(picture("green"))).usage.prompt_tokens
    source = {"type": "base64", "media_type": "image/png", "data": data}
    parts = [{"type": "text", "text": "what is in it"}, {"type": "image", "source": source}]
    body = {"model": model, "messages": [{"role": "user", "content": parts}]}
    assert server.post("/v1/messages/count_tokens", body)[2] == {"input_tokens": expected}
    usage = server.post("/v1/messages", body | {"max_tokens": 2})[2]["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == expected
    told = {"model": model, "stream": False, "options": {"num_predict": 2}}
    turn = {"role": "user", "content": "what is in it", "images": [data]}
    assert server.post("/api/chat", told | {"messages": [turn]})[2]["prompt_eval_count"] == expected
    generated = server.post("/api/generate", told | {"prompt": "what is in it", "images": [data]})[2]
    assert generated["prompt_eval_count"] == expected


def test_every_api_fetches_a_picture_by_its_address_where_that_is_switched_on(server: Server, client: openai.OpenAI) -> None:
    model, url, none = "smol-vision", "http://pictures.example/cat.png", "http://inside.example/cat.png"
    expected = ask(client, model, uri(picture("green"))).usage.prompt_tokens
    assert ask(client, model, url).usage.prompt_tokens == expected
    assert ask(client, model, url, uri(picture("red")), url, n=2).usage.prompt_tokens > 2 * expected
    text = {"type": "text", "text": "what is in it"}

    def message(address: str) -> Any:
        turn = {"role": "user", "content": [text, {"type": "image", "source": {"type": "url", "url": address}}]}
        return server.post("/v1/messages", {"model": model, "max_tokens": 2, "messages": [turn]})

    def response(address: str) -> Any:
        content = [{"type": "input_text", "text": text["text"]}, {"type": "input_image", "image_url": address}]
        asked = {"input": [{"role": "user", "content": content}], "truncation": "auto"}
        return server.post("/v1/responses", {"model": model, "max_output_tokens": 16, "store": False} | asked)

    usage = message(url)[2]["usage"]
    assert usage["input_tokens"] + usage["cache_read_input_tokens"] == expected
    assert response(url)[2]["usage"]["input_tokens"] == expected
    for status, _, body in (message(none), response(none)):
        assert (status, body["error"]["message"]) == (400, "The image's address cannot be reached from here.")


def test_fetching_is_off_until_it_is_switched_on(server: Server, tmp_path: Path) -> None:
    model = SEEING["smol-vision"]
    fake_model(tmp_path / "data")
    install(tmp_path, model, tmp_path)
    config = tmp_path / "freehold.toml"
    config.touch()
    with (
        serving(tmp_path / "data", "--config", str(config), env=ENGINE, ready=False) as closed,
        contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener,
    ):
        listener.settimeout(0.5)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/cat.png"
        status, _, body = closed.post("/v1/chat/completions", {"model": model.text.name, "messages": message(url)})
        assert (status, body["error"]["code"], "images.fetch" in body["error"]["message"]) == (400, "invalid_image_url", True)
        config.write_text('[images]\nfetch = true\nhosts = ["only.example"]\n')
        closed.process.send_signal(signal.SIGHUP)

        def told() -> str:
            asked = {"model": model.text.name, "messages": message(url)}
            return str(closed.post("/v1/chat/completions", asked)[2]["error"]["message"])

        until(lambda: "images.hosts" in told())
        with pytest.raises(TimeoutError):
            listener.accept()


def test_a_streamed_answer_to_a_picture_is_the_same_answer(client: openai.OpenAI) -> None:
    url = uri(picture("green"))
    whole = ask(client, "smol-vision", url)
    chunks = list(ask(client, "smol-vision", url, stream=True, stream_options={"include_usage": True}))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
    assert text == whole.choices[0].message.content
    assert chunks[-1].usage.prompt_tokens == whole.usage.prompt_tokens


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF"])
def test_every_format_that_passes_is_one_the_engine_reads(client: openai.OpenAI, kind: str) -> None:
    assert ask(client, "gemma3-vision", uri(picture(kind=kind), kind.lower())).usage.completion_tokens == 8


def test_the_list_of_models_says_which_of_them_see(server: Server) -> None:
    for name, sees in (*((name, True) for name in SEEING), (BLIND, False)):
        card = server.get(f"/v1/models/{name}")[2]
        assert card["capabilities"]["vision"] is sees
        assert card["architecture"]["input_modalities"] == (["text", "image"] if sees else ["text"])


def test_a_model_without_a_projector_refuses_pictures_and_names_the_part(client: openai.OpenAI) -> None:
    error = refused(client, BLIND, uri(picture()))
    assert (error.param, error.code) == ("messages[0].content[1]", "unsupported_content")


def test_an_address_is_refused_and_nobody_connects_to_it(client: openai.OpenAI) -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(0.5)
        error = refused(client, "gemma3-vision", f"http://127.0.0.1:{listener.getsockname()[1]}/cat.png")
        assert (error.param, error.code) == ("messages[0].content[1].image_url.url", "invalid_image_url")
        with pytest.raises(TimeoutError):
            listener.accept()


@pytest.mark.parametrize("detail", ["low", "original"])
def test_a_detail_that_no_model_here_can_keep_is_refused(client: openai.OpenAI, detail: str) -> None:
    error = refused(client, "gemma3-vision", uri(picture()), detail=detail)
    assert error.param == "messages[0].content[1].image_url.detail"


@pytest.mark.parametrize("detail", ["auto", "high"])
def test_the_usual_detail_is_what_models_see(client: openai.OpenAI, detail: str) -> None:
    answer = client.chat.completions.create(
        model="gemma3-vision", messages=message(uri(picture()), detail=detail), max_tokens=1
    )
    assert answer.usage is not None


def test_pictures_beyond_the_context_are_the_usual_400(client: openai.OpenAI) -> None:
    error = refused(client, "smol-vision", *[uri(picture())] * 8)
    assert (error.param, error.code) == ("messages", "context_length_exceeded")


def test_a_damaged_picture_is_a_400_and_the_model_goes_on(server: Server, client: openai.OpenAI) -> None:
    ask(client, "gemma3-vision", uri(picture()))
    before = server.worker("gemma3-vision")["pid"]
    good = picture(size=(64, 64), kind="PNG")
    for damaged in (good[: len(good) // 2], pictures.png_that_claims(500, 500)):
        assert "cannot be decoded" in refused(client, "gemma3-vision", uri(damaged)).message
    assert server.worker("gemma3-vision")["pid"] == before
    assert ask(client, "gemma3-vision", uri(picture())).usage.completion_tokens == 8


def test_a_bomb_costs_the_server_no_memory(server: Server, client: openai.OpenAI) -> None:
    ask(client, "gemma3-vision", uri(picture()))
    before = _peak(server.pid)
    for bomb in (pictures.png_that_claims(60_000, 60_000), pictures.gif_that_claims(65_535, 65_535)):
        assert refused(client, "gemma3-vision", uri(bomb)).code == "image_too_large"
    refused(client, "gemma3-vision", uri(pictures.png_that_claims(64, 64, pictures.compressed_text(400))))
    assert _peak(server.pid) - before < 100e6


def _peak(pid: int) -> int:
    """Most resident memory that a process ever had, in bytes."""
    found = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(found.split()[1]) * 1024


@pytest.mark.parametrize("size", [(1, 90), (90, 1), (2, 2), (1, 1), (3000, 2000)])
@pytest.mark.parametrize("model", SEEING)
def test_pictures_of_odd_sizes_are_seen(client: openai.OpenAI, model: str, size: tuple[int, int]) -> None:
    assert ask(client, model, uri(picture(size=size))).usage.completion_tokens == 8


def test_a_picture_too_narrow_for_a_model_is_a_400_and_the_model_goes_on(server: Server, client: openai.OpenAI) -> None:
    ask(client, "smol-vision", uri(picture()))
    before = server.worker("smol-vision")["pid"]
    assert "of a size" in refused(client, "smol-vision", uri(picture(size=(1, 200)))).message
    assert server.worker("smol-vision")["pid"] == before


def test_a_projector_must_be_one_and_goes_with_a_file(tmp_path: Path) -> None:
    model = SEEING["gemma3-vision"]
    text = str(write(model.text, tmp_path))
    done = freehold(tmp_path, "pull", text, "--projector", text)
    assert (done.code, "projector" in done.err) == (1, True)
    done = freehold(tmp_path, "pull", "smollm2:135m", "--projector", text)
    assert (done.code, "--projector" in done.err) == (2, True)
    assert Store(tmp_path / "data").list() == []
