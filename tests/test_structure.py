"""The structure of docs/architecture.md, held by tests: imports point one way, and the gateway stays light."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "freehold"

LEAVES = {"aliases", "errors", "external", "settings", "telemetry", "protocol", "units"}
MAY_IMPORT = {
    "entry": {"cli"},
    "cli": {"gateway", "routing", "builder", "fleet", "store", "hardware"},
    "gateway": {"state", "routing", "fleet", "store", "hardware"},
    "routing": {"fleet", "store", "hardware"},
    "builder": {"fleet", "store", "hardware"},
    "fleet": {"store", "hardware"},
    "store": {"hardware"},
    "hardware": set(),
    "state": set(),
    "workers": set(),
    "protocol": {"errors", "units"},
    "errors": set(),
    "aliases": set(),
    "external": {"units"},
    "settings": {"aliases", "errors", "external", "units"},
    "units": set(),
    "telemetry": {"errors"},
}
BOUNDARIES = {name for name in MAY_IMPORT if name not in LEAVES}
MODULES = sorted(SOURCE.rglob("*.py"))
HEAVY = (
    *("numpy", "gguf", "xllamacpp", "torch", "onnxruntime", "sherpa_onnx", "av", "espeakng_loader"),
    *("diffusers", "transformers", "safetensors", "tokenizers"),
)


def part(module: str) -> str:
    """The folder, or the leaf's module, that a dotted name below freehold is in."""
    pieces = module.split(".")
    return pieces[1] if len(pieces) > 1 else ""


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            names.add(str(node.module))
            if node.module == "freehold":
                names |= {f"freehold.{alias.name}" for alias in node.names}
    return names


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_imports_point_one_way(path: Path) -> None:
    relative = path.relative_to(SOURCE)
    own = relative.parts[0].removesuffix(".py")
    if own == "__init__":
        return
    allowed = MAY_IMPORT[own] | {own} | (LEAVES if own in BOUNDARIES else set())
    for name in imported(path):
        if name.startswith("freehold.") and part(name) in MAY_IMPORT:
            assert part(name) in allowed, f"{relative} imports {name}"


def test_only_workers_touch_an_engine_library() -> None:
    for path in MODULES:
        heavy = {name.partition(".")[0] for name in imported(path)} & set(HEAVY)
        relative = path.relative_to(SOURCE)
        if relative.parts[0] == "workers":
            continue
        assert heavy <= ({"numpy", "gguf"} if str(relative) == "store/convert.py" else set()), relative


def test_the_gateway_loads_no_ml_library() -> None:
    program = "import sys, freehold.gateway.server, freehold.cli.up, freehold.cli.progress\nprint('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "freehold.gateway.app" in loaded
    assert not [name for name in loaded if name.partition(".")[0] in HEAVY]


def test_the_command_line_answers_before_it_imports_the_server() -> None:
    program = "import sys, freehold.cli.main\nprint('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {"starlette", "uvicorn", "pydantic"} & set(loaded)


def test_the_server_starts_without_the_library_of_its_database() -> None:
    program = "import sys, freehold.gateway.server\nprint('\\n'.join(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "freehold.state.keeper" in loaded
    assert not {"sqlalchemy", "alembic"} & set(loaded)


def test_every_module_says_what_it_is() -> None:
    for path in MODULES:
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path


def test_no_function_is_longer_than_40_lines() -> None:
    long = []
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (node.end_lineno or 0) - node.lineno >= 40:
                long.append(f"{path.name}: {node.name}")
    assert long == []


def test_who_catches_everything_says_why() -> None:
    everything = re.compile(r"\s*except(\s+(Base)?Exception\b.*)?:")
    reason = re.compile(r"#\s*(noqa: BLE001\W+)?\w+\W+\w+\W+\w+")
    lines = [
        (f"{path.name}:{number}", line) for path in MODULES for number, line in enumerate(path.read_text().splitlines(), 1)
    ]
    assert [place for place, line in lines if everything.match(line) and not reason.search(line)] == []


def test_nothing_in_the_project_is_pickled_or_evaluated() -> None:
    for path in MODULES:
        assert not {"pickle", "marshal", "shelve", "dill", "joblib"} & imported(path), path
        assert not re.search(r"(?<![\w.])(eval|exec)\(", path.read_text(encoding="utf-8")), path


def test_every_dependency_has_its_reason() -> None:
    import tomllib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    table = re.findall(r"^\| ([^|]+) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    explained = {name.strip() for row in table for name in row.split(",")}
    for requirement in project["dependencies"]:
        assert re.match(r"[\w-]+", requirement)[0] in explained  # type: ignore[index]
    locked = (ROOT / "requirements.lock").read_text()
    for line in re.findall(r"^[a-z0-9].*$", locked, re.MULTILINE):
        assert re.match(r"[\w.-]+==\S+", line), line
    assert locked.count("--hash=sha256:") > 10
