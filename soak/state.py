"""A server that is killed again and again while clients store: what was acknowledged is there, and nothing is half there."""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import signal
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.processes import Gateway, fake_model, gateway
from soak.judge import Judged

_WRITERS = 4
_LONGEST = 0.4  # seconds of a burst after its first answers
_ENV = {"FREEHOLD_DEFAULT_CHAT": "fake", "FREEHOLD_DEFAULT_EMBEDDING": "fake", "FREEHOLD_STARTER": "false"}


class Book:
    """What clients were told is stored, and what they were told is deleted."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.responses: dict[str, str] = {}
        self.conversations: dict[str, list[str]] = {}
        self.completions: dict[str, str] = {}
        self.deleted: set[str] = set()
        self.acknowledged = 0
        self.lost: list[str] = []

    def note(self, act: Callable[[], Any]) -> None:
        with self.lock:
            act()
            self.acknowledged += 1


def state(*, quick: bool, data_dir: Path | None) -> Judged:
    """Kills at random moments of a burst of writes; after each, all that was ever acknowledged is looked for."""
    report = Judged("kill -9 in a burst of writes")
    kills, book = (20 if quick else 200), Book()
    chance = random.Random(time.time_ns())
    with tempfile.TemporaryDirectory(prefix="fh-soak-") as name:
        folder = Path(name)
        fake_model(folder, slots=_WRITERS)
        for _ in range(kills):
            with gateway(folder, _ENV) as running:
                _burst(running, book, chance)
            _half_written(folder / "stored.db", book)
        with gateway(folder, _ENV) as running:
            _all_there(running, book)
    report.add("writes acknowledged", book.acknowledged, "", "", f"{kills} kills")
    report.at_least("acknowledged a kill", book.acknowledged / kills, 1, "")
    report.exactly("acknowledged and lost, or half written", len(book.lost), 0, "", "; ".join(book.lost[:3]))
    return report


def _burst(running: Gateway, book: Book, chance: random.Random) -> None:
    """Writers work until the server is gone."""
    before = book.acknowledged
    writers = [
        threading.Thread(target=_write, args=(running.port, book, random.Random(chance.random()))) for _ in range(_WRITERS)
    ]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 30
    while book.acknowledged <= before + _WRITERS and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(chance.random() * _LONGEST)
    running.process.send_signal(signal.SIGKILL)
    running.process.wait()
    for writer in writers:
        writer.join()


def _write(port: int, book: Book, chance: random.Random) -> None:
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    with contextlib.suppress(OSError, http.client.HTTPException, ValueError, KeyError), contextlib.closing(client):
        conversation = _ask(client, "POST", "/v1/conversations", {})["id"]
        book.note(lambda: book.conversations.update({conversation: []}))
        while True:
            chance.choice((_response, _streamed, _in_conversation, _completion, _deletion))(client, book, chance, conversation)


def _response(client: http.client.HTTPConnection, book: Book, chance: random.Random, _: str) -> None:
    text = _text(chance)
    made = _ask(client, "POST", "/v1/responses", {"model": "fake", "input": text})
    book.note(lambda: book.responses.update({made["id"]: text}))


def _streamed(client: http.client.HTTPConnection, book: Book, chance: random.Random, _: str) -> None:
    text = _text(chance)
    told = _ask(client, "POST", "/v1/responses", {"model": "fake", "input": text, "stream": True})
    last = json.loads(told.strip().rpartition("data: ")[2])
    if last["type"] == "response.completed":
        book.note(lambda: book.responses.update({last["response"]["id"]: text}))


def _in_conversation(client: http.client.HTTPConnection, book: Book, chance: random.Random, conversation: str) -> None:
    text = _text(chance)
    made = _ask(client, "POST", "/v1/responses", {"model": "fake", "input": text, "conversation": conversation})
    book.note(lambda: (book.responses.update({made["id"]: text}), book.conversations[conversation].append(text)))


def _completion(client: http.client.HTTPConnection, book: Book, chance: random.Random, _: str) -> None:
    text = _text(chance)
    body = {"model": "fake", "messages": [{"role": "user", "content": text}], "store": True, "metadata": {"text": text}}
    made = _ask(client, "POST", "/v1/chat/completions", body)
    book.note(lambda: book.completions.update({made["id"]: text}))


def _deletion(client: http.client.HTTPConnection, book: Book, chance: random.Random, _: str) -> None:
    """Of a response whose fate is unknown until the deletion is acknowledged: it is in neither list meanwhile."""
    with book.lock:
        if len(book.responses) < 20:
            return
        identity = chance.choice(list(book.responses))
        del book.responses[identity]
    _ask(client, "DELETE", f"/v1/responses/{identity}", None)
    book.note(lambda: book.deleted.add(identity))


def _text(chance: random.Random) -> str:
    return " ".join(chance.choice(("red", "green", "blue")) for _ in range(chance.randint(1, 12)))


def _ask(client: http.client.HTTPConnection, method: str, path: str, body: Any) -> Any:
    data = None if body is None else json.dumps(body)
    client.request(method, path, data, {"content-type": "application/json"})
    answer = client.getresponse()
    raw = answer.read()
    if answer.status == 503:
        time.sleep(0.02)  # the model is being loaded
    if answer.status >= 400:
        raise ValueError(raw[:300])
    return raw.decode() if answer.headers["content-type"].startswith("text/event-stream") else json.loads(raw)


def _half_written(path: Path, book: Book) -> None:
    """Looks into the file itself, before any server mends it."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        if database.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            book.lost.append("the file is damaged")
        query = (
            "SELECT id FROM responses r WHERE 2 != (SELECT count(*) FROM items WHERE holder = r.id) UNION ALL "
            "SELECT holder FROM items WHERE holder NOT IN (SELECT id FROM responses UNION SELECT id FROM conversations) "
            "UNION ALL "
            "SELECT id FROM conversations c WHERE 0 != (SELECT count(*) % 2 FROM items WHERE holder = c.id) UNION ALL "
            "SELECT id FROM completions c WHERE 1 != (SELECT count(*) FROM labels WHERE completion = c.id)"
        )
        book.lost += [f"{row[0]} is half written" for row in database.execute(query)]


def _all_there(running: Gateway, book: Book) -> None:
    client = http.client.HTTPConnection("127.0.0.1", running.port, timeout=30)
    for identity, text in book.responses.items():
        _look(book, identity, lambda found, text=text: found["output"][0]["content"][0]["text"] == text, client, "responses")
    for identity, text in book.completions.items():
        _look(book, identity, lambda found, text=text: found["metadata"] == {"text": text}, client, "chat/completions")
    for identity, texts in book.conversations.items():
        path = f"/v1/conversations/{identity}/items?limit=100&order=asc"
        try:
            listed = [item["content"][0]["text"] for item in _ask(client, "GET", path, None)["data"]]
        except ValueError:
            listed = []
        if [text for text in texts for _ in range(2)][:100] != listed[: 2 * len(texts)]:
            book.lost.append(identity)
    for identity in book.deleted:
        with contextlib.suppress(ValueError):
            _ask(client, "GET", f"/v1/responses/{identity}", None)
            book.lost.append(f"{identity}, which is deleted, is back")
    client.close()


def _look(book: Book, identity: str, holds: Callable[[Any], bool], client: http.client.HTTPConnection, kind: str) -> None:
    try:
        whole = holds(_ask(client, "GET", f"/v1/{kind}/{identity}", None))
    except (ValueError, KeyError, IndexError):
        whole = False
    if not whole:
        book.lost.append(identity)
