"""Every command against a server, and on the store where no server runs."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import time
from pathlib import Path

import click
import pytest

import freehold
from freehold.cli.main import COMMANDS, cli
from tests.cli.parts import NOWHERE, assert_one_line, environment, run, stranger
from tests.conftest import FREEHOLD, STARTERS, Server, fake_model, serving, until
from tests.store.parts import only, write_gguf

# --- the frame


def test_the_table_of_commands_says_what_each_command_says_of_itself() -> None:
    context = click.Context(cli)
    for name, entry in COMMANDS.items():
        command = cli.get_command(context, name)  # type: ignore[attr-defined]
        assert entry.summary == (command.help or "").splitlines()[0], name
        assert "Example" in (command.epilog or ""), name


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_shows_examples(tmp_path: Path, command: list[str]) -> None:
    result = run(tmp_path, *command, "--help")
    assert result.code == 0
    assert "Example" in result.out
    assert result.err == ""


def test_version(tmp_path: Path) -> None:
    assert run(tmp_path, "--version").out == f"freehold {freehold.__version__}\n"
    assert run(tmp_path, "version").out.startswith(f"freehold {freehold.__version__} (Python ")
    assert json.loads(run(tmp_path, "version", "--json").out)["freehold"] == freehold.__version__


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["lsit"], ["Did you mean list?"]),
        (["nonsense"], ["freehold --help"]),
        (["list", "--nonsense"], ["--nonsense"]),
        (["up", "--port", "many"], ["--port"]),
        (["up", "--port", "70000"], ["port", "65535"]),
        (["show"], ["MODEL"]),
        (["rm"], ["MODELS"]),
        (["ps", "--url", "not an address"], ["is not an address"]),
        (["list", "--config", "missing.toml"], ["missing.toml"]),
    ],
)
def test_a_mistake_is_one_line_and_code_2(tmp_path: Path, arguments: list[str], words: list[str]) -> None:
    assert_one_line(run(tmp_path, *arguments), 2, *words)


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    with subprocess.Popen(
        [FREEHOLD, "chat", "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment(tmp_path), text=True
    ) as process:
        assert process.stdout
        assert process.stderr
        process.stdout.close()
        assert process.stderr.read() == ""


# --- without a server


def test_the_store_is_read_without_a_server(tmp_path: Path, starters: Path) -> None:
    there = ("--data-dir", starters)
    table = run(tmp_path, "list", *there)
    assert table.code == 0
    assert table.out.splitlines()[0].split()[:2] == ["NAME", "TASK"]
    assert all(name in table.out for name in STARTERS)
    rows = {row["name"]: row for row in json.loads(run(tmp_path, "list", "--json", *there).out)}
    assert rows[STARTERS[0]]["task"] == "chat"
    assert rows[STARTERS[1]]["task"] == "embedding"
    shown = json.loads(run(tmp_path, "show", STARTERS[0], "--json", *there).out)
    assert shown["license"] == "Apache-2.0"
    assert shown["context"] == 8192
    assert "Apache-2.0" in run(tmp_path, "show", STARTERS[0], *there).out


def test_a_file_is_pulled_listed_shown_and_removed(tmp_path: Path) -> None:
    model = write_gguf(tmp_path / "My Model.gguf")
    there = ("--data-dir", tmp_path / "data")
    assert "No model is installed" in run(tmp_path, "list", *there).out
    pulled = run(tmp_path, "pull", model, "--name", "mine:1", *there)
    assert (pulled.code, pulled.out) == (0, "mine:1 is installed.\n")
    assert json.loads(run(tmp_path, "pull", model, "--json", *there).out)["name"] == "My-Model"
    assert {row["name"] for row in json.loads(run(tmp_path, "list", "--json", *there).out)} == {"mine:1", "My-Model"}
    assert_one_line(run(tmp_path, "show", "mine", *there), 1, "mine", "freehold pull")
    result = run(tmp_path, "rm", "mine:1", "nonsense", "My-Model", *there)
    assert_one_line(result, 1, "nonsense")
    assert result.out == "removed mine:1\nremoved My-Model\n"
    assert json.loads(run(tmp_path, "list", "--json", *there).out) == []
    assert not [path for path in (tmp_path / "data").rglob("*") if path.is_file() and path.stat().st_size > 1000]


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    junk = tmp_path / "junk.gguf"
    junk.write_bytes(b"GGUF" + b"\xff" * 100)
    there = ("--data-dir", tmp_path / "data")
    assert_one_line(run(tmp_path, "pull", junk, *there), 1, "GGUF")
    assert_one_line(run(tmp_path, "pull", tmp_path / "none.gguf", *there), 1, "none.gguf")
    assert_one_line(run(tmp_path, "pull", "https://example.com/a\\b.gguf", *there), 1, "not an address")
    assert_one_line(run(tmp_path, "pull", "nonsense", *there), 1, "no model")
    assert_one_line(run(tmp_path, "pull", "x", "--sha256", "12", *there), 1, "sha256", "64 hex digits")
    assert run(tmp_path, "list", "--json", *there).out == "[]\n"


def test_without_a_server_the_commands_that_need_one_say_so(tmp_path: Path) -> None:
    for command in (["ps"], ["chat", "hello"]):
        assert_one_line(run(tmp_path, *command, "--url", NOWHERE), 1, NOWHERE, "freehold up")


def test_an_unreachable_registry_is_one_line_with_a_remedy(tmp_path: Path) -> None:
    result = run(
        tmp_path,
        "pull", STARTERS[0], "--data-dir", tmp_path / "data",
        env=only(f"{NOWHERE}/simple"),
    )  # fmt: skip
    assert_one_line(result, 1, "registry", "pip config")
    assert not any(path.is_file() and path.stat().st_size for path in (tmp_path / "data").rglob("*"))


def test_a_folder_that_is_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert_one_line(run(tmp_path, "pull", write_gguf(tmp_path / "x.gguf"), "--data-dir", tmp_path / "file" / "data"), 1)


# --- with a server


def test_the_server_is_asked_where_one_runs(tmp_path: Path, fake_server: Server) -> None:
    there = {"FREEHOLD_URL": fake_server.root}
    assert {row["name"] for row in json.loads(run(tmp_path, "list", "--json", env=there).out)} == {"fake", "fake-embedding"}
    shown = json.loads(run(tmp_path, "show", "gpt-4o", "--json", env=there).out)
    assert shown["name"] == "fake"
    assert "gpt-4o" in shown["aliases"]
    fake_server.chat("hello")
    assert "loaded" in run(tmp_path, "list", "--url", f"{fake_server.base_url}").out
    table = run(tmp_path, "ps", env=there).out.splitlines()
    assert table[0].startswith("MODEL")
    assert any(line.startswith("fake ") and " ready " in line for line in table[1:])
    workers = json.loads(run(tmp_path, "ps", "--json", env=there).out)
    assert {"fake"} <= {worker["model"] for worker in workers}
    assert_one_line(run(tmp_path, "show", "fke", env=there), 1, "fke", "fake")


def test_models_come_and_go_through_the_server(tmp_path: Path) -> None:
    data = tmp_path / "data"
    fake_model(data)
    model = write_gguf(tmp_path / "x.gguf")
    with serving(data, "--model", "fake", env={"FREEHOLD_DEFAULT_EMBEDDING": "fake"}) as server:
        there = {"FREEHOLD_URL": server.root}
        assert run(tmp_path, "pull", model, env={**there, "FREEHOLD_DATA_DIR": str(data)}).out == "x is installed.\n"
        assert server.get("/v1/models/x")[0] == 200
        assert run(tmp_path, "rm", "x", env=there).out == "removed x\n"
        assert server.get("/v1/models/x")[0] == 404
        assert_one_line(run(tmp_path, "rm", "x", env=there), 1, "x")
        assert_one_line(run(tmp_path, "pull", "nonsense", env=there), 1, "no model")
        other = run(tmp_path, "pull", model, env={**there, "FREEHOLD_DATA_DIR": str(tmp_path / "other")})
        assert "another data folder" in other.err


def test_the_key_is_asked_for(tmp_path: Path) -> None:
    fake_model(tmp_path / "data")
    environment = {"FREEHOLD_DEFAULT_EMBEDDING": "fake"}
    with serving(tmp_path / "data", "--model", "fake", env=environment, key="sesame") as server:
        assert_one_line(run(tmp_path, "ps", "--url", server.root), 1, "FREEHOLD_API_KEY")
        assert_one_line(run(tmp_path, "ps", "--url", server.root, "--api-key", "wrong"), 1, "FREEHOLD_API_KEY")
        assert run(tmp_path, "ps", "--url", server.root, env={"FREEHOLD_API_KEY": "sesame"}).code == 0


def test_what_is_not_freehold_is_told(tmp_path: Path) -> None:
    with stranger(tmp_path) as port:
        for command in (["ps"], ["list"], ["chat", "hi"]):
            assert_one_line(run(tmp_path, *command, "--url", f"http://127.0.0.1:{port}"), 1, "not Freehold")


# --- chat


def test_one_answer(tmp_path: Path, server: Server) -> None:
    there = {"FREEHOLD_URL": server.root}
    exact = ("--temperature", 0, "--max-tokens", 24)
    question = "What is the capital of France?"
    alone = run(tmp_path, "chat", question, *exact, env=there)
    assert alone.code == 0
    assert alone.out.strip()
    assert alone.err == ""
    assert run(tmp_path, "chat", *exact, env=there, typed=question).out == alone.out
    both = run(
        tmp_path, "chat", "Repeat that.", "--system", "You repeat.", "--model", STARTERS[0], *exact, env=there, typed="Yes"
    )
    assert both.code == 0
    assert both.out.strip()
    assert both.out != alone.out


def test_what_cannot_be_asked(tmp_path: Path, fake_server: Server) -> None:
    there = {"FREEHOLD_URL": fake_server.root}
    assert_one_line(run(tmp_path, "chat", "hi", "--model", "gpt-nonsense", env=there), 1, "gpt-nonsense")
    assert_one_line(run(tmp_path, "chat", env=there), 2, "prompt")
    assert_one_line(run(tmp_path, "chat", " ", env=there), 2, "empty")
    broken = run(tmp_path, "chat", 'x [[fake:{"tokens": 50, "die_at_token": 3}]]', env=there)
    assert_one_line(broken, 1, "worker")
    assert broken.out.strip()


class Terminal:
    """`freehold chat` in a terminal, with someone typing."""

    def __init__(self, home: Path, server: Server, *options: str):
        self.pid, self._fd = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            os.execve(
                FREEHOLD, ["freehold", "chat", *options], environment(home, {"FREEHOLD_URL": server.root, "TERM": "dumb"})
            )
        self.seen = ""

    def type(self, text: str) -> None:
        self.seen = ""
        os.write(self._fd, text.encode())

    def wait(self, text: str, within: float = 60) -> str:
        deadline = time.monotonic() + within
        while text not in self.seen:
            assert time.monotonic() < deadline, self.seen
            if select.select([self._fd], [], [], 0.2)[0]:
                try:
                    self.seen += os.read(self._fd, 65536).decode(errors="replace")
                except OSError:
                    pytest.fail(f"the program ended: {self.seen}")
        return self.seen

    def end(self) -> int:
        _, status = os.waitpid(self.pid, 0)
        os.close(self._fd)
        return os.waitstatus_to_exitcode(status)


def test_a_conversation(tmp_path: Path, server: Server) -> None:
    terminal = Terminal(tmp_path, server, "--temperature", "0", "--max-tokens", "8")
    terminal.wait(">>> ")
    assert "Talking to smollm2:135m" in terminal.seen

    def asked() -> float:
        """Tokens of the prompt that a question makes, with all that goes before it."""
        before = server.metric("freehold_tokens_total", model=STARTERS[0], kind="prompt")
        terminal.type("Where is Rome?\n")
        terminal.wait("\n>>> ")
        until(lambda: server.metric("freehold_tokens_total", model=STARTERS[0], kind="prompt") > before)
        return server.metric("freehold_tokens_total", model=STARTERS[0], kind="prompt") - before

    alone = asked()
    assert asked() > alone  # the conversation so far is sent along
    terminal.type("/clear\n")
    assert "Forgotten." in terminal.wait(">>> ")
    assert asked() == alone
    terminal.type("/system Answer in French, and at length.\n")
    assert "Set." in terminal.wait(">>> ")
    terminal.type("/clear\n")
    terminal.wait(">>> ")
    assert asked() != alone  # another system message than the template's own
    terminal.type("/help\n")
    assert "/system" in terminal.wait(">>> ")
    terminal.type('"""two\nlines"""\n')
    terminal.wait("\n>>> ")
    terminal.type("\x04")
    assert terminal.end() == 0
    history = next(tmp_path.rglob("chat_history"))
    assert "Where is Rome?" in history.read_text()
    assert history.stat().st_mode & 0o077 == 0


def test_ctrl_c_ends_an_answer_and_not_the_conversation(tmp_path: Path) -> None:
    fake_model(tmp_path / "data")
    with serving(tmp_path / "data", "--model", "fake", env={"FREEHOLD_DEFAULT_EMBEDDING": "fake"}) as slow:
        terminal = Terminal(tmp_path, slow)
        terminal.wait(">>> ")
        terminal.type('Tell me a story. [[fake:{"tokens": 2000, "token_delay_s": 0.02}]]\n')
        until(lambda: slow.worker("fake")["busy"])
        os.kill(terminal.pid, signal.SIGINT)
        terminal.wait("\n>>> ")
        until(lambda: not slow.worker("fake")["busy"], 5)
        terminal.type("/exit\n")
        assert terminal.end() == 0


# --- doctor


def test_doctor_finds_a_working_machine(tmp_path: Path, starters: Path) -> None:
    result = run(tmp_path, "doctor", "--json", "--data-dir", starters, env={"FREEHOLD_PORT": "0"})
    findings = {finding["name"]: finding for finding in json.loads(result.out)}
    assert findings.keys() == {
        "python", "processor", "memory", "gpu", "sandbox", "engine", "disk", "models", "port", "registry"
    }  # fmt: skip
    assert set(STARTERS) <= set(findings["models"]["detail"].split(", "))
    assert "llama.cpp" in findings["engine"]["detail"]
    assert result.code == int(any(finding["status"] == "problem" for finding in findings.values()))
    assert all(finding["remedy"] for finding in findings.values() if finding["status"] == "problem")


def test_doctor_says_what_is_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with stranger(tmp_path) as port:
        environment = {
            "FREEHOLD_PORT": str(port),
            "FREEHOLD_DATA_DIR": str(tmp_path / "file" / "data"),
            **only(f"{NOWHERE}/simple"),
        }
        result = run(tmp_path, "doctor", "--json", env=environment)
    assert result.code == 1
    findings = {finding["name"]: finding for finding in json.loads(result.out)}
    assert findings["port"]["status"] == "problem"
    assert str(port + 1) in findings["port"]["remedy"]
    assert findings["disk"]["status"] == "problem"
    assert findings["registry"]["status"] == "note"
    assert findings["registry"]["remedy"]
