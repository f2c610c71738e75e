"""Who may come in, what happens when a worker dies under a session, and how a server that stops says good-bye."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable, Iterator

import openai
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, InvalidStatus

from freehold.errors import QueueFull, Unauthenticated
from freehold.gateway.realtime import lobby
from freehold.gateway.realtime.lobby import Lobby
from freehold.protocol.realtime.config import settings
from tests.conftest import Server, serving, until
from tests.realtime.conftest import DEFAULTS, install
from tests.realtime.test_conversation import QUESTION, Talk, idle, talking
from tests.speech import HEARS

KEY = "sesame"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("guarded")
    install(data)
    with serving(data, env=DEFAULTS, key=KEY) as running:
        yield running


async def test_the_key_or_a_client_secret_opens_the_socket(guarded: Server) -> None:
    async with talking(guarded, key=KEY):
        pass
    for key in ("wrong", "ek_wrong"):
        with pytest.raises(InvalidStatus) as refused:
            async with talking(guarded, key=key):
                pass
        assert refused.value.response.status_code == 401
        assert json.loads(refused.value.response.body or b"")["error"]["code"] == "invalid_api_key"


async def test_a_client_secret_stands_for_its_settings_and_opens_nothing_else(guarded: Server) -> None:
    async with openai.AsyncOpenAI(base_url=guarded.base_url, api_key=KEY, max_retries=0) as client:
        made = await client.realtime.client_secrets.create(
            expires_after={"anchor": "created_at", "seconds": 60},
            session={"type": "realtime", "model": "gpt-realtime", "instructions": "Be brief.", "output_modalities": ["text"]},
        )
        assert made.value.startswith("ek_")
        assert made.session.type == "realtime"
    async with talking(guarded, openai.omit, key=made.value) as talk:  # type: ignore[arg-type]
        assert talk.events[0]["session"]["instructions"] == "Be brief."
        assert talk.events[0]["session"]["output_modalities"] == ["text"]
    with pytest.raises(InvalidStatus) as other:
        async with talking(guarded, "talkative", key=made.value):
            pass
    assert other.value.response.status_code == 400
    status, _, _ = guarded.get("/v1/models", headers={"Authorization": f"Bearer {made.value}"})
    assert status == 401
    for body, param in (
        ({"expires_after": {"seconds": 5}}, "expires_after.seconds"),
        ({"session": {"type": "realtime", "model": "nope"}}, "model"),
        ({"session": {"type": "realtime", "colour": "red"}}, "session.colour"),
    ):
        status, _, answer = guarded.post("/v1/realtime/client_secrets", body)
        assert (status // 100, answer["error"]["param"]) == (4, param)


async def test_a_browser_sends_its_secret_as_a_subprotocol(guarded: Server) -> None:
    url = f"ws://127.0.0.1:{guarded.port}/v1/realtime?model=gpt-realtime"
    protocols = ["realtime", f"openai-insecure-api-key.{KEY}"]
    async with connect(url, subprotocols=protocols, proxy=None) as socket:  # type: ignore[arg-type]
        assert socket.subprotocol == "realtime"
        assert json.loads(await socket.recv())["type"] == "session.created"


def test_secrets_expire_and_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = Lobby()
    secret = waiting.issue(settings({"type": "realtime"}), 60)
    assert waiting.admit(secret) is not None
    expired = waiting.issue(None, -1)
    with pytest.raises(Unauthenticated):
        waiting.admit(expired)
    monkeypatch.setattr(lobby, "_MOST", 3)
    for _ in range(3):
        waiting.issue(None, 60)
    with pytest.raises(Unauthenticated):
        waiting.admit(secret)
    with waiting.place(1), pytest.raises(QueueFull), waiting.place(1):
        pass
    assert waiting.sessions == 0


async def test_a_recogniser_that_dies_is_told_and_heard_again(guarded: Server, say: Callable[[str], bytes]) -> None:
    async with talking(guarded, openai.omit, key=KEY, extra_query={"intent": "transcription"}) as talk:  # type: ignore[arg-type]
        await talk.hear(say(QUESTION)[:48_000])
        await talk.until("input_audio_buffer.speech_started")
        os.kill(guarded.worker(HEARS)["pid"], signal.SIGKILL)
        assert (await talk.until("error"))["error"]["code"] == "worker_died"
        await _heard_again(talk, say(QUESTION))
    until(lambda: idle(guarded))


async def _heard_again(talk: Talk, audio: bytes) -> None:
    """What is said until the recogniser is back is lost, so it is said again."""
    async with asyncio.timeout(60):
        while not any(event["type"].endswith("transcription.completed") for event in talk.events):
            await talk.hear(audio)
            try:
                async with asyncio.timeout(2):
                    talk.events.append(json.loads(await talk.connection.recv_bytes()))
            except TimeoutError:
                pass


async def test_a_model_that_dies_fails_its_response_and_not_the_session(guarded: Server) -> None:
    async with talking(guarded, "talkative", key=KEY) as talk:
        await talk.settle(output_modalities=["text"])
        await talk.write("one two three")
        await talk.send("response.create")
        await talk.until("response.output_text.delta")
        os.kill(guarded.worker("talkative")["pid"], signal.SIGKILL)
        done = (await talk.until("response.done"))["response"]
        assert (done["status"], done["status_details"]["error"]["code"]) == ("failed", "worker_died")
        await talk.send("response.create")
        await talk.until("response.output_text.delta")
    until(lambda: idle(guarded))


async def test_a_server_that_stops_lets_a_response_end_and_says_good_bye(guarded: Server) -> None:
    async with talking(guarded, key=KEY) as silent, talking(guarded, key=KEY) as busy:
        await busy.settle(output_modalities=["text"])
        await busy.write(f'[[fake:{{"tokens": 20, "token_delay_s": 0.1}}]] {QUESTION}')
        await busy.send("response.create")
        await busy.until("response.output_text.delta")
        guarded.process.send_signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            await silent.until("response.created", 10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1001
        assert (await busy.until("response.done"))["response"]["status"] == "completed"
        with pytest.raises(ConnectionClosed):
            await busy.until("response.created", 10)
    assert guarded.process.wait(30) == 0
