"""Editors that name no model get one that fills in, whatever the default chat model is."""

from __future__ import annotations

from tests.conftest import Server


def test_who_names_no_model_gets_one_that_fills_in(coding_server: Server, fake_server: Server) -> None:
    infill = {"input_prefix": "def add(a, b):\n", "prompt": "    ", "input_suffix": "\n", "n_predict": 4}
    tabby = {"segments": {"prefix": "def add(a, b):\n    ", "suffix": "\n"}, "language": "python"}
    for path, body in (("/infill", infill), ("/v1/completions", tabby)):
        assert coding_server.post(path, body)[0] == 200
        status, _, answer = coding_server.post(path, body | {"model": "fake"})
        assert (status, "filling in" in answer["error"]["message"]) == (400, True)
        status, _, answer = fake_server.post(path, body)
        assert (status, answer["error"]["param"]) == (400, "model")
