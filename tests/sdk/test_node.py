"""npm clients of OpenAI, Anthropic and Ollama: their tests are JavaScript, run by node's own runner against the same server."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent / "js"


@pytest.mark.parametrize("tests", ["client.test.mjs", "dialects.test.mjs", "realtime.test.mjs"])
def test_the_npm_clients_work(server, fake_server, tests):
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    assert (HERE / "node_modules" / "openai").is_dir(), "run `npm ci --prefix tests/sdk/js` first, or `make test`"
    environment = {
        "PATH": os.environ["PATH"],
        "FREEHOLD_BASE_URL": server.base_url,
        "FREEHOLD_FAKE_BASE_URL": fake_server.base_url,
    }
    argv = [node, "--experimental-websocket", "--test", "--test-reporter=spec", tests]
    done = subprocess.run(argv, check=False, cwd=HERE, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
