"""Engines of other makers, as a client of them meets them: over the network, TLS and a unix socket, whatever they do."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop

from freehold.errors import EngineBadResponse, EngineTimeout, FreeholdError, InvalidRequest, WorkerDied
from freehold.external import Address, ExternalSettings
from freehold.fleet import elsewhere, exchange
from freehold.fleet.elsewhere import Elsewhere
from freehold.fleet.endings import Ended
from freehold.fleet.exchange import Upload
from freehold.fleet.remote import Remote, RemoteClient, key_of, place_of, remote_of
from freehold.gateway.calls import call_all
from freehold.protocol.plan import Plan
from freehold.settings import TimeoutSettings

Answer = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
LIST = {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 512}]}
PIECE = b'data: {"object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\n'
EVENTS = b"Content-Type: text/event-stream\r\n"
KEY = "sk-very-secret"


def run(work: Coroutine[Any, Any, None]) -> None:
    """On the event loop that the server runs on."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work, 30))


def reply(body: bytes | Any, status: int = 200, head: bytes = b"") -> bytes:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return b"HTTP/1.1 %d X\r\n%bContent-Length: %d\r\n\r\n%b" % (status, head, len(raw), raw)


@asynccontextmanager
async def engine(
    *answers: bytes | Answer, tls: ssl.SSLContext | None = None, path: Path | None = None
) -> AsyncIterator[tuple[Address, list[bytes]]]:
    """A server whose n-th connection gets the n-th answer, and each further one the last; and the requests that came."""
    asked: list[bytes] = []

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
            answer = answers[min(len(asked), len(answers) - 1)]
            length = next((int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")), 0)
            asked.append(head + await reader.readexactly(length))
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(head.decode(), writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    if path is not None:
        server = await asyncio.start_unix_server(handle, path)
        address = Address(socket=path)
    else:
        server = await asyncio.start_server(handle, "127.0.0.1", 0, ssl=tls)
        address = Address("localhost" if tls else "127.0.0.1", server.sockets[0].getsockname()[1], tls is not None)
    async with server:
        yield address, asked


async def client_of(address: Address, key: str = "", **fields: Any) -> RemoteClient:
    remote = Remote(address=address, key_env="REMOTE_KEY" if key else "", **fields)
    return await Elsewhere(remote, "m", 4096, "here").connected(address)


def plan(**fields: Any) -> Plan:
    body = json.dumps({"messages": [], "stream": True, **fields}).encode()
    return Plan(
        path="/v1/chat/completions",
        bodies=(body,),
        concurrency=1,
        stream=False,
        streamed=True,
        include_usage=True,
        relay=False,
        param="messages",
        joiner=lambda echoed: None,  # type: ignore[arg-type, return-value]
    )


async def said(client: RemoteClient) -> str:
    [answer] = await call_all(client, plan(), TimeoutSettings(first_token=5, idle=5))
    return str(answer["choices"][0]["message"]["content"])


def test_a_model_is_found_and_asked_with_the_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REMOTE_KEY", f"{KEY}\n")

    async def work(path: Path | None) -> None:
        async with engine(reply(LIST), reply(PIECE + b"data: [DONE]\n\n", head=EVENTS), path=path) as (address, asked):
            client = await client_of(address, key=KEY)
            assert (client.model.kind, client.model.context) == ("vllm", 512)
            assert await said(client) == "hi"
            assert KEY not in repr(client._place)
            for request, line in zip(asked, (b"GET /v1/models", b"POST /v1/chat/completions"), strict=True):
                assert request.startswith(line)
                assert f"\r\nAuthorization: Bearer {KEY}\r\n".encode() in request
                assert (b"\r\nHost: localhost\r\n" if path else f"\r\nHost: 127.0.0.1:{address.port}\r\n".encode()) in request
            assert json.loads(asked[1].partition(b"\r\n\r\n")[2])["model"] == "m"

    run(work(None))
    run(work(tmp_path / "s"))


@pytest.mark.parametrize(
    ("answer", "word"),
    [
        (reply(b"no", 401), "wants a key"),
        (reply(b"no", 403), "wants a key"),
        (reply(b"no", 404), "the url is its base"),
        (reply(b"no", 429), "too busy"),
        (reply(b"no", 503), "status 503"),
        (reply(b"", 302, b"Location: http://elsewhere/\r\n"), "status 302"),
        (reply(b"<html>"), "no list of them"),
        (reply({"data": []}), "serves no model"),
        (reply({"data": [{"id": "\x1b[31m" + "x" * 200}, {"id": "b"}]}), "serves ?[31mxxx"),
        (reply({"data": [{"id": f"m{k}"} for k in range(1000)]}), "and 990 more, and not m:"),
        (reply({"data": [{"id": "m", "owned_by": "freehold", "via": ["there", "here"]}]}), "leads back to this server"),
        (b"SSH-2.0-OpenSSH_9\r\n", "as an HTTP server does"),
        (b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", "as an HTTP server does"),
        (b"", "broke the connection"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{", "broke the connection"),
    ],
)
def test_what_is_no_engine_is_said_plainly(answer: bytes, word: str) -> None:
    async def work() -> None:
        async with engine(answer) as (address, _):
            with pytest.raises(Ended) as caught:
                await client_of(address)
            assert word in caught.value.ending.reason
            assert caught.value.ending.reason.isprintable()
            assert len(caught.value.ending.reason) < 1500

    run(work())


def test_an_answer_may_end_with_its_connection_or_be_announced() -> None:
    body = json.dumps(LIST).encode()
    for answer in (b"HTTP/1.0 200 OK\r\n\r\n" + body, b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + reply(body)):

        async def work(answer: bytes = answer) -> None:
            async with engine(answer) as (address, _):
                assert (await client_of(address)).model.name == "m"

        run(work())


def test_an_endless_list_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(elsewhere, "_WITHIN", 0.5)

    async def endless(head: str, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100000000000\r\n\r\n")
        while True:
            writer.write(b" " * 2**20)
            await writer.drain()

    async def silent(head: str, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(20)

    async def work(answer: Answer, word: str) -> None:
        async with engine(answer) as (address, _):
            with pytest.raises(Ended, match=word):
                await client_of(address)

    run(work(endless, "as an HTTP server does|does not answer within"))
    run(work(silent, "does not answer within"))


def test_nobody_there_is_told_from_no_such_name_and_from_a_wall(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_CONNECT", 0.3)

    async def work() -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))  # bound, and nobody listens
            with pytest.raises(Ended, match="nothing listens there"):
                await client_of(Address("127.0.0.1", probe.getsockname()[1]))
        with pytest.raises(Ended, match="its name is not known"):
            await client_of(Address("no-such-host.invalid", 80))
        with pytest.raises(Ended, match="nothing listens there"):
            await client_of(Address(socket=Path("/nonexistent/s")))
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            others = [socket.socket() for _ in range(8)]  # fill its queue: the system lets newcomers wait
            for other in others:
                other.setblocking(False)
                other.connect_ex(full.getsockname())
            try:
                with pytest.raises(Ended, match=r"no connection came about|does not answer within"):
                    monkeypatch.setattr(elsewhere, "_WITHIN", 1.0)
                    await client_of(Address("127.0.0.1", full.getsockname()[1]))
            finally:
                for other in others:
                    other.close()

    run(work())


def test_a_handshake_that_never_ends_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_CONNECT", 0.3)

    async def work() -> None:
        async def quiet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(quiet, "127.0.0.1", 0) as server:
            with pytest.raises(Ended, match="no connection came about"):
                await client_of(Address("127.0.0.1", server.sockets[0].getsockname()[1], tls=True))

    run(work())


@pytest.mark.parametrize(
    ("stream", "error"),
    [
        (reply(PIECE, head=EVENTS), WorkerDied),  # without its end
        (reply(b"data: garbage\n\n", head=EVENTS), EngineBadResponse),
        (reply(b'data: {"choices":5}\n\n', head=EVENTS), EngineBadResponse),
        (reply(b'data: {"choices":[{"delta":{"content":5}}]}\n\n', head=EVENTS), EngineBadResponse),
        (reply(b'data: {"choices":[],"usage":{"prompt_tokens":"many"}}\n\n', head=EVENTS), EngineBadResponse),
        (reply(b'data: {"error":{"message":"context length","code":400}}\n\n', head=EVENTS), InvalidRequest),
        (reply(b'data: {"error":"no"}\n\n', head=EVENTS), EngineBadResponse),
        (reply({"choices": []}, head=b"Content-Type: application/json\r\n"), EngineBadResponse),
        (b"HTTP/1.1 200 OK\r\n" + EVENTS + b"Content-Length: 500\r\n\r\n" + PIECE, WorkerDied),
        (b"HTTP/1.1 200 OK\r\n" + EVENTS + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n", EngineBadResponse),
        (reply({"error": {"message": f"Wrong key {KEY}"}}, 400), InvalidRequest),
    ],
)
def test_a_stream_that_goes_wrong_is_an_error_without_the_key(
    stream: bytes, error: type[FreeholdError], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REMOTE_KEY", KEY)

    async def work() -> None:
        async with engine(reply(LIST), stream) as (address, _):
            client = await client_of(address, key=KEY)
            with pytest.raises(error) as caught:
                await said(client)
            assert "worker" not in caught.value.message or error is EngineBadResponse
            assert KEY not in caught.value.message

    run(work())


def test_a_busy_engine_says_when_to_come_again() -> None:
    async def work() -> None:
        busy = reply({"error": {"message": "busy"}}, 429, b"Retry-After: 7\r\n")
        dated = reply({"error": {"message": "busy"}}, 503, b"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n")
        async with engine(reply(LIST), busy, dated) as (address, _):
            client = await client_of(address)
            for status, seconds in ((429, 7.0), (503, 2.0)):
                with pytest.raises(FreeholdError) as caught:
                    await said(client)
                assert (caught.value.status, caught.value.retry_after) == (status, seconds)

    run(work())


def test_who_leaves_closes_the_connection_to_the_engine() -> None:
    async def work() -> None:
        left, begun = asyncio.Event(), asyncio.Event()

        async def endless(head: str, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n" + EVENTS + b"Connection: close\r\n\r\n")
            begun.set()
            try:
                while True:
                    writer.write(PIECE)
                    await writer.drain()
                    await asyncio.sleep(0.01)
            finally:
                left.set()

        async with engine(reply(LIST), endless) as (address, _):
            asking = asyncio.create_task(said(await client_of(address)))
            await begun.wait()
            asking.cancel()
            await asyncio.wait_for(left.wait(), 5)

    run(work())


def test_silence_in_a_stream_is_a_timeout() -> None:
    async def work() -> None:
        async def stalls(head: str, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\n" + EVENTS + b"Content-Length: 9999\r\n\r\n" + PIECE)
            await writer.drain()
            await asyncio.sleep(20)

        async with engine(reply(LIST), stalls) as (address, _):
            client = await client_of(address)
            with pytest.raises(EngineTimeout):
                await call_all(client, plan(), TimeoutSettings(first_token=5, idle=0.3))

    run(work())


def test_files_are_refused() -> None:
    async def work() -> None:
        async with engine(reply(LIST)) as (address, _):
            client = await client_of(address)
            with pytest.raises(InvalidRequest):
                async with client.stream("/v1/audio", Upload("x/y", ()), 1, 1):
                    pass

    run(work())


def test_an_engine_is_missed_when_it_changes_or_goes_and_calls_to_it_end() -> None:
    async def work() -> None:
        async def hangs(head: str, writer: asyncio.StreamWriter) -> None:
            await asyncio.sleep(20)

        other = reply({"data": [{"id": "other"}, {"id": "third"}]})
        smaller = reply({"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 256}]})
        for changed, word in ((other, "serves other, third, and not m"), (smaller, "differently")):
            async with engine(reply(LIST), reply(b"", 429), reply(LIST), changed) as (address, asked):
                remote = Elsewhere(Remote(address=address), "m", 4096, "here")
                ending = await remote.gone(await remote.connected(address), lambda: 0.01)
                assert word in ending.reason
                assert len(asked) == 4
        async with engine(reply(LIST), hangs, reply(b"", 500)) as (address, asked):
            remote = Elsewhere(Remote(address=address), "m", 4096, "here")
            client = await remote.connected(address)
            asking = asyncio.create_task(said(client))
            while len(asked) < 2:
                await asyncio.sleep(0.01)
            ending = await remote.gone(client, lambda: 0.01)
            assert "status 500" in ending.reason
            with pytest.raises(WorkerDied, match="broke the connection"):
                await asking

    run(work())


def test_a_call_that_meets_nobody_is_cause_to_look_at_once() -> None:
    async def work() -> None:
        async with engine(reply(LIST)) as (address, _):
            remote = Elsewhere(Remote(address=address), "m", 4096, "here")
            client = await remote.connected(address)
        with pytest.raises(WorkerDied) as caught:
            await said(client)
        assert not caught.value.reached
        assert client.doubt.is_set()

    run(work())


def test_a_key_is_asked_for_where_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    remote = Remote(address=Address("a", 1), key_env="REMOTE_KEY")
    for value, word in ((None, "is not set"), ("", "is not set"), ("a\nb", "letters that no key has"), ("ä", "letters")):
        monkeypatch.delenv("REMOTE_KEY", raising=False)
        if value is not None:
            monkeypatch.setenv("REMOTE_KEY", value)
        with pytest.raises(Ended, match=word) as caught:
            key_of(remote)
        assert caught.value.ending.lasting


def test_the_host_header_is_what_the_name_is() -> None:
    for address, line, host in (
        (Address("a.b", 80), "Host: a.b\r\n", "a.b"),
        (Address("a.b", 443, tls=True), "Host: a.b\r\n", "a.b"),
        (Address("a.b", 80, tls=True), "Host: a.b:80\r\n", "a.b"),
        (Address("::1", 8000), "Host: [::1]:8000\r\n", "::1"),
        (Address("fe80::1%25eth0", 80), "Host: [fe80::1]\r\n", "fe80::1%eth0"),
    ):
        place = place_of(Remote(address=address), address, "")
        assert place.head.startswith(line)
        assert place.host == host
        assert "Authorization" not in place.head


class Certificates:
    """An authority of our own, and certificates made by it."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.ca = folder / "ca.pem"
        self.run("req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test ca")
        self.run("genrsa", "-out", "leaf.key", "2048")

    def run(self, *words: str) -> None:
        subprocess.run(["openssl", *words], cwd=self.folder, check=True, capture_output=True)

    def server(self, name: str, *, days: str = "2") -> ssl.SSLContext:
        self.run("req", "-new", "-key", "leaf.key", "-out", "leaf.csr", "-subj", f"/CN={name}")
        (self.folder / "ext").write_text(f"subjectAltName=DNS:{name}\n")
        authority = ("-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-extfile", "ext", "-days", days)
        self.run("x509", "-req", "-in", "leaf.csr", "-out", "leaf.pem", *authority)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.folder / "leaf.pem", self.folder / "leaf.key")
        return context


@pytest.mark.skipif(not shutil.which("openssl"), reason="makes certificates with openssl")
def test_certificates_are_verified_by_the_authority_that_was_named(tmp_path: Path) -> None:
    made = Certificates(tmp_path)
    good, wrong, expired = made.server("localhost"), made.server("other.example"), made.server("localhost", days="-1")

    async def met(context: ssl.SSLContext, **fields: Any) -> str:
        async with engine(reply(LIST), reply(PIECE + b"data: [DONE]\n\n", head=EVENTS), tls=context) as (address, _):
            try:
                return await said(await client_of(address, **fields))
            except Ended as ended:
                return ended.ending.reason

    async def work() -> None:
        assert await met(good, ca=made.ca) == "hi"
        assert "certificate cannot be verified (unable to get local issuer certificate)" in await met(good)
        assert "Hostname mismatch" in await met(wrong, ca=made.ca)
        assert "certificate has expired" in await met(expired, ca=made.ca)
        assert "no file of certificates" in await met(good, ca=tmp_path / "missing.pem")
        assert "no file of certificates" in await met(good, ca=tmp_path / "leaf.key")

    run(work())


def test_settings_become_a_remote() -> None:
    given = ExternalSettings.model_validate(
        {"engine": "external", "url": "https://a.b/v1", "key_env": "K", "upstream": "x", "ca": "/c.pem"}
    )
    expected = Remote(address=Address("a.b", 443, tls=True), key_env="K", model="x", ca=Path("/c.pem"))
    assert remote_of(given) == expected
    assert replace(expected, model="y") != expected  # another model is another deployment
