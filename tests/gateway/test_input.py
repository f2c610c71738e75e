"""What comes over the wire may be anything: each answer is OpenAI's envelope, and nobody else notices."""

from __future__ import annotations

import http.client
import json
import re
import socket
import time
from pathlib import Path
from typing import Any

import pytest

from freehold.gateway.app import ROUTES
from tests.conftest import Server, fake_model, serving, until

CHAT = "/v1/chat/completions"
HELLO = {"model": "gpt-4o", "messages": [{"role": "user", "content": "hello"}]}


def assert_refused(answer: tuple[int, dict[str, str], Any], status: int, code: str | None = None) -> dict[str, Any]:
    given, headers, body = answer
    assert given == status, body
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"].startswith("req_")
    if code is not None:
        assert body["error"]["code"] == code
    return dict(body["error"])


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[1]",
        b"\xff\xfe\xfd",
        b'{"model":"gpt-4o","messages":[{"role":"user","content":"\xc3\x28"}]}',
        b"[" * 200_000,
    ],
)
def test_what_is_no_json_request(fake_server: Server, raw: bytes) -> None:
    for path in (CHAT, "/v1/completions", "/v1/embeddings", "/api/pulls"):
        assert_refused(fake_server.post(path, raw), 400)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"temperature": 3}, "temperature"),
        ({"n": 0}, "n"),
        ({"n": 2**63}, "n"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "nobody", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user", "content": ""}], "stop": [""]}, "stop[0]"),
        ({"unknown": 1}, "unknown"),
    ],
)
def test_a_wrong_field_is_named(fake_server: Server, fields: dict[str, Any], param: str) -> None:
    assert assert_refused(fake_server.post(CHAT, HELLO | fields), 400)["param"] == param


def test_an_empty_message_is_answered(server: Server) -> None:
    assert server.chat("", max_tokens=3)[0] == 200


@pytest.mark.parametrize(
    "model", ["../../etc/passwd", "/etc/passwd", "a/../b", "..", "a\\b", "a\0b", "%2e%2e", "\u202e", "x" * 250, "a b", ""]
)
def test_names_that_look_like_paths_find_nothing(fake_server: Server, model: str) -> None:
    status, _, body = fake_server.post(CHAT, HELLO | {"model": model})
    assert status in (400, 404)
    assert body["error"]["param"] == "model"
    assert "/" not in body["error"]["message"].replace(repr(model), "").replace(ascii(model), "").replace("':' or '/'", "")


@pytest.mark.parametrize(
    "path", ["/v1/models/..%2f..%2fetc%2fpasswd", "/v1/models/../../etc", "/v1/models/%00", "/v1/models/a%0d%0ab"]
)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_paths_in_the_address_find_nothing(fake_server: Server, path: str, method: str) -> None:
    assert fake_server.request(method, path)[0] in (400, 404)


def test_an_endpoint_that_is_not_there_is_a_json_404(fake_server: Server) -> None:
    for path in ("/v1/nonexistent", "/", "/v1", "/v1/chat/completions/", "/../secret", "/v1/nothing/generations"):
        assert_refused(fake_server.post(path, HELLO), 404, "unknown_url")
    error = assert_refused(fake_server.post("/v1/responses/compact", {"model": "fake", "input": "hi"}), 404, "unknown_url")
    assert "truncation" in error["message"]
    _, headers, _ = answer = fake_server.get("/v1/embeddings")
    assert_refused(answer, 405)
    assert headers["allow"] == "POST"


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=x", "application/x-www-form-urlencoded"])
def test_another_content_type_is_a_415(fake_server: Server, kind: str) -> None:
    assert_refused(fake_server.post(CHAT, HELLO, headers={"Content-Type": kind}), 415)


def test_a_body_over_the_limit_is_a_413_before_it_is_read(fake_server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", fake_server.port, timeout=10)
    connection.putrequest("POST", CHAT)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Content-Length", str(10 * 2**30))
    connection.endheaders()
    with connection.getresponse() as response:
        assert response.status == 413
    connection.close()


def test_a_body_of_many_chunks_over_the_limit_is_a_413(fake_server: Server) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", fake_server.port, timeout=20)
    connection.putrequest("POST", CHAT)
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Transfer-Encoding", "chunked")
    connection.endheaders()
    piece = b"%x\r\n" % 2**20 + b" " * 2**20 + b"\r\n"
    try:
        for _ in range(40):
            connection.send(piece)
    except ConnectionError:
        pass
    with connection.getresponse() as response:
        assert response.status == 413
    connection.close()


def raw_status(server: Server, request: bytes) -> int:
    with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
        connection.sendall(request)
        return int(connection.makefile("rb").readline().split()[1])


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:{port}", 200),
        ("localhost:{port}", 200),
        ("[::1]:{port}", 200),
        ("LOCALHOST", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example", 403),
        ("localhost.evil.example", 403),
        ("localhost@evil.example", 403),
        ("evil.example#localhost", 403),
        ("localhost:abc", 403),
        ("", 403),
    ],
)
def test_the_host_header_must_be_this_servers(fake_server: Server, host: str, status: int) -> None:
    line = f"GET /v1/models HTTP/1.1\r\nHost: {host.format(port=fake_server.port)}\r\nConnection: close\r\n\r\n"
    assert raw_status(fake_server, line.encode()) == status


def test_two_hosts_or_none_are_refused(fake_server: Server) -> None:
    for hosts in (b"", b"Host: localhost\r\nHost: evil.example\r\n"):
        assert raw_status(fake_server, b"GET /v1/models HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n") in (400, 403)


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://localhost:{port}", 200),
        ("http://127.0.0.1:{port}", 200),
        ("https://evil.example", 403),
        ("null", 403),
        ("http://localhost.evil.example", 403),
        ("file://", 403),
    ],
)
def test_a_foreign_page_may_not_call(fake_server: Server, origin: str, status: int) -> None:
    assert fake_server.get("/v1/models", headers={"Origin": origin.format(port=fake_server.port)})[0] == status


def test_an_allowed_host_and_origin_may(tmp_path: Path) -> None:
    fake_model(tmp_path)
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_ALLOWED_HOSTS": '["ai.example"]',
        "FREEHOLD_ALLOWED_ORIGINS": '["https://app.example"]',
    }
    with serving(tmp_path, env=environment) as server:
        assert server.get("/v1/models", headers={"Host": "ai.example", "Origin": "https://app.example"})[0] == 200
        assert server.get("/v1/models", headers={"Host": "other.example"})[0] == 403
        page = {"Origin": "https://app.example"}
        asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization, content-type"}
        status, headers, _ = server.request("OPTIONS", "/v1/chat/completions", headers=page | asks)
        assert status == 200
        assert headers["access-control-allow-origin"] == "https://app.example"
        assert "POST" in headers["access-control-allow-methods"]
        assert headers["access-control-allow-headers"] == "authorization, content-type"
        for body, expected in (({}, 400), ({"model": "fake", "messages": [{"role": "user", "content": "x"}]}, 200)):
            status, headers, _ = server.post("/v1/chat/completions", body, headers=page)
            assert status == expected
            assert headers["access-control-allow-origin"] == "https://app.example"  # a page reads errors too
            assert {"x-request-id", "x-freehold-estimate"} <= set(headers["access-control-expose-headers"].split(", "))
            assert "origin" in headers["vary"].lower()
        foreign = {"Origin": "https://evil.example"}
        status, headers, body = server.request("OPTIONS", "/v1/chat/completions", headers=foreign | asks)
        assert (status, body["error"]["code"]) == (403, "forbidden")
        assert not [name for name in headers if name.startswith("access-control")]
        assert not [name for name in server.get("/v1/models")[1] if name.startswith("access-control")]


def test_an_open_server_is_not_open_to_pages_from_any_address(tmp_path: Path) -> None:
    fake_model(tmp_path)
    environment = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}
    with serving(tmp_path, "--host", "0.0.0.0", env=environment, key="sesame") as server:
        own = {"Host": f"192.0.2.7:{server.port}"}  # as a machine on the network would call it
        assert server.get("/v1/models", headers=own)[0] == 200
        assert server.get("/v1/models", headers=own | {"Origin": f"http://192.0.2.7:{server.port}"})[0] == 200
        assert server.get("/v1/models", headers=own | {"Origin": "http://localhost:3000"})[0] == 200
        assert server.get("/metrics", headers=own | {"Origin": "http://198.51.100.9"})[0] == 403
        assert server.get("/v1/models", headers={"Host": "evil.example"})[0] == 403


# Probes, and pictures: those have names that nobody guesses, and browsers send no key for them.
OPEN = {"/livez", "/readyz", "/health", "/metrics", "/v1/images/files/{name}"}


def test_every_route_but_the_probes_wants_the_key(tmp_path: Path) -> None:
    fake_model(tmp_path)
    environment = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}
    with serving(tmp_path, env=environment, key="right key") as server:
        for entry in ROUTES:
            path = entry.path.replace("{model:path}", "fake").replace("{pull}", "pull_1")
            for given in (
                {},
                {"Authorization": "Bearer wrong"},
                {"Authorization": "Basic right key"},
                {"Authorization": "right key"},
            ):
                headers = {"Authorization": ""} | given
                status = server.request(entry.method, path, None if entry.method == "GET" else {}, headers=headers)[0]
                assert (status == 401) == (entry.access == "key"), (entry.path, given, status)
            if entry.method == "GET":
                assert server.get(path)[0] != 401
        assert {entry.path for entry in ROUTES if entry.access == "open"} == OPEN
        for disguised in ("//v1/models", "/v1/./models", "/V1/models", "/livez/../v1/models", "/livez%2f..%2fv1%2fmodels"):
            assert server.get(disguised, headers={"Authorization": ""})[0] in (401, 404)


def test_a_pull_of_a_path_is_for_the_command_line(fake_server: Server, tmp_path: Path) -> None:
    for reference in ("/etc/passwd", "./x.gguf", "file:///etc/passwd", "~/x", "x.gguf"):
        error = assert_refused(fake_server.post("/api/pulls", {"reference": reference}), 400)
        assert error["param"] == "reference"
    assert_refused(fake_server.post("/api/pulls", {}), 400, "missing_required_parameter")
    assert_refused(fake_server.post("/api/pulls", {"reference": 5}), 400, "invalid_type")
    assert_refused(fake_server.get("/api/pulls/pull_999"), 404)


def test_an_alias_is_not_deleted(fake_server: Server) -> None:
    error = assert_refused(fake_server.request("DELETE", "/v1/models/gpt-4o"), 400)
    assert "'fake'" in error["message"]
    assert fake_server.ready()


def test_unknown_fields_can_be_ignored_and_are_named(tmp_path: Path) -> None:
    fake_model(tmp_path)
    environment = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_UNKNOWN_PARAMETERS": "ignore",
    }
    with serving(tmp_path, env=environment) as server:
        for stream in (False, True):
            status, headers, _ = server.chat("hello", mood="good", zeal=1, stream=stream)
            assert status == 200
            assert headers["x-freehold-ignored"] == "mood, zeal"
        assert_refused(server.chat("hello", temperature=9, mood="good"), 400)


# --- on the real engine

ENDLESS = "\n".join(f"r{n} ::= r{n + 1} r{n + 1}" for n in range(28)) + '\nr28 ::= "a"?\nroot ::= r0'


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}},
        {"type": "nonsense"},
        {"type": "string", "pattern": "^((($"},
        {"$ref": "http://127.0.0.1:1/schema.json"},
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        {"type": "array", "items": {}, "minItems": 10**9},
    ],
)
def test_a_schema_that_cannot_be_followed_is_a_400(server: Server, schema: dict[str, Any]) -> None:
    answer = server.chat(
        "hi", max_tokens=8, response_format={"type": "json_schema", "json_schema": {"name": "s", "schema": schema}}
    )
    assert assert_refused(answer, 400)["param"] == "response_format"
    assert server.chat("hi", max_tokens=2)[0] == 200


@pytest.mark.parametrize(
    "pattern",
    [r"^[0-9]{3}$", r"^(?:ab|cd){2}$", r"^\.\$[A-Z]{2}$", r"^[a\]b]{3}$", r"^@[a-z_]{1,5}$", r"^((x|y)z){1,2}$", "^$"],
)
def test_a_strict_pattern_holds(server: Server, pattern: str) -> None:
    schema = {"type": "string", "pattern": pattern}
    status, _, body = server.chat(
        "Tell me a story!",
        max_tokens=32,
        response_format={"type": "json_schema", "json_schema": {"name": "s", "strict": True, "schema": schema}},
    )
    assert status == 200
    assert re.fullmatch(pattern, json.loads(body["choices"][0]["message"]["content"]))


@pytest.mark.parametrize("grammar", ["root ::= (((", "nonsense", "", "root ::= missing", "root ::= root", ENDLESS])
def test_a_grammar_that_cannot_be_parsed_is_a_400(server: Server, grammar: str) -> None:
    assert assert_refused(server.chat("hi", max_tokens=4, grammar=grammar), 400)["param"] == "grammar"
    assert server.chat("hi", max_tokens=2)[0] == 200


@pytest.mark.parametrize("stream", [False, True])
def test_a_prompt_of_100_000_tokens_is_refused_with_both_numbers(server: Server, stream: bool) -> None:
    error = assert_refused(server.chat("word " * 100_000, stream=stream), 400, "context_length_exceeded")
    assert error["param"] == "messages"
    assert "4096" in error["message"].replace(",", "")
    assert server.chat("hi", max_tokens=2)[0] == 200


def test_2000_inputs_are_2000_vectors(server: Server) -> None:
    texts = [f"text number {number}" for number in range(2000)]
    status, _, body = server.post(
        "/v1/embeddings", {"model": "text-embedding-3-small", "input": texts, "encoding_format": "base64"}, timeout=120
    )
    assert status == 200
    assert [item["index"] for item in body["data"]] == list(range(2000))
    assert len({item["embedding"] for item in body["data"]}) == 2000


def test_a_long_request_does_not_keep_short_ones_waiting(server: Server) -> None:
    """While 2,000 texts are embedded, the event loop still turns."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
    texts = [f"text number {number}" for number in range(2000)]
    connection.request(
        "POST",
        "/v1/embeddings",
        json.dumps({"model": "text-embedding-3-small", "input": texts}),
        {"Content-Type": "application/json"},
    )
    slowest, asked = 0.0, time.monotonic()
    until(lambda: server.worker("all-minilm:22m")["busy"] > 0)
    while server.worker("all-minilm:22m")["busy"]:
        began = time.monotonic()
        assert server.get("/livez")[0] == 200
        slowest = max(slowest, time.monotonic() - began)
    with connection.getresponse() as response:
        assert response.status == 200
        response.read()
    connection.close()
    assert slowest < max(1.0, (time.monotonic() - asked) / 5)  # the second where the machine is crowded, and all takes longer
