"""The command `llm`, with this server's models in its configuration."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import freehold_server as fh
import pytest

CONFIGURATION = f"""
- model_id: freehold
  model_name: {fh.CHAT}
  api_base: {fh.BASE_URL}
  supports_schema: true
  supports_tools: true
- model_id: faked
  model_name: fake
  api_base: {fh.BASE_URL}
- model_id: nobody
  model_name: nobody
  api_base: {fh.BASE_URL}
"""


@pytest.fixture(scope="module")
def llm(tmp_path_factory):
    folder = tmp_path_factory.mktemp("llm")
    (folder / "extra-openai-models.yaml").write_text(CONFIGURATION)
    environment = {**os.environ, "LLM_USER_PATH": str(folder), "OPENAI_API_KEY": "none"}

    def run(*arguments: str) -> subprocess.CompletedProcess:
        argv = [Path(sys.executable).parent / "llm", *arguments]
        return subprocess.run(argv, env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False)

    return run


def test_chat(llm):
    done = llm("prompt", "-m", "freehold", "-s", "Be brief.", "-o", "max_tokens", "12", "--no-stream", fh.COLOURS)
    assert done.stdout.strip(), done.stderr


def test_stream(llm):
    done = llm("prompt", "-m", "faked", "one two three")
    assert done.stdout == "one two three\n", done.stderr


def test_usage(llm):
    done = llm("prompt", "-m", "freehold", "-o", "max_tokens", "12", "--usage", fh.COLOURS)
    assert "Token usage:" in done.stderr


def test_schema(llm):
    done = llm("prompt", "-m", "freehold", "--schema", "sure bool", "-o", "max_tokens", "80", fh.COLOURS)
    assert isinstance(json.loads(done.stdout)["sure"], bool), done.stderr


def test_errors(llm):
    done = llm("prompt", "-m", "nobody", "Hello")
    assert done.returncode == 1
    assert "'nobody'" in done.stderr
