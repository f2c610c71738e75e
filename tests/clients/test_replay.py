"""What editors, agents and libraries send is answered, and what they read is there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from freehold.cli.connect.clients import RECIPES
from tests.clients.recorded import SENT, Sent
from tests.conftest import Server

PAGE = Path(__file__).parent.parent.parent / "docs" / "clients.md"


def has(value: Any, path: str) -> bool:
    for step in path.split("/"):
        try:
            value = value[int(step)] if isinstance(value, list) else value[step]
        except (KeyError, IndexError, TypeError, ValueError):
            return False
    return value is not None


def values(answer: Any) -> list[Any]:
    """The answer, or the events of a stream."""
    if not isinstance(answer, str):
        return [answer]
    lines = [line.removeprefix("data:").strip() for line in answer.splitlines() if line.startswith("data:")]
    return [json.loads(line) for line in lines if line != "[DONE]"]


@pytest.mark.parametrize("sent", SENT, ids=lambda sent: f"{sent.client}: {sent.what}")
def test_what_clients_send_is_answered(coding_server: Server, sent: Sent) -> None:
    status, _, answer = coding_server.request(sent.method, sent.path, sent.body, headers=sent.headers)
    assert status == 200, answer
    found = values(answer)
    assert not [value for value in found if has(value, "error")], found
    for path in sent.reads:
        assert any(has(value, path) for value in found), (path, found)


def test_the_page_has_a_row_for_each_client_and_request() -> None:
    rows = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| ")]
    for sent in SENT:
        route = sent.path.partition("?")[0]
        assert any(line.startswith(f"| {sent.client} ") and f"`{route}`" in line for line in rows), (sent.client, route)
    for recipe in RECIPES.values():
        assert any(f"`{recipe.name}`" in line for line in rows), recipe.name
