"""Names that would be paths, and requests that unfold to more than they seem."""

from __future__ import annotations

import itertools
import json
import os
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import Server, fake_model, serving
from tests.gateway.wire import CHAT, Raw, get, payload, post

CANARY = "canary-5f1c"
REFERENCE = "https://127.0.0.1:1/x.gguf"
TARGETS = ("etc/passwd", "secret.json", "models/manifests/fake.json", "proc/self/environ")
FORMS = (
    "../{}", "../../{}", "../../../../../../../../{}", "/{}", "//{}", "./{}", "fake/../{}", "fake/../../{}",
    "..\\{}", "C:\\{}", "..//{}",
    "file:///{}", "file:{}", "~/{}", "{}\0", "{}\0.json", "\0{}", "..%2f{}", "%2e%2e/{}", "..%252f{}", "..%c0%af{}", "..;/{}",
    "\u2025/{}", "\uff0e\uff0e/{}", "\u2024\u2024\u2215{}", "..\u2044{}", "\u202e{}", "{}\r\nX: y", " ../{}", "../{} ",
)  # fmt: skip
ODD = (
    "", ".", "..", "...", "/", "\\", "\0", ":", "::", "a:", ":a", "a:b:c:d", "@", "a@b", "$HOME", "${PATH}", "`id`", "$(id)",
    "*", "?", "fake*",
    "FAKE/", "fake/", "/fake", "fake:", "fake.json", "fake\n", "fake\t", "fa ke", "%", "%s", "{0}", "CON", "nul",
    "x" * 256, "x" * 5000, "\u0000", "\ufefffake", "fa\u200bke", "fak\u0435", "\u212bngstrom", "e\u0301", "\ud83d",
    "sha256-" + "0" * 64,
)  # fmt: skip
NAMES = [form.format(target) for form, target in itertools.product(FORMS, TARGETS)] + list(ODD)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Path]]:
    """A server whose data folder lies beside what must not be read or removed."""
    root = tmp_path_factory.mktemp("guarded")
    (root / "secret.json").write_text(json.dumps({"name": CANARY}))
    data = root / "data"
    fake_model(data)
    (data / "secret.json").write_text(json.dumps({"name": CANARY}))
    (data / "models" / "secret.json").write_text(json.dumps({"name": CANARY}))
    (data / "models" / "manifests" / "linked.json").symlink_to(root / "secret.json")
    with serving(data, env={"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake"}) as server:
        yield server, root


def everything(root: Path) -> dict[str, bytes]:
    """What is stored, beside the marks of pulls that failed."""
    files = {str(path.relative_to(root)): path for path in sorted(root.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in files.items() if not {"staging", "locks"} & set(path.parts)}


def test_there_are_enough_names() -> None:
    assert len(set(NAMES)) > 150


def test_no_name_is_a_way_out_of_the_store(guarded: tuple[Server, Path]) -> None:
    """Each in the body of a request, in an address, and as the name of a pull."""
    server, root = guarded
    before = everything(root)
    with Raw(server.port) as line:
        for name in NAMES:
            quoted = urllib.parse.quote(name.encode("utf-8", "surrogatepass"), safe="")
            lookup = get(f"/v1/models/{quoted}")
            line.send(post(json.dumps({"model": name, "messages": [{"role": "user", "content": "x"}]}).encode()))
            line.send(lookup + lookup.replace(b"GET", b"DELETE"))
            line.send(post(json.dumps({"reference": REFERENCE, "name": name}).encode(), path="/api/pulls"))
            for number in range(4 if quoted else 1):
                status, _, body = line.answer()
                assert status in (400, 404) or (number, status) == (3, 202), (name, status, body)  # "file:x" may be a name
                assert CANARY not in str(body), name
                assert "root:" not in str(body), name
                assert str(root) not in str(body), name
            for _ in range(0 if quoted else 3):  # no name at all: the list of models, and a pull that is named by its source
                line.answer()
    after = everything(root)
    assert after == before
    assert sorted(path.name for path in root.iterdir()) == ["data", "secret.json"]
    assert server.chat("still here")[0] == 200


def resident(pid: int) -> int:
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


MB = 2**20
BOMBS = {
    "nested arrays": b"[" * (8 * MB),
    "nested objects": b'{"a":' * (2 * MB),
    "nested in a field": b'{"model":"fake","messages":' + b"[" * (8 * MB),
    "many keys": b"{" + b",".join(b'"k%d":0' % number for number in range(400_000)) + b"}",
    "the same key": b"{" + b",".join([b'"model":"fake"'] * 400_000) + b"}",
    "many messages": payload("x").replace(b'"messages": [', b'"messages": [' + b'{"role":"user","content":"x"},' * 200_000, 1),
    "arrays of arrays": b'{"model":"fake","stop":[' + b"[[[[[[0]]]]]]," * MB + b"0]}",
    "a long number": b'{"model":"fake","seed":' + b"9" * (4 * MB) + b"}",
    "a small number": b'{"model":"fake","temperature":1e-' + b"9" * (4 * MB) + b"}",
    "escapes": b'{"model":"' + b"\\u0041" * MB + b'"}',
    "many stops": b'{"model":"fake","stop":[' + b'"x",' * MB + b'"x"]}',
    "a bias for everything": b'{"model":"fake","logit_bias":{' + b",".join(b'"%d":0' % n for n in range(300_000)) + b"}}",
    "a nested schema": payload("x")[:-1] + b',"response_format":{"type":"json_schema","json_schema":{"name":"s","schema":'
    + b'{"type":"array","items":' * 50_000 + b"{}" + b"}" * 50_000 + b"}}}",
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_what_unfolds_is_refused_or_answered_in_bounds(guarded: tuple[Server, Path], bomb: str) -> None:
    server, _ = guarded
    before = resident(server.pid)
    status, _, body = server.post(CHAT, BOMBS[bomb], timeout=60)
    assert status in (200, 400, 413), body
    if status != 200:
        assert body["error"]["type"] == "invalid_request_error"
        assert len(json.dumps(body)) < 2000
    assert resident(server.pid) - before < 100 * MB
    assert server.chat("still here")[0] == 200


def test_many_connections_with_large_bodies_are_bounded_by_what_they_send(guarded: tuple[Server, Path]) -> None:
    """What is only promised takes no memory."""
    server, _ = guarded
    before = resident(server.pid)
    head = post(b"", "Content-Length: 33000000", length=False)
    held = [Raw(server.port, head, b"{") for _ in range(100)]
    assert server.chat("still here")[0] == 200
    assert resident(server.pid) - before < 20 * MB
    for raw in held:
        raw.socket.close()
