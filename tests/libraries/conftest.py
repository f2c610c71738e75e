"""A server with all that libraries ask for, and the programs that use it, each run once."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.clients.conftest import MARKS
from tests.conftest import STARTERS, Server, fake_model, serving
from tests.libraries.table import HERE, JS, Library
from tests.realtime.conftest import lend
from tests.speech import HEARS, clip
from tests.zoo import shapes, tokenizers
from tests.zoo.build import write

Outcomes = dict[str, str | None]  # a test's name to what went wrong

ENVIRONMENTS = Path(sys.prefix) / "libraries"


@pytest.fixture(scope="session")
def everything(starters: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The starter models behind OpenAI's names, a code model with random weights, and two of the fake engine: "fake", which
    does as it is told, and "single", which has one place and no queue."""
    data = tmp_path_factory.mktemp("everything")
    for name in (*STARTERS, HEARS):
        lend(data, name)
    pull(Store(data), "espeak-ng", on_progress=lambda progress: None)
    coder = shapes._decoder("coder", "llama", tokenizers.bpe("qwen2", ("<|endoftext|>", *MARKS), eos=0), shapes._plain)
    path = write(coder, tmp_path_factory.mktemp("file"))
    pull(Store(data), str(path), name="coder", on_progress=lambda progress: None)
    fake_model(data)
    fake_model(data, "single", slots=1)
    with serving(data, env={"FREEHOLD_QUEUE_SIZE": "0"}) as running:
        for model in (*STARTERS, HEARS, "espeak-ng", "coder", "fake", "single"):
            assert running.post("/api/load", {"model": model}, timeout=120)[0] == 200, model
        yield running


@pytest.fixture(scope="session")
def outcomes(everything: Server, tmp_path_factory: pytest.TempPathFactory) -> Callable[[Library], Outcomes]:
    """What became of the tests of a library's program, which is run when it is first asked for."""
    home = tmp_path_factory.mktemp("home")

    @cache
    def run(library: Library) -> Outcomes:
        report = home / f"{library.key}.xml"
        done = subprocess.run(
            [*_command(library, report), library.path],
            check=False,
            cwd=library.path.parent,
            env=_environment(everything, home),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        if not report.is_file():
            pytest.fail(f"{library.path.name} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return _read(report)

    return run


def _command(library: Library, report: Path) -> list[str]:
    if library.place == "npm":
        node = shutil.which("node")
        if node is None:
            pytest.skip("node is not installed")
        assert (JS / "node_modules" / library.package).is_dir(), "run `npm ci --prefix tests/sdk/js` first, or `make test`"
        return [node, "--test", "--test-reporter=junit", f"--test-reporter-destination={report}"]
    python = ENVIRONMENTS / library.place / "bin" / "python"
    assert python.exists(), f"run `make .venv/libraries/{library.place}/installed` first, or `make test`"
    return [str(python), "-m", "pytest", f"--config-file={HERE / 'python' / 'pytest.ini'}", f"--junitxml={report}"]


def _environment(server: Server, home: Path) -> dict[str, str]:
    """Nothing of this machine's but where its programs are: no keys, no proxies, and nobody told of it."""
    return {
        "PATH": os.environ["PATH"],
        "HOME": str(home),
        "FREEHOLD_ROOT": server.root,
        "FREEHOLD_CLIP": str(clip("beckett.wav")),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # libraries bring some, which take as long to load as the libraries
        "LITELLM_LOCAL_MODEL_COST_MAP": "true",  # it asks GitHub otherwise
        "HAYSTACK_TELEMETRY_ENABLED": "false",
    }


def _read(report: Path) -> Outcomes:
    found: Outcomes = {}
    for case in ElementTree.parse(report).iter("testcase"):
        name = case.attrib["name"].removeprefix("test_").partition("[")[0]
        wrong = [part for part in case if part.tag in {"failure", "error", "skipped"}]
        text = "\n".join(f"{part.get('message') or ''}\n{part.text or ''}" for part in wrong)
        found[name] = text if wrong else found.get(name)
    return found
