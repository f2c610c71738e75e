"""Realtime sessions with OpenAI's own client, against a server that hears and speaks."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import av
import openai
import pytest
from openai.resources.realtime.realtime import AsyncRealtimeConnection
from openai.types.beta.realtime import RealtimeServerEvent
from pydantic import TypeAdapter
from websockets.exceptions import ConnectionClosed, InvalidStatus

from tests.conftest import Server, until
from tests.realtime.parts import checked
from tests.speech import clip, word_errors

QUESTION = "What is the capital of France?"
TIMES = "It was the best of times, it was the worst of times."
HEARD = {"transcription": {"model": "whisper-1"}}
Say = Callable[[str], bytes]


class Talk:
    """A session, and every event of it so far, each of them what the SDK's types say."""

    def __init__(self, connection: AsyncRealtimeConnection):
        self.connection = connection
        self.events: list[dict[str, Any]] = []

    async def until(self, kind: str, within: float = 60) -> dict[str, Any]:
        """The next event of that kind."""
        async with asyncio.timeout(within):
            while True:
                event = checked(json.loads(await self.connection.recv_bytes()))
                self.events.append(event)
                if event["type"] == kind:
                    return event
                if event["type"] == "error" and kind != "error":
                    pytest.fail(str(event))

    async def send(self, kind: str, **fields: Any) -> None:
        await self.connection.send({"type": kind, **fields})  # type: ignore[arg-type, misc]

    async def hear(self, audio: bytes, piece: int = 9600) -> None:
        for start in range(0, len(audio), piece):
            await self.send("input_audio_buffer.append", audio=base64.b64encode(audio[start : start + piece]).decode())

    async def settle(self, **session: Any) -> dict[str, Any]:
        await self.send("session.update", session={"type": "realtime", **session})
        return (await self.until("session.updated"))["session"]

    async def write(self, text: str) -> None:
        await self.send("conversation.item.create", item=user(text))

    def kinds(self) -> list[str]:
        """Types of the events so far; several deltas of one kind are one."""
        kinds = [event["type"] for event in self.events]
        self.events.clear()
        return [kind for place, kind in enumerate(kinds) if not (kind.endswith("delta") and kind in kinds[:place][-2:])]

    def audio(self) -> bytes:
        deltas = (event["delta"] for event in self.events if event["type"] == "response.output_audio.delta")
        return b"".join(map(base64.b64decode, deltas))


def user(text: str) -> dict[str, Any]:
    return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}


@contextlib.asynccontextmanager
async def talking(server: Server, model: str = "gpt-realtime", **options: Any) -> AsyncIterator[Talk]:
    key = options.pop("key", "none")
    async with (
        openai.AsyncOpenAI(base_url=server.base_url, api_key=key, max_retries=0) as client,
        client.realtime.connect(model=model, **options) as connection,
    ):
        talk = Talk(connection)
        await talk.until("session.created")
        yield talk


def idle(server: Server) -> bool:
    """Whether nothing of any session is left."""
    sessions = server.metric("freehold_realtime_sessions")
    return sessions == 0 and server.metric("freehold_leases") == 0 and server.metric("freehold_queue_depth") == 0


@pytest.fixture(autouse=True)
def nothing_is_left(voiced: Server) -> Any:
    yield
    until(lambda: idle(voiced))


async def test_a_spoken_question_is_heard_answered_and_spoken(voiced: Server, say: Say) -> None:
    async with talking(voiced) as talk:
        await talk.settle(audio={"input": HEARD})
        talk.events.clear()
        await talk.hear(say(QUESTION))
        done = await talk.until("response.done")
        heard = next(event for event in talk.events if event["type"].endswith("transcription.completed"))
        assert word_errors(QUESTION, heard["transcript"]) <= 0.2
        assert done["response"]["status"] == "completed"
        assert done["response"]["output"][0]["content"][0]["transcript"] == heard["transcript"]  # the played model repeats it
        assert done["response"]["usage"]["output_tokens"] > 0
        assert 1 < len(talk.audio()) / 48_000 < 10
        started = next(event for event in talk.events if event["type"].endswith("speech_started"))
        stopped = next(event for event in talk.events if event["type"].endswith("speech_stopped"))
        assert started["audio_start_ms"] < stopped["audio_end_ms"]
        assert started["item_id"] == stopped["item_id"] == heard["item_id"]
        assert [kind for kind in talk.kinds() if kind != "response.output_audio_transcript.delta"] == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "conversation.item.input_audio_transcription.delta",
            "conversation.item.input_audio_transcription.completed",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_audio.delta",
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        until(lambda: voiced.metric("freehold_leases") == 0)  # while the session is open


async def test_two_turns_the_second_of_which_interrupts_the_first(voiced: Server, say: Say) -> None:
    async with talking(voiced, "talkative") as talk:
        await talk.settle(audio={"input": HEARD})
        await talk.hear(say("Tell me a story. Once upon a time there was a king."))
        await talk.until("response.output_audio.delta")
        talk.events.clear()
        await talk.hear(say("Stop it now, please."))
        interrupted = (await talk.until("response.done"))["response"]
        assert interrupted["status_details"] == {"type": "cancelled", "reason": "turn_detected"}
        item = interrupted["output"][0]
        assert item["status"] == "incomplete"
        kinds = talk.kinds()
        assert kinds[kinds.index("input_audio_buffer.speech_started") + 1 :] == [
            "response.output_audio.done",
            "response.output_audio_transcript.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
        ]
        second = (await talk.until("response.created"))["response"]
        assert second["id"] != interrupted["id"]
        assert not [event for event in talk.events if event.get("response_id") == interrupted["id"]]
        await talk.until("response.output_audio.delta")
        await talk.send("response.cancel")
        await talk.until("response.done")
        await talk.send("conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=300)
        await talk.until("conversation.item.truncated")
        await talk.send("conversation.item.retrieve", item_id=item["id"])
        words = (await talk.until("conversation.item.retrieved"))["item"]["content"][0]["transcript"]
        assert len(words) <= len(item["content"][0]["transcript"])
        assert len(words) < 15


async def test_a_function_is_called_and_its_output_answered(voiced: Server) -> None:
    """The played model repeats what it is told, so it is told what a call looks like."""
    parameters = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    tool = {"type": "function", "name": "weather", "description": "The weather.", "parameters": parameters}
    async with talking(voiced) as talk:
        await talk.settle(output_modalities=["text"], tools=[tool], tool_choice="required")
        await talk.write('{"name": "weather", "arguments": {"city": "Rome"}}')
        await talk.send("response.create")
        done = (await talk.until("response.done"))["response"]
        (call,) = done["output"]
        assert (call["type"], call["name"], json.loads(call["arguments"])) == ("function_call", "weather", {"city": "Rome"})
        deltas = [event["delta"] for event in talk.events if event["type"] == "response.function_call_arguments.delta"]
        assert "".join(deltas) == call["arguments"]
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": '{"sky": "blue"}'}
        await talk.send("conversation.item.create", item=output)
        await talk.write("How is it?")
        await talk.send("response.create", response={"tool_choice": "none"})
        done = (await talk.until("response.done"))["response"]
        assert done["output"][0]["content"] == [{"type": "output_text", "text": "How is it?"}]


async def test_turns_by_hand_and_answers_in_writing(voiced: Server, say: Say) -> None:
    async with talking(voiced) as talk:
        session = await talk.settle(output_modalities=["text"], audio={"input": {"turn_detection": None, **HEARD}})
        assert session["audio"]["input"]["turn_detection"] is None
        talk.events.clear()
        await talk.hear(say(QUESTION))
        await talk.send("input_audio_buffer.commit")
        await talk.send("response.create")
        done = (await talk.until("response.done"))["response"]
        assert word_errors(QUESTION, done["output"][0]["content"][0]["text"]) <= 0.2
        kinds = talk.kinds()
        assert not [kind for kind in kinds if "audio.delta" in kind or "speech_" in kind]
        assert kinds[0] == "input_audio_buffer.committed"
        await talk.send("input_audio_buffer.commit")
        assert (await talk.until("error"))["error"]["code"] == "input_audio_buffer_commit_empty"
        await talk.hear(say(QUESTION))
        await talk.send("input_audio_buffer.clear")
        await talk.until("input_audio_buffer.cleared")


def telephoned(codec: str, seconds: float) -> bytes:
    """The beginning of a recording as a telephone has it: G.711, 8 kHz."""
    encoder = av.AudioCodecContext.create(codec, "w")
    encoder.sample_rate, encoder.layout, encoder.format = 8000, "mono", "s16"
    resampler = av.AudioResampler("s16", "mono", 8000)
    data = bytearray()
    with av.open(str(clip("two_cities.wav"))) as recording:
        for frame in recording.decode(audio=0):
            for part in resampler.resample(frame):
                data += b"".join(bytes(packet) for packet in encoder.encode(part))
            if len(data) >= 8000 * seconds:
                break
    return bytes(data)


@pytest.mark.parametrize(("kind", "codec"), [("audio/pcmu", "pcm_mulaw"), ("audio/pcma", "pcm_alaw")])
async def test_a_telephones_audio_goes_in_and_out(voiced: Server, kind: str, codec: str) -> None:
    form = {"type": kind}
    async with talking(voiced) as talk:
        await talk.settle(audio={"input": {"format": form, "turn_detection": None, **HEARD}, "output": {"format": form}})
        await talk.hear(telephoned(codec, 5.5))
        await talk.send("input_audio_buffer.commit")
        heard = await talk.until("conversation.item.input_audio_transcription.completed")
        assert word_errors(TIMES, heard["transcript"]) <= 0.3
        await talk.write(QUESTION)
        await talk.send("response.create")
        await talk.until("response.done")
        assert 8000 < len(talk.audio()) < 80_000
        assert len(set(talk.audio())) > 100  # no silence


async def test_a_recording_within_an_item_is_heard(voiced: Server, say: Say) -> None:
    async with talking(voiced) as talk:
        await talk.settle(output_modalities=["text"], audio={"input": HEARD})
        audio = {"type": "input_audio", "audio": base64.b64encode(say(QUESTION)).decode()}
        await talk.send("conversation.item.create", item={"type": "message", "role": "user", "content": [audio]})
        await talk.send("response.create")
        done = (await talk.until("response.done"))["response"]
        assert done["status"] == "completed", done["status_details"]
        assert word_errors(QUESTION, done["output"][0]["content"][0]["text"]) <= 0.2
        completed = next(event for event in talk.events if event["type"].endswith("transcription.completed"))
        assert completed["usage"]["seconds"] == pytest.approx(len(say(QUESTION)) / 48_000, abs=0.01)
        await talk.settle(audio={"input": {"format": {"type": "audio/pcmu"}}})
        noise = {"type": "input_audio", "audio": base64.b64encode(b"\xff" * 8000).decode()}
        await talk.send("conversation.item.create", item={"type": "message", "role": "user", "content": [noise]})
        assert (await talk.until("conversation.item.input_audio_transcription.completed"))["transcript"] == ""


async def test_a_session_may_only_transcribe(voiced: Server, say: Say) -> None:
    async with talking(voiced, openai.omit, extra_query={"intent": "transcription"}) as talk:  # type: ignore[arg-type]
        assert talk.events[0]["session"]["type"] == "transcription"
        first = asyncio.create_task(talk.until("conversation.item.input_audio_transcription.delta"))
        speech, sent = say(QUESTION)[:-38_400], 0
        while not first.done():  # over and over, at the pace of speech: its first words come while it goes on
            await talk.hear(speech[sent : sent + 4_800])
            sent = (sent + 4_800) % len(speech)
            await asyncio.wait({first}, timeout=0.1)
        await talk.hear(speech[sent:] + bytes(48_000))
        assert (await first)["item_id"] == next(event for event in talk.events if "speech_started" in event["type"])["item_id"]
        assert not any("speech_stopped" in event["type"] for event in talk.events)
        heard = await talk.until("conversation.item.input_audio_transcription.completed")
        assert QUESTION.rpartition(" ")[2].lower() in heard["transcript"].lower()
        deltas = [event["delta"] for event in talk.events if event["type"].endswith("transcription.delta")]
        assert word_errors(heard["transcript"], "".join(deltas)) <= 0.5
        await talk.send("response.create")
        assert (await talk.until("error"))["error"]["type"] == "invalid_request_error"


async def test_voice_and_speed_change_what_is_heard(voiced: Server) -> None:
    lengths, sounds = [], []
    for speed, voice in ((1.0, "alloy"), (1.5, "alloy"), (1.0, "ash")):
        async with talking(voiced) as talk:
            await talk.settle(audio={"output": {"speed": speed, "voice": voice}})
            await talk.write(QUESTION)
            await talk.send("response.create")
            await talk.until("response.done")
            lengths.append(len(talk.audio()))
            sounds.append(talk.audio())
    assert lengths[1] < 0.8 * lengths[0]
    assert sounds[2] != sounds[0]


async def test_mistakes_are_told_and_the_session_goes_on(voiced: Server) -> None:
    async with talking(voiced) as talk:
        await talk.connection.send_raw("garbage")
        assert (await talk.until("error"))["error"]["code"] == "invalid_json"
        await talk.send(
            "session.update", event_id="mine", session={"type": "realtime", "audio": {"output": {"voice": "nobody"}}}
        )
        error = (await talk.until("error"))["error"]
        assert (error["event_id"], error["param"]) == ("mine", "voice")
        await talk.send(
            "session.update", session={"type": "realtime", "audio": {"input": {"transcription": {"model": "nope"}}}}
        )
        assert (await talk.until("error"))["error"]["code"] == "model_not_found"
        await talk.send("conversation.item.delete", item_id="nope")
        assert (await talk.until("error"))["error"]["code"] == "item_not_found"
        await talk.send("response.create", response={"max_output_tokens": 3})
        await talk.until("response.done")


async def test_an_answer_that_is_cut_is_incomplete(voiced: Server) -> None:
    async with talking(voiced) as talk:
        await talk.settle(max_output_tokens=3, output_modalities=["text"])
        await talk.write("one two three four five six")
        await talk.send("response.create")
        done = (await talk.until("response.done"))["response"]
        assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
        assert done["output"][0]["content"][0]["text"] == "one two three"


async def test_the_models_of_a_session_are_named_before_it_begins(voiced: Server) -> None:
    for query, status in ((None, 400), ("nope", 404), ("espeak-ng", 400)):
        with pytest.raises(InvalidStatus) as refused:
            async with talking(voiced, query or openai.omit):  # type: ignore[arg-type]
                pass
        assert refused.value.response.status_code == status
        assert json.loads(refused.value.response.body or b"")["error"]["param"] == "model"
    assert voiced.get("/v1/realtime?model=fake")[0] == 426


async def test_clients_of_the_beta_are_served_in_its_words(voiced: Server, say: Say) -> None:
    known: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)
    events: list[dict[str, Any]] = []
    async with (
        openai.AsyncOpenAI(
            base_url=voiced.base_url,
            websocket_base_url=voiced.base_url.replace("http", "ws"),
            api_key="none",
        ) as client,
        client.beta.realtime.connect(model="gpt-4o-realtime-preview") as session,
    ):

        async def until(kind: str) -> dict[str, Any]:
            async with asyncio.timeout(60):
                while not events or events[-1]["type"] != kind:
                    events.append(json.loads(await session.recv_bytes()))
                    known.validate_python(events[-1])
            return events[-1]

        await session.session.update(
            session={
                "modalities": ["text", "audio"],
                "voice": "ash",
                "input_audio_format": "g711_ulaw",
                "output_audio_format": "pcm16",
                "input_audio_transcription": {"model": "whisper-1"},
                "turn_detection": {"type": "server_vad", "silence_duration_ms": 400},
                "max_response_output_tokens": 50,
            }
        )
        changed = (await until("session.updated"))["session"]
        assert (changed["voice"], changed["input_audio_format"], changed["turn_detection"]["silence_duration_ms"]) == (
            "ash",
            "g711_ulaw",
            400,
        )
        await session.session.update(session={"input_audio_format": "pcm16", "temperature": 0.8})
        assert (await until("error"))["error"]["param"] == "session.temperature"
        await session.session.update(session={"input_audio_format": "pcm16"})
        await until("session.updated")
        audio = say(QUESTION)
        for start in range(0, len(audio), 48_000):
            await session.input_audio_buffer.append(audio=base64.b64encode(audio[start : start + 48_000]).decode())
        done = (await until("response.done"))["response"]
        assert done["output"][0]["content"][0]["type"] == "audio"
        kinds = {event["type"] for event in events}
        assert {"conversation.item.created", "response.audio.delta", "response.audio_transcript.delta"} <= kinds
        assert not {kind for kind in kinds if "output_audio" in kind or kind == "conversation.item.done"}


async def test_pages_of_other_origins_stay_outside(voiced: Server) -> None:
    with pytest.raises(InvalidStatus) as foreign:
        async with talking(voiced, extra_headers={"Origin": "https://evil.example"}):
            pass
    assert foreign.value.response.status_code == 403
    async with talking(voiced, extra_headers={"Origin": voiced.root}):
        pass


def sockets(server: Server) -> int:
    """Open files of the server: its clients, and its lines to workers."""
    return sum(1 for _ in Path(f"/proc/{server.pid}/fd").iterdir())


async def test_a_client_that_just_leaves_leaves_nothing(voiced: Server, say: Say) -> None:
    until(lambda: idle(voiced))
    before = sockets(voiced)
    for wait_for in ("session.updated", "input_audio_buffer.speech_started", "response.output_audio.delta"):
        async with talking(voiced, "talkative") as talk:
            await talk.send("session.update", session={"type": "realtime", "audio": {"input": HEARD}})
            await talk.hear(say(QUESTION))
            await talk.until(wait_for)
            talk.connection._connection.transport.abort()
        until(lambda: idle(voiced) and sockets(voiced) <= before)


async def test_a_client_that_does_not_read_is_cut_off(voiced: Server) -> None:
    async with talking(voiced, "talkative") as talk:
        talk.connection._connection.transport.pause_reading()
        with contextlib.suppress(ConnectionClosed, ConnectionError):
            for _ in range(3000):
                await talk.write("x" * 20_000)
        until(lambda: idle(voiced), 30)


async def test_a_flood_of_audio_is_heard_at_the_recognisers_pace_and_others_are_answered(voiced: Server, say: Say) -> None:
    """Minutes of speech at once: the client waits, the server does not."""
    flood = say("One two three four five six seven eight nine ten.") * 20
    async with talking(voiced, openai.omit, extra_query={"intent": "transcription"}) as talk:  # type: ignore[arg-type]
        sending = asyncio.create_task(talk.hear(flood, 2_000_000))
        status, _, _ = await asyncio.to_thread(voiced.get, "/livez")
        assert status == 200
        await talk.until("conversation.item.input_audio_transcription.completed")
        sending.cancel()
        await asyncio.gather(sending, return_exceptions=True)


async def test_there_are_so_many_sessions_and_no_more(voiced: Server) -> None:
    async with contextlib.AsyncExitStack() as many:
        for _ in range(8):
            await many.enter_async_context(talking(voiced))
        with pytest.raises(InvalidStatus) as full:
            async with talking(voiced):
                pass
        assert full.value.response.status_code == 429
        assert full.value.response.headers["retry-after"] == "5"
        assert voiced.metric("freehold_leases") == 0
