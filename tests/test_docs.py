"""The documentation says what is: its commands parse and run, its snippets work, its names and links exist."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from freehold.cli.main import COMMANDS, cli
from freehold.gateway.app import ROUTES
from freehold.settings.sources import environment_name, keys
from tests.cli.parts import run
from tests.conftest import STARTERS, Server
from tests.store.parts import write_gguf

ROOT = Path(__file__).parent.parent
GENERATED = {"cli.md", "parameters.md", "settings.md"}
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", ROOT / "benchmarks" / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def code(page: Path) -> list[str]:
    """Lines of fenced blocks, and what stands in `backticks`."""
    text = page.read_text(encoding="utf-8")
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    inline = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    return [line.strip() for block in blocks for line in block.splitlines()] + inline


def commands() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for line in code(page):
            command = re.sub(r"^(?:[A-Z_]+=\S+ )+|^.*\| ", "", line)
            if command.startswith("freehold ") and not command.startswith("freehold --"):
                found.append((page.name, command))
    return found


@pytest.mark.parametrize(("page", "command"), commands())
def test_every_command_that_is_shown_parses(page: str, command: str) -> None:
    name, *arguments = shlex.split(command.replace("<64 hex digits>", "0" * 64), comments=True)[1:]
    if page in GENERATED and name not in COMMANDS:
        return
    found = cli.get_command(click.Context(cli), name)  # type: ignore[attr-defined]
    assert found is not None, command
    if arguments or not any(isinstance(parameter, click.Argument) and parameter.required for parameter in found.params):
        found.make_context(name, list(arguments))


def test_there_are_commands_to_check() -> None:
    assert len(commands()) > 30


def test_every_setting_and_variable_that_is_named_exists() -> None:
    known = {key for key, _ in keys()}
    sections = {key.partition(".")[0] for key in known if "." in key}
    variables = {environment_name(key) for key in known} | {
        "FREEHOLD_CONFIG",
        "FREEHOLD_URL",
        "FREEHOLD_DEBUG",
        "FREEHOLD_TEST_BUILD",
    }
    for page in PAGES:
        for text in code(page):
            assert set(re.findall(r"FREEHOLD_[A-Z_]+", text)) <= variables, (page.name, text)
            if re.fullmatch(r"[a-z]+\.[a-z_]+", text) and text.partition(".")[0] in sections:
                assert text in known, (page.name, text)


def test_every_link_leads_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            if not target.startswith("http"):
                assert (page.parent / target.partition("#")[0]).exists(), (page.name, target)


def test_every_page_is_reached_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"docs/{page.name}" in readme, page.name


def test_every_file_and_route_that_is_named_exists() -> None:
    routes = {route.path for route in ROUTES}
    for page in PAGES:
        for text in code(page):
            if re.fullmatch(r"(gateway|protocol|routing|fleet|store|hardware|cli|workers)/[\w/]+\.py", text):
                assert (ROOT / "src" / "freehold" / text).exists(), (page.name, text)
            for path in re.findall(r"^(?:GET |POST |DELETE )?(/(?:v1|api)/[\w/{}]+|/livez|/readyz|/metrics)$", text):
                assert routes & {path, re.sub(r"\{\w+\}", "{model:path}", path)}, (page.name, text)


def test_the_generated_pages_are_current() -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "scripts" / "generate_docs.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_make_has_every_target_that_is_named() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for page in PAGES:
        for text in code(page):
            if found := re.match(r"make ([a-z-]+)", text):
                assert re.search(rf"^{found[1]}:", makefile, re.MULTILINE), (page.name, text)


def test_the_readmes_first_call_works(server: Server) -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    snippet = re.search(r"^```python\n(.*?)^```", readme, re.MULTILINE | re.DOTALL)
    assert snippet
    program = snippet[1].replace("http://127.0.0.1:8080", server.root)
    assert server.root in program
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_the_readmes_terminal_line_works(tmp_path: Path, server: Server) -> None:
    line = next(text for text in code(ROOT / "README.md") if text.startswith("freehold chat "))
    done = run(tmp_path, *shlex.split(line)[1:], env={"FREEHOLD_URL": server.root})
    assert done.code == 0
    assert done.out.strip()


def test_the_commands_of_the_page_about_models_work(tmp_path: Path, starters: Path) -> None:
    """Those that need no network: a file is pulled as shown, listed, and removed; the starter models are as the table says."""
    lines = [text for text in code(ROOT / "docs" / "models.md") if text.startswith("freehold ")]
    file_line = next(line for line in lines if "./" in line)
    _, _, file, *options = shlex.split(file_line, comments=True)
    write_gguf(tmp_path / file)
    data = {"FREEHOLD_DATA_DIR": str(tmp_path / "data"), "FREEHOLD_URL": ""}
    assert run(tmp_path, "pull", file, *options, "--data-dir", tmp_path / "data", env=data).code == 0
    name = options[options.index("--name") + 1]
    assert name in run(tmp_path, "list", "--data-dir", tmp_path / "data").out
    assert run(tmp_path, "rm", name, "--data-dir", tmp_path / "data").code == 0
    page = (ROOT / "docs" / "models.md").read_text(encoding="utf-8")
    for starter in STARTERS:
        shown = run(tmp_path, "show", starter, "--data-dir", starters).out
        size = re.search(r"size\s+(\d+ MB)", shown)
        assert size
        assert re.search(rf"^\| `{starter}` .*\| {size[1]} \|$", page, re.MULTILINE)
