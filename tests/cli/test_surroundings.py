"""The command line in odd surroundings: streams that are closed, a locale without letters, no home, Ctrl-C at any moment."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from freehold.errors import SettingsError
from freehold.settings import load
from freehold.store import pip
from tests.cli.parts import assert_one_line, environment, run
from tests.conftest import FREEHOLD


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_a_stream_that_is_closed_leads_nowhere(tmp_path: Path, closed: str) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"$0" list {closed}', FREEHOLD], env=environment(tmp_path), capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_locale_without_letters_gets_their_codes(tmp_path: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    done = run(tmp_path, "models", env=plain)
    assert (done.code, done.err) == (0, "")
    assert "\\u2026" in done.out
    assert_one_line(run(tmp_path, "show", b"\xff\xfe".decode(errors="surrogateescape"), env=plain), 2, "is not a model's name")


def test_a_user_without_a_home_names_a_folder(tmp_path: Path) -> None:
    program = (
        "import pwd, sys\ndef nobody(uid): raise KeyError(uid)\npwd.getpwuid = nobody\nfrom freehold.entry import main\nmain()"
    )

    def freehold(*words: str) -> tuple[int, str]:
        env = {name: value for name, value in environment(tmp_path).items() if name != "HOME"}
        done = subprocess.run([sys.executable, "-c", program, *words], env=env, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout + done.stderr

    code, said = freehold("list")
    assert (code, said.count("\n")) == (2, 1)
    assert "no home folder. Set HOME, or FREEHOLD_DATA_DIR" in said
    assert freehold("list", "--data-dir", str(tmp_path / "data"))[0] == 0
    assert freehold("list", "--all", "--data-dir", str(tmp_path / "data"))[0] == 0
    assert "A home folder is not known" in freehold("connect")[1]


@pytest.mark.parametrize("module", ["click", "platformdirs"])
def test_ctrl_c_while_it_starts_ends_a_command_without_a_traceback(tmp_path: Path, module: str) -> None:
    """The first module is imported by the command line itself, the second by a command."""
    (tmp_path / f"{module}.py").write_text("import time\nprint('importing', flush=True)\ntime.sleep(60)")
    with subprocess.Popen(
        [FREEHOLD, "list"],
        env=environment(tmp_path, {"PYTHONPATH": str(tmp_path)}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "importing\n"
        process.send_signal(signal.SIGINT)
        assert process.communicate(timeout=30)[0].strip() == ""
    assert process.returncode == (-signal.SIGINT if module == "click" else 130)


@pytest.mark.parametrize("key", ["a\nb", " a", "a ", "ä", "\udcff"])
def test_a_key_that_no_client_can_send_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(SettingsError, match="no client can send") as caught:
        load(env={}, flags={"api_key": key})
    assert "api_key = ***" in str(caught.value)


def test_settings_without_end_are_refused(tmp_path: Path) -> None:
    (tmp_path / "deep.toml").write_text("a=" + "[" * 5000)
    with pytest.raises(SettingsError, match="nested too deeply"):
        load(tmp_path / "deep.toml", env={})
    with pytest.raises(SettingsError, match="is not JSON"):
        load(env={"FREEHOLD_MODELS": "[" * 50_000})
    with pytest.raises(SettingsError, match="There is no user"):
        load(env={"FREEHOLD_DATA_DIR": "~nosuchuser/x"})


def test_a_broken_pip_configuration_is_told_in_pips_words() -> None:
    said = "Configuration file could not be loaded.\nFile contains no section headers.\nfile: '/x/pip.conf', line: 1\n"
    assert "could not be loaded. File contains no section headers. file: '/x/pip.conf'" in pip.reason(said)
    assert pip.reason("") == "pip ended without a reason"
