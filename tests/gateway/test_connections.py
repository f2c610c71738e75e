"""What a client may do to a connection: send too slowly, too much, too early or nonsense, and not read what it is sent."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Server, fake_model, serving, until
from tests.gateway.wire import CHAT, Raw, chunked, directive, get, payload, post

HELLO = payload("one two three")
ENDLESS = directive(tokens=10_000, token_delay_s=0.01)


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server that waits for nobody long."""
    data = tmp_path_factory.mktemp("impatient")
    fake_model(data)
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_HTTP_HEADER_TIMEOUT": "0.5",
        "FREEHOLD_HTTP_BODY_TIMEOUT": "0.7",
        "FREEHOLD_HTTP_KEEP_ALIVE": "0.6",
        "FREEHOLD_HTTP_MAX_CONNECTIONS": "40",
        "FREEHOLD_TIMEOUTS_WRITE": "0.5",
        "FREEHOLD_ENGINE_CONTEXT": "1000000",
    }
    with serving(data, env=environment) as running:
        yield running


def connections(server: Server) -> int:
    return int(server.metric("freehold_connections")) - 1  # without the one that asks


def assert_envelope(answer: tuple[int, dict[str, str], dict[str, dict[str, str]]], status: int, code: str) -> None:
    given, headers, body = answer
    assert (given, body["error"]["code"]) == (status, code)
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert headers["x-request-id"].startswith("req_")
    assert headers["connection"] == "close"


# --- what comes too slowly


def test_a_head_that_does_not_come_is_a_408_after_the_header_timeout(impatient: Server) -> None:
    began = time.monotonic()
    with Raw(impatient.port, b"GET /livez HTTP/1.1\r\nHost: loc") as slow:
        assert_envelope(slow.answer(), 408, "header_timeout")
        assert 0.45 <= time.monotonic() - began < 8
        assert slow.ended()
    assert impatient.metric("freehold_connections_refused_total", reason="header_timeout") >= 1


def test_a_head_that_trickles_has_no_more_time_than_one_that_stands_still(impatient: Server) -> None:
    began = time.monotonic()
    with Raw(impatient.port, b"GET /livez HTTP/1.1\r\nX: ") as slow, contextlib.suppress(ConnectionError):
        slow.socket.settimeout(0.05)
        while time.monotonic() - began < 10:
            slow.send(b"X")
            with contextlib.suppress(TimeoutError):
                if slow.socket.recv(1):
                    break
    assert 0.45 <= time.monotonic() - began < 8


def test_a_slow_head_on_a_used_connection_is_cut_as_well(impatient: Server) -> None:
    with Raw(impatient.port, get()) as used:
        assert used.answer()[0] == 200
        used.send(b"GET /livez HT")
        assert_envelope(used.answer(), 408, "header_timeout")


def test_a_connection_that_says_nothing_is_closed_without_a_word(impatient: Server) -> None:
    with Raw(impatient.port) as silent:
        assert silent.rest() == b""
    with Raw(impatient.port, get()) as used:
        assert used.answer()[0] == 200
        assert used.rest() == b""


def test_a_body_that_does_not_come_is_a_408(impatient: Server) -> None:
    with Raw(impatient.port, post(HELLO)[:-5]) as slow:
        assert_envelope(slow.answer(), 408, "body_timeout")
        assert slow.ended()


def test_chunks_that_never_end_are_cut(impatient: Server) -> None:
    began = time.monotonic()
    with Raw(impatient.port, post(b"", "Transfer-Encoding: chunked", length=False)) as slow:
        slow.socket.settimeout(0.05)
        answered = False
        while not answered and time.monotonic() - began < 10:
            slow.send(chunked(b" "))
            with contextlib.suppress(TimeoutError):
                answered = slow.socket.recv(12) == b"HTTP/1.1 408"
    assert answered


def test_a_large_body_may_take_its_time_as_long_as_it_comes(impatient: Server) -> None:
    body = payload("word " * 40_000)  # 200 kB: 12 s more
    with Raw(impatient.port, post(body)[:-150_000]) as slow:
        for start in range(150_000, 0, -10_000):
            slow.send(body[-start : len(body) - start + 10_000])
            time.sleep(0.08)  # the pace of a slow line: a second and more in all
        assert slow.answer()[0] == 200


def test_a_client_that_does_not_take_a_whole_answer_is_closed_in_the_end(impatient: Server) -> None:
    """A large answer waits in the server's memory until it is taken."""
    before = connections(impatient)
    large = post(payload(directive(tokens=10_000) + "x" * 1000, max_tokens=10_000))
    with Raw(impatient.port, large):
        until(lambda: impatient.metric("freehold_generations_total", outcome="completed") >= 1, 30)
        until(lambda: connections(impatient) <= before, 10)


@pytest.mark.parametrize("tokens", [300, 200_000])
def test_a_client_that_does_not_read_its_stream_is_closed_in_the_end(impatient: Server, tokens: int) -> None:
    before = connections(impatient)
    stream = post(payload(directive(tokens=tokens), max_tokens=tokens, stream=True), "Connection: close")
    with Raw(impatient.port, stream) as silent:
        until(lambda: impatient.worker("fake")["busy"] == 0 and connections(impatient) <= before, 20)
        if tokens > 1000:  # it learns of it at once, too: the kernel does not go on offering
            until(lambda: silent.socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR), 2)


# --- what comes too much


def test_a_head_without_end_is_a_431(impatient: Server) -> None:
    for request in (
        get("/livez", "X: " + "a" * 2**20),
        get("/" + "a" * 2**20),
        get("/livez", *(f"X-{number}: x" for number in range(10_000))),
        post(b"", "Transfer-Encoding: chunked", length=False) + b"5;" + b"a" * 2**20,
        post(b"", "Transfer-Encoding: chunked", length=False) + chunked(HELLO) + b"0\r\nX: " + b"a" * 2**20,
    ):
        with Raw(impatient.port) as large:
            with contextlib.suppress(ConnectionError):
                large.send(request)
            assert_envelope(large.answer(), 431, "headers_too_large")
            assert large.ended()
    assert impatient.ready()


def test_one_connection_too_many_is_a_503_and_the_others_are_served(tmp_path: Path) -> None:
    fake_model(tmp_path)
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_HTTP_MAX_CONNECTIONS": "10",
    }
    with serving(tmp_path, env=environment) as server:
        held = [Raw(server.port, get()) for _ in range(10)]
        assert [raw.answer()[0] for raw in held] == [200] * 10
        for request in (get(), post(HELLO)):
            with Raw(server.port, request) as late:
                answer = late.answer()
                assert_envelope(answer, 503, "too_many_connections")
                assert "retry-after" in answer[1]
                assert late.ended()
        held[0].send(post(HELLO))
        assert held[0].answer()[0] == 200
        for raw in held:
            raw.socket.close()
        until(lambda: server.chat("hello")[0] == 200)


# --- what comes too early


def test_requests_sent_ahead_are_answered_in_their_order(fake_server: Server) -> None:
    with Raw(fake_server.port, post(HELLO) + get("/v1/models") + post(payload("x"), "Connection: close")) as eager:
        assert eager.answer()[2]["object"] == "chat.completion"
        assert eager.answer()[2]["object"] == "list"
        assert eager.answer()[2]["choices"][0]["message"]["content"] == "x"
        assert eager.ended()


def test_a_request_sent_ahead_in_pieces_is_answered(fake_server: Server) -> None:
    slow = payload(directive(tokens=3, first_token_delay_s=0.2))
    with Raw(fake_server.port) as eager:
        for piece in (post(slow) + post(HELLO)[:60], post(HELLO)[60:100], post(HELLO)[100:] + get()[:9], get()[9:]):
            eager.send(piece)
            time.sleep(0.02)  # so that they arrive as pieces
        assert [eager.answer()[0] for _ in range(3)] == [200] * 3


def test_who_sends_without_end_before_an_answer_gets_few_answers_and_no_more(fake_server: Server) -> None:
    with Raw(fake_server.port, post(payload(directive(tokens=3, first_token_delay_s=1)))) as eager:
        with contextlib.suppress(ConnectionError):
            eager.send(get() * 20_000)
        answers = []
        while not answers or answers[-1] == 200:
            answers.append(eager.answer()[0])
        assert answers[-1] == 431
        assert 2 <= len(answers) <= 40
        assert eager.ended()


@pytest.mark.parametrize("ahead", [get(), get() * 100, b"\0nonsense\r\n\r\n", post(HELLO)[:-3]])
@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_is_noticed_whatever_it_sent_ahead(fake_server: Server, ahead: bytes, stream: bool) -> None:
    faults = {"tokens": 10_000, "token_delay_s": 0.01} if stream else {"first_token_delay_s": 30}
    with Raw(fake_server.port, post(payload(directive(**faults), stream=stream)) + ahead):
        until(lambda: fake_server.worker("fake")["busy"] == 1)
    until(lambda: fake_server.worker("fake")["busy"] == 0, within=5)


def test_nonsense_after_a_request_does_not_spoil_its_answer(fake_server: Server) -> None:
    with Raw(fake_server.port, post(payload("a b c", stream=True)) + b"\x01\x02\r\n\r\n") as odd:
        status, _, body = odd.answer()
        assert status == 200
        assert body.endswith(b"data: [DONE]\n\n")
        assert_envelope(odd.answer(), 400, "malformed_request")
        assert odd.ended()


def test_an_answer_that_needs_no_body_does_not_mix_it_with_the_next_request(fake_server: Server) -> None:
    for request in (post(HELLO, path="/nowhere"), post(HELLO, "Expect: 100-continue", path="/nowhere")):
        head, _, _ = request.partition(b"\r\n\r\n")
        with Raw(fake_server.port, head + b"\r\n\r\n") as early:
            status, headers, _ = early.answer()
            assert (status, headers["connection"]) == (404, "close")
            with contextlib.suppress(ConnectionError):
                early.send(HELLO)
            assert early.ended()


def test_a_body_that_is_sent_after_a_100_is_read(fake_server: Server) -> None:
    head, _, body = post(HELLO, "Expect: 100-continue").partition(b"\r\n\r\n")
    with Raw(fake_server.port, head + b"\r\n\r\n") as polite:
        assert polite.socket.recv(25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        polite.send(body)
        assert polite.answer()[0] == 200


def test_a_connection_that_was_reset_leaves_nothing(fake_server: Server) -> None:
    for request in (b"", get()[:5], get(), post(HELLO)[:-5], post(payload(ENDLESS, stream=True))):
        with Raw(fake_server.port, request) as raw:
            raw.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close is a reset
    until(lambda: connections(fake_server) <= 0 and fake_server.worker("fake")["busy"] == 0)


# --- what is not for this server, or no HTTP


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + os.urandom(64),  # TLS
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"FOO /livez HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /v1/models/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET http://[::1 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\0b\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nX: a\r\n folded\r\n\r\n",
        b"GET /livez HTTP/1.1\r\nHost: localhost\r\nHost : evil.example\r\n\r\n",
        b"GET /livez HTTP/1.1\nHost: localhost\n\n",
        post(b"0\r\n\r\n", "Transfer-Encoding: chunked"),
        post(b"12345", "Content-Length: 6"),
        post(b"", "Content-Length: -1", length=False),
        post(b"", "Content-Length: \xb2", length=False),
        post(b"", "Transfer-Encoding: gzip", length=False),
        post(b"", "Transfer-Encoding: chunked", length=False) + b"zz\r\n",
    ],
)
def test_what_is_not_http_is_a_400_with_the_envelope(fake_server: Server, request_bytes: bytes) -> None:
    with Raw(fake_server.port, request_bytes) as odd:
        assert_envelope(odd.answer(), 400, "malformed_request")
        assert odd.ended()


@pytest.mark.parametrize("offer", ["h2c", "websocket", "TLS/1.0"])
def test_an_offered_upgrade_is_not_taken_and_the_request_is_answered(fake_server: Server, offer: str) -> None:
    """Java's HTTP client offers HTTP/2 with its first request, body and all."""
    upgrade = ("Connection: Upgrade, HTTP2-Settings", f"Upgrade: {offer}", "HTTP2-Settings: AAMAAABkAAQAAP__")
    request = post(HELLO, *upgrade)
    for pieces in ([request + get()], [request[:-3], request[-3:], get()], [request[:40], request[40:], get()]):
        with Raw(fake_server.port) as client:
            for piece in pieces:
                client.send(piece)
                time.sleep(0.02)  # so that they arrive as pieces
            assert client.answer()[2]["choices"][0]["message"]["content"] == "one two three"
            assert client.answer()[2] == {"status": "ok"}


def test_trailers_are_no_headers(tmp_path: Path) -> None:
    """What a proxy in front has judged is the head; a trailer must not add a key or another host to it."""
    fake_model(tmp_path)
    environment = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}
    with serving(tmp_path, env=environment, key="sesame") as server:
        chunks = chunked(HELLO) + b"0\r\nAuthorization: Bearer sesame\r\nHost: evil.example\r\n\r\n"
        with Raw(server.port, post(b"", "Transfer-Encoding: chunked", length=False) + chunks) as sly:
            assert sly.answer()[0] == 401
        keyed = post(b"", "Transfer-Encoding: chunked", "Authorization: Bearer sesame", length=False)
        with Raw(server.port, keyed + chunks + get()) as honest:
            assert honest.answer()[0] == 200
            assert honest.answer()[0] == 200


def test_a_client_of_http_1_0_gets_no_chunks(fake_server: Server) -> None:
    request = post(payload("a b", stream=True)).replace(b"HTTP/1.1", b"HTTP/1.0")
    with Raw(fake_server.port, request) as old:
        head, _, body = old.rest().partition(b"\r\n\r\n")
    assert b"transfer-encoding" not in head.lower()
    assert body.startswith(b"data: {")
    assert body.endswith(b"data: [DONE]\n\n")


def test_head_has_the_headers_of_get_and_no_body(fake_server: Server) -> None:
    with Raw(fake_server.port, get("/v1/models").replace(b"GET", b"HEAD") + get()) as client:
        status, headers, body = client.answer("HEAD")
        assert (status, body) == (200, b"")
        assert int(headers["content-length"]) > 100
        assert client.answer()[2] == {"status": "ok"}


@pytest.mark.parametrize("coding", ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x" * 300])
def test_a_compressed_body_is_refused_unread(fake_server: Server, coding: str) -> None:
    status, _, body = fake_server.post(CHAT, HELLO, headers={"Content-Encoding": coding})
    assert (status, body["error"]["code"]) == (415, "unsupported_media_type")


def test_unknown_names_cannot_become_headers(tmp_path: Path) -> None:
    fake_model(tmp_path)
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_UNKNOWN_PARAMETERS": "ignore",
    }
    with serving(tmp_path, env=environment) as server:
        for stream in (False, True):
            body = json.loads(payload("a", stream=stream)) | {"a\r\nSet-Cookie: x=1\r\n\r\n": 1, "日本\0": 2}
            status, headers, _ = server.post(CHAT, body)
            assert status == 200
            assert "set-cookie" not in headers
            assert headers["x-freehold-ignored"].startswith("a??Set-Cookie: x=1????, ")
