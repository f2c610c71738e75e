"""The VS Code extension: its tests are JavaScript, run by node's own runner; its package is well-formed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.conftest import Server

HERE = Path(__file__).parent
ROOT = HERE.parent.parent
EXTENSION = ROOT / "editors" / "vscode"


def test_the_extension_works(coding_server: Server) -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    version = int(
        subprocess.run([node, "-p", "process.versions.node.split('.')[0]"], capture_output=True, text=True, check=True).stdout
    )
    if version < 20:
        pytest.skip(f"node {version} is too old: the tests need 20")
    environment = {"PATH": os.environ["PATH"], "FREEHOLD_URL": coding_server.root}
    argv = [node, "--test", "--test-reporter=spec", "vscode.test.cjs"]
    done = subprocess.run(argv, check=False, cwd=HERE, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert coding_server.metric("freehold_requests_total", route="/infill") > 0


def test_the_package_holds_the_extension(tmp_path: Path) -> None:
    target = tmp_path / "freehold.vsix"
    subprocess.run([sys.executable, ROOT / "scripts" / "vsix.py", target], check=True, capture_output=True)
    first = target.read_bytes()
    subprocess.run([sys.executable, ROOT / "scripts" / "vsix.py", target], check=True, capture_output=True)
    assert target.read_bytes() == first
    with zipfile.ZipFile(target) as package:
        assert package.testzip() is None
        names = set(package.namelist())
        manifest = json.loads(package.read("extension/package.json"))
        identity = ElementTree.fromstring(package.read("extension.vsixmanifest")).find("{*}Metadata/{*}Identity")
        ElementTree.fromstring(package.read("[Content_Types].xml"))
    files = {f"extension/{path.relative_to(EXTENSION)}" for path in EXTENSION.rglob("*") if path.is_file()}
    assert names == files | {"extension.vsixmanifest", "[Content_Types].xml"}
    assert identity is not None
    assert identity.attrib["Version"] == manifest["version"]
    assert f"extension/{manifest['main'].removeprefix('./')}" in names
