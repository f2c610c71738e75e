"""The server under test, as a library's program sees it: its address, and what can be seen of it from outside."""

from __future__ import annotations

import contextlib
import json
import os
import re
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = os.environ["FREEHOLD_ROOT"]
BASE_URL = f"{ROOT}/v1"
CHAT, REAL_CHAT = "gpt-4o", "smollm2:135m"
EMBEDDING, REAL_EMBEDDING = "text-embedding-3-small", "all-minilm:22m"
COLOURS = "Name three colours."
SLOW = '[[fake:{"tokens": 5000, "token_delay_s": 0.02}]] a b c'
HANGS = '[[fake:{"hang": true}]] a'
FAILS = '[[fake:{"status": 500}]] a'
BREAKS = '[[fake:{"error_at_token": 2, "token_delay_s": 0.05}]] a b c d'
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string", "enum": ["Paris", "London"]}},
    "required": ["city"],
    "additionalProperties": False,
}


def clip() -> Path:
    """A recording of a voice that says "Ever tried. Ever failed. No matter. Try again. Fail again. Fail better."."""
    return Path(os.environ["FREEHOLD_CLIP"])


def until(condition: Callable[[], Any], within: float = 20.0) -> Any:
    deadline = time.monotonic() + within
    while not (value := condition()):
        assert time.monotonic() < deadline, f"the condition did not come true within {within} s"
        time.sleep(0.02)
    return value


def idle(model: str = "fake") -> bool:
    """Whether no place of a model is taken."""
    with urllib.request.urlopen(f"{ROOT}/api/ps") as answer:
        return all(worker["busy"] == 0 for worker in json.load(answer)["workers"] if worker["model"] == model)


def refused() -> float:
    """How many requests have been answered with 429."""
    with urllib.request.urlopen(f"{ROOT}/metrics") as answer:
        text = answer.read().decode()
    return sum(float(n) for n in re.findall(r'^freehold_requests_total\{.*status="429".*\} (\S+)$', text, re.MULTILINE))


@contextlib.contextmanager
def busy(seconds: float = 0.8) -> Iterator[None]:
    """The one place of the model "single" is taken for that long; who asked for it meanwhile was refused, and came again."""
    words = f'[[fake:{{"first_token_delay_s": {seconds}}}]] held'
    body = json.dumps({"model": "single", "messages": [{"role": "user", "content": words}]}).encode()
    request = urllib.request.Request(f"{BASE_URL}/chat/completions", body, {"Content-Type": "application/json"})
    holder = threading.Thread(target=lambda: urllib.request.urlopen(request).read())
    until(lambda: idle("single"))
    before = refused()
    holder.start()
    until(lambda: not idle("single"))
    yield
    holder.join()
    assert refused() > before, "nobody was refused"
