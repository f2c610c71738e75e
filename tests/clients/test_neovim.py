"""The Neovim plugin in a headless Neovim that is typed into: with a server that records, and with a running Freehold."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Server, until

PLUGIN = Path(__file__).parent.parent.parent / "editors" / "nvim"
NVIM = shutil.which("nvim")

pytestmark = [
    pytest.mark.skipif(NVIM is None, reason="Neovim is not installed"),
    pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed"),
]


class Neovim:
    """A Neovim without a screen, driven as another program's remote is."""

    def __init__(self, folder: Path, url: str):
        self._socket = folder / "nvim.sock"
        environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "FREEHOLD_URL": url, "TERM": "xterm"}
        argv = [str(NVIM), "--headless", "--clean", "--cmd", f"set noswapfile rtp^={PLUGIN}", "--listen", str(self._socket)]
        self.process = subprocess.Popen(
            argv, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self._until(self._socket.exists)
        self._until(lambda: self.lua("vim.g.loaded_freehold") is True)

    def _until(self, condition: Callable[[], bool]) -> None:
        try:
            until(condition)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()

    def _remote(self, *arguments: str) -> str:
        argv = [str(NVIM), "--server", str(self._socket), *arguments]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
        return done.stdout or done.stderr  # Neovim 0.7 answers on standard error

    def lua(self, expression: str) -> Any:
        said = self._remote("--remote-expr", f"json_encode(luaeval({_vim(expression)}))")
        try:
            return json.loads(said)
        except ValueError:
            return None

    def run(self, statements: str) -> None:
        self.lua(f"(function() {statements} end)()")

    def type(self, keys: str) -> None:
        self._remote("--remote-send", keys)

    def open(self, name: str, text: str) -> None:
        """A file with the cursor where | is, in insert mode."""
        before, _, after = text.partition("|")
        lines = json.dumps((before + after).split("\n"))
        self.type(f"<C-\\><C-n>:edit {name}<CR>")
        self.run(f"vim.api.nvim_buf_set_lines(0, 0, -1, false, vim.fn.json_decode({_lua(lines)}))")
        line, column = before.count("\n") + 1, len(before) - before.rfind("\n") - 1
        self.run(f"vim.api.nvim_win_set_cursor(0, {{{line}, {column}}})")
        self.type("i" if column < len(self.line()) else "a" if column else "i")
        until(lambda: self.lua("vim.fn.mode()") == "i")

    def line(self) -> str:
        return str(self.lua("vim.api.nvim_get_current_line()"))

    def shown(self) -> str | None:
        shown = self.lua("require('freehold').shown()")
        return None if shown is None else str(shown)

    def status(self) -> str:
        return str(self.lua("require('freehold').status()"))


def _vim(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _lua(text: str) -> str:
    return f"[=[{text}]=]"


class Recorder:
    """A server that notes what it is asked; `answer` gives (status, body)."""

    def __init__(self) -> None:
        self.asked: list[dict[str, Any]] = []
        self.left = threading.Event()
        self.answer: Callable[[], tuple[int, Any]] = lambda: (200, {"content": "a + b"})
        recorder = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                recorder.asked.append({"path": self.path, "key": self.headers.get("Authorization"), **body})
                status, value = recorder.answer()
                if status == 0:  # never answers; sees the client leave
                    self.connection.settimeout(20)
                    self.rfile.read(1)
                    recorder.left.set()
                    return
                data = value if isinstance(value, bytes) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture(scope="module")
def recorder() -> Iterator[Recorder]:
    recorder = Recorder()
    yield recorder
    recorder.server.shutdown()
    recorder.server.server_close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory, recorder: Recorder) -> Iterator[Neovim]:
    neovim = Neovim(tmp_path_factory.mktemp("nvim"), recorder.url)
    yield neovim
    neovim.stop()


@pytest.fixture
def nvim(running: Neovim, recorder: Recorder) -> Neovim:
    running.type("<C-\\><C-n>:silent! %bwipeout!<CR>")
    running.run("require('freehold').setup({ debounce = 20, enabled = true, key = '', url = " + _lua(recorder.url) + " })")
    recorder.asked.clear()
    recorder.left.clear()
    recorder.answer = lambda: (200, {"content": "a + b"})
    return running


def test_a_suggestion_is_shown_and_taken_whole(nvim: Neovim, recorder: Recorder) -> None:
    nvim.run("require('freehold').setup({ key = function() return 'secret' end })")
    nvim.open("add.py", "def add(a, b):\n    return|\n\nprint(add(1, 2))")
    nvim.type(" ")
    until(lambda: nvim.shown() == "a + b")
    asked = recorder.asked[-1]
    assert (asked["path"], asked["key"]) == ("/infill", "Bearer secret")
    assert (asked["input_prefix"], asked["prompt"]) == ("def add(a, b):\n", "    return ")
    assert asked["input_suffix"] == "\n\nprint(add(1, 2))"
    assert nvim.status().startswith("Freehold: ready (")
    count = len(recorder.asked)
    nvim.type("<Tab>")
    until(lambda: nvim.line() == "    return a + b")
    assert nvim.shown() is None
    assert nvim.lua("vim.api.nvim_win_get_cursor(0)[2]") == len("    return a + b")
    assert len(recorder.asked) == count


def test_a_word_and_a_line_are_taken_and_the_rest_stays(nvim: Neovim, recorder: Recorder) -> None:
    recorder.answer = lambda: (200, {"content": "first_one(two)\n    third\n    fourth"})
    nvim.open("a.py", "def f():\n   |")
    nvim.type(" ")
    until(nvim.shown)
    nvim.type("<C-Right>")
    until(lambda: nvim.line() == "    first_one")
    assert nvim.shown() == "(two)\n    third\n    fourth"
    nvim.type("<C-Down>")
    until(lambda: nvim.line() == "    first_one(two)")
    nvim.type("<C-Down>")
    until(lambda: nvim.line() == "    third")
    assert nvim.shown() == "\n    fourth"
    nvim.type("<C-]>")
    until(lambda: nvim.shown() is None)
    assert nvim.lua("vim.api.nvim_buf_line_count(0)") == 3


def test_what_is_typed_along_needs_no_second_request(nvim: Neovim, recorder: Recorder) -> None:
    nvim.open("a.py", "s =|")
    nvim.type(" ")
    until(nvim.shown)
    count = len(recorder.asked)
    nvim.type("a +")
    until(lambda: nvim.shown() == " b")
    assert len(recorder.asked) == count
    nvim.type("-")
    until(lambda: len(recorder.asked) == count + 1)


def test_keys_keep_their_meaning_without_a_suggestion(nvim: Neovim) -> None:
    nvim.run("require('freehold').setup({ enabled = false })")
    nvim.open("a.py", "x|")
    nvim.type("<Tab>y")
    until(lambda: nvim.line().endswith("y"))
    assert nvim.line().split() == ["x", "y"]
    assert nvim.status() == "Freehold: off"


def test_code_behind_the_cursor_makes_it_one_line(nvim: Neovim, recorder: Recorder) -> None:
    recorder.answer = lambda: (200, {"content": "a + b\nmore"})
    nvim.open("a.py", "x =|if y else z")
    nvim.type(" ")
    until(lambda: nvim.shown() == "a + b")
    assert recorder.asked[-1]["stop"] == ["\n"]


def test_keys_that_follow_soon_ask_once_and_one_more_hangs_up(nvim: Neovim, recorder: Recorder) -> None:
    nvim.run("require('freehold').setup({ debounce = 150 })")
    recorder.answer = lambda: (0, None)
    nvim.open("a.py", "|")
    nvim.type("abc")
    until(lambda: recorder.asked)
    assert [asked["prompt"] for asked in recorder.asked] == ["abc"]
    nvim.type("d")
    assert recorder.left.wait(10)
    nvim.type("<Esc>")


def test_other_buffers_come_along_and_secrets_do_not(nvim: Neovim, recorder: Recorder) -> None:
    nvim.open("sub.py", "def sub(a, b): return a - b\n|")
    nvim.open(".env", "KEY=1|")
    nvim.type("2")
    nvim.open("mul.py", "def mul(a, b): return a * b\n|")
    nvim.open("a.py", "from sub|")
    recorder.asked.clear()
    nvim.type(" ")
    until(nvim.shown)
    extras = recorder.asked[-1]["input_extra"]
    assert {extra["filename"]: extra["text"] for extra in extras} == {
        "sub.py": "def sub(a, b): return a - b\n",
        "mul.py": "def mul(a, b): return a * b\n",
    }
    assert all("KEY" not in json.dumps(asked) for asked in recorder.asked)


@pytest.mark.parametrize(
    ("answer", "state"),
    [
        ((400, {"error": {"message": "said so"}}), "Freehold: refused (said so)"),
        ((409, {"error": {"message": "x", "code": "superseded"}}), "Freehold: ready"),
        ((200, b"<html>"), "Freehold: refused (The server answered with status 200.)"),
        ((302, b""), "Freehold: refused (The server answered with status 302.)"),
    ],
)
def test_errors_become_a_state_and_no_suggestion(nvim: Neovim, recorder: Recorder, answer: Any, state: str) -> None:
    recorder.answer = lambda: answer
    nvim.open("a.py", "s =|")
    nvim.type(" ")
    until(lambda: nvim.status() == state)
    assert nvim.shown() is None


def test_without_a_server_it_says_so(nvim: Neovim) -> None:
    nvim.run("require('freehold').setup({ url = 'http://127.0.0.1:9' })")
    nvim.open("a.py", "s =|")
    nvim.type(" ")
    until(lambda: nvim.status() == "Freehold: down (No server answers at http://127.0.0.1:9.)")


def test_a_running_freehold_is_asked(nvim: Neovim, coding_server: Server) -> None:
    before = coding_server.metric("freehold_requests_total", route="/infill")
    nvim.run("require('freehold').setup({ max_tokens = 8, url = " + _lua(coding_server.root) + " })")
    nvim.type("<C-\\><C-n>:Freehold<CR>")
    until(lambda: nvim.status() == "Freehold: ready (fills in with coder)")
    nvim.open("add.py", 'def add(a, b):\n    return|\n\nprint(add(1, 2)) # \\ "quoted" \t é\n')
    nvim.type(" ")
    until(lambda: nvim.status().startswith("Freehold: ready (") and nvim.status().endswith(" ms)"))
    assert coding_server.metric("freehold_requests_total", route="/infill") > before
