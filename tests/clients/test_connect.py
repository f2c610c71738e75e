"""`freehold connect` with the files of a user: written, merged, tested by a request, and brought back to the byte."""

from __future__ import annotations

import ast
import json
import os
import shlex
import shutil
import stat
import subprocess
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from freehold.cli.client import ServerError
from freehold.cli.connect import jsonc
from freehold.cli.connect.clients import RECIPES
from freehold.cli.connect.keep import Keeper
from freehold.cli.connect.models import _model
from freehold.cli.connect.recipe import Home, Model, Served
from freehold.errors import OperatorError
from tests.cli.parts import NOWHERE, Result, assert_one_line, run
from tests.conftest import Server

CODE = ".config/Code/User"
# What users have in these files: comments, odd indents, their own models.
CONTINUE = """# mine
name: My Assistant
version: 1.0.0
schema: v1
models:
    # the good one
    - name: Other
      provider: anthropic
      model: other
rules:
  - be short # please
"""
SETTINGS = """{
    // look
    "editor.fontSize": 14, // small
    "llama-vscode.api_key": "theirs",
    /* end */
}
"""
ZED = """// Zed settings
{
  "theme": "One",
  "edit_predictions": {"provider": "copilot", "mode": "eager"},
}
"""
THEIRS = {
    ".continue/config.yaml": CONTINUE,
    f"{CODE}/settings.json": SETTINGS,
    f"{CODE}/chatLanguageModels.json": '[\n\t{ "name": "Other", "vendor": "ollama" }\n]\n',
    ".aider.conf.yml": "## mine\nmodel: gpt-4o  # the usual\ndark-mode: true\n",
    ".config/opencode/opencode.json": '{"theme": "x", "provider": {"other": {"npm": "y"}}, "model": "other/z"}',
    ".claude/settings.json": '{\n  "permissions": {"allow": ["Bash"]},\n  "env": {"FOO": "1"}\n}',
    ".codex/config.toml": '# mine\nmodel = "gpt-5" # best\napproval_policy = "never"\n\n[profiles.x]\nmodel = "o3"\n',
    ".bashrc": "alias ll='ls -l'",
    ".config/zed/settings.json": ZED,
}
SERVED = Served(
    "http://127.0.0.1:8080",
    None,
    Model("chatty:1b", 32_768, 4096, tools=True),
    Model("coder:1b", 8192, 2048),
    Model("words:1m", 512, 512),
)


def put(home: Path) -> None:
    for name, text in THEIRS.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)


def files(home: Path) -> dict[str, bytes]:
    return {str(path.relative_to(home)): path.read_bytes() for path in sorted(home.rglob("*")) if path.is_file()}


def at(folder: Path, **env: str) -> Home:
    return Home(folder, {"SHELL": "/bin/bash", "PATH": "/usr/bin", **env}, "linux")


def made(client: str, home: Home, kept: Path, served: Served = SERVED) -> list[Path]:
    keeper = Keeper(kept, client)
    return [done.path for done in keeper.make(RECIPES[client].plan(home, served).changes, secret=served.key is not None)]


def read(path: Path) -> Any:
    text = path.read_text()
    match path.suffix:
        case ".yaml" | ".yml":
            return yaml.safe_load(text)
        case ".toml":
            return tomllib.loads(text)
        case ".json":
            return jsonc.value_of(text)
        case ".lua":
            return parsed_by_neovim(path)
    return text


def parsed_by_neovim(path: Path) -> Any:
    """What a file of Lua gives, with functions called or left as words; None where no Neovim is here."""
    nvim = shutil.which("nvim")
    if nvim is None:
        return None
    program = (
        f"local found = dofile({json.dumps(str(path))}); "
        "local function plain(v) if type(v) == 'function' then local ok, r = pcall(v); return ok and r or 'function' end "
        "if type(v) ~= 'table' then return v end local t = {} "
        "for k, x in pairs(v) do t[tostring(k)] = plain(x) end return t end "
        "io.write(vim.fn.json_encode(plain(found)))"
    )
    done = subprocess.run(
        [nvim, "--headless", "--clean", "-c", f"lua {program}", "-c", "qa!"], capture_output=True, text=True, check=True
    )
    return json.loads(done.stdout)


WRITERS = sorted(name for name, recipe in RECIPES.items() if recipe.plan(at(Path("/nowhere")), SERVED).changes)


@pytest.mark.parametrize("client", WRITERS)
@pytest.mark.parametrize("theirs", [False, True], ids=["empty home", "full home"])
def test_every_file_that_is_written_is_read_again_and_undone_to_the_byte(tmp_path: Path, client: str, theirs: bool) -> None:
    home, kept = tmp_path / "home", tmp_path / "kept"
    home.mkdir()
    if theirs:
        put(home)
    before = files(home)
    paths = made(client, at(home), kept)
    for path in paths:
        read(path)
    after = files(home)
    assert after != before
    assert {name for name in after if after[name] != before.get(name)} == {str(path.relative_to(home)) for path in paths}
    assert [done.action for done in Keeper(kept, client).make(RECIPES[client].plan(at(home), SERVED).changes, False)] == [
        "unchanged" for _ in paths
    ]
    assert files(home) == after
    Keeper(kept, client).undo()
    assert files(home) == before
    assert not [folder for folder in home.rglob("*") if folder.is_dir() and not any(folder.iterdir())]
    assert not Keeper(kept, client).connected


def test_what_the_user_has_stays_and_ours_is_there(tmp_path: Path) -> None:
    put(tmp_path)
    for client in WRITERS:
        made(client, at(tmp_path), tmp_path / "kept")
    config = read(tmp_path / ".continue/config.yaml")
    assert [model["name"] for model in config["models"]][-1] == "Other"
    roles = {role: model for model in config["models"] for role in model.get("roles", ())}
    assert roles["autocomplete"] | {"name": ""} == {
        "name": "",
        "provider": "mistral",
        "model": "coder:1b",
        "apiBase": "http://127.0.0.1:8080/v1",
        "apiKey": "none",
        "roles": ["autocomplete"],
    }
    assert roles["embed"]["model"] == "words:1m"
    assert config["rules"] == ["be short"]
    assert "# the good one" in (tmp_path / ".continue/config.yaml").read_text()
    settings = read(tmp_path / CODE / "settings.json")
    assert settings["editor.fontSize"] == 14
    assert settings["llama-vscode.endpoint"] == "http://127.0.0.1:8080"
    roo = read(Path(settings["roo-cline.autoImportSettingsPath"]))
    assert roo["providerProfiles"]["apiConfigs"]["freehold"]["openAiModelId"] == "chatty:1b"
    other, own = read(tmp_path / CODE / "chatLanguageModels.json")
    assert (other["name"], own["vendor"]) == ("Other", "customendpoint")
    assert own["models"][0]["url"] == "http://127.0.0.1:8080/v1/chat/completions"
    aider = read(tmp_path / ".aider.conf.yml")
    assert (aider["model"], aider["dark-mode"]) == ("openai/chatty:1b", True)
    opencode = read(tmp_path / ".config/opencode/opencode.json")
    assert set(opencode["provider"]) == {"other", "freehold"}
    assert opencode["provider"]["freehold"]["models"]["chatty:1b"]["limit"] == {"context": 32_768, "output": 4096}
    claude = read(tmp_path / ".claude/settings.json")
    assert claude["permissions"] == {"allow": ["Bash"]}
    assert (claude["env"]["FOO"], claude["env"]["ANTHROPIC_BASE_URL"]) == ("1", "http://127.0.0.1:8080")
    codex = read(tmp_path / ".codex/config.toml")
    assert (codex["model"], codex["approval_policy"], codex["profiles"]) == ("chatty:1b", "never", {"x": {"model": "o3"}})
    assert codex["model_providers"]["freehold"]["wire_api"] == "responses"
    zed = read(tmp_path / ".config/zed/settings.json")
    assert zed["edit_predictions"]["mode"] == "eager"
    assert zed["edit_predictions"]["open_ai_compatible_api"]["api_url"] == "http://127.0.0.1:8080/v1/completions"
    assert zed["language_models"]["openai_compatible"]["Freehold"]["available_models"][0]["max_tokens"] == 32_768


def test_the_shell_has_the_variables(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text("export A='b c'")
    hostile = Served("http://127.0.0.1:8080", "k'$(touch x)", Model("a b; c", 4096, 2048))
    made("copilot", at(tmp_path), tmp_path / "kept", hostile)
    script = (
        'set -e; . ./.bashrc; printf \'%s|\' "$A" "$COPILOT_PROVIDER_BASE_URL" "$COPILOT_PROVIDER_API_KEY" "$COPILOT_MODEL"'
    )
    done = subprocess.run(["bash", "--norc", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout == "b c|http://127.0.0.1:8080/v1|k'$(touch x)|a b; c|"
    assert not (tmp_path / "x").exists()


def test_neovim_and_vim_read_what_is_written_for_them(tmp_path: Path) -> None:
    (tmp_path / ".vim").mkdir()
    (tmp_path / ".config/nvim/lua/plugins").mkdir(parents=True)
    odd = Served("http://127.0.0.1:8080", "k\"\\'", Model("it's", 4096, 2048), Model("c:1b", 4096, 2048))
    paths = [
        path
        for client in ("llama-vim", "minuet", "codecompanion", "avante")
        for path in made(client, at(tmp_path), tmp_path / "kept", odd)
    ]
    if shutil.which("nvim") is None:
        pytest.skip("Neovim is not installed")
    vim = next(path for path in paths if path.suffix == ".vim")
    show = "lua io.write(vim.fn.json_encode(vim.g.llama_config))"
    argv = [
        "nvim",
        "--headless",
        "--clean",
        "--cmd",
        "let g:llama_config = {'show_info': 0}",
        "-S",
        str(vim),
        "-c",
        show,
        "-c",
        "qa!",
    ]
    config = json.loads(subprocess.run(argv, capture_output=True, text=True, check=True).stdout)
    assert (config["show_info"], config["endpoint_fim"], config["api_key"]) == (0, "http://127.0.0.1:8080/infill", "k\"\\'")
    assert config["model_inst"] == "it's"
    specs = {path.name: read(path)["1"] for path in paths if path.suffix == ".lua"}
    assert all(spec["optional"] is True for spec in specs.values())
    minuet = specs["freehold-minuet.lua"]["opts"]["provider_options"]["openai_fim_compatible"]
    assert (minuet["end_point"], minuet["api_key"]) == ("http://127.0.0.1:8080/v1/completions", "k\"\\'")
    avante = specs["freehold-avante.lua"]["opts"]["providers"]["freehold"]
    assert (avante["endpoint"], avante["api_key_name"], avante["model"]) == (
        "http://127.0.0.1:8080/v1",
        "FREEHOLD_API_KEY",
        "it's",
    )


def test_two_clients_of_one_file_are_undone_in_any_order(tmp_path: Path) -> None:
    put(tmp_path)
    settings = tmp_path / CODE / "settings.json"
    before = settings.read_bytes()
    for order in (("roo", "llama-vscode"), ("llama-vscode", "roo")):
        for client in ("roo", "llama-vscode"):
            made(client, at(tmp_path), tmp_path / "kept")
        for client in order:
            Keeper(tmp_path / "kept", client).undo()
        assert settings.read_bytes() == before


@pytest.mark.parametrize("client", ["zed", "aider", "codex", "continue", "copilot", "opencode"])
def test_what_the_user_changed_afterwards_survives_the_undo(tmp_path: Path, client: str) -> None:
    put(tmp_path)
    path = made(client, at(tmp_path), tmp_path / "kept")[0]
    before = THEIRS[str(path.relative_to(tmp_path))]
    comment = "#" if path.suffix not in (".json",) else "//"
    path.write_text(f"{comment} added later\n" + path.read_text())
    Keeper(tmp_path / "kept", client).undo()
    assert path.read_text().rstrip("\n") == f"{comment} added later\n{before}".rstrip("\n")


def test_a_file_of_ours_that_was_changed_is_left_to_its_user(tmp_path: Path) -> None:
    path = made("minuet", at(tmp_path), tmp_path / "kept")[0]
    path.write_text(path.read_text() + "-- mine\n")
    with pytest.raises(OperatorError, match="was changed after"):
        Keeper(tmp_path / "kept", "minuet").undo()
    with pytest.raises(OperatorError, match="was changed after"):
        made("minuet", at(tmp_path), tmp_path / "kept")


def test_a_second_model_replaces_the_first_and_undo_goes_back_before_both(tmp_path: Path) -> None:
    put(tmp_path)
    before = files(tmp_path)
    made("zed", at(tmp_path), tmp_path.parent / "kept2")
    made("zed", at(tmp_path), tmp_path.parent / "kept2", Served("http://127.0.0.1:9", None, Model("next", 4096, 2048)))
    zed = read(tmp_path / ".config/zed/settings.json")
    assert zed["language_models"]["openai_compatible"]["Freehold"]["api_url"] == "http://127.0.0.1:9/v1"
    assert zed["edit_predictions"]["provider"] == "copilot"
    Keeper(tmp_path.parent / "kept2", "zed").undo()
    assert files(tmp_path) == before


def test_links_stay_links_and_modes_stay_modes(tmp_path: Path) -> None:
    real = tmp_path / "dotfiles" / "zed.json"
    real.parent.mkdir()
    real.write_text("{}")
    real.chmod(0o640)
    link = tmp_path / ".config/zed/settings.json"
    link.parent.mkdir(parents=True)
    link.symlink_to("../../dotfiles/zed.json")
    made("zed", at(tmp_path), tmp_path / "kept")
    assert link.is_symlink()
    assert stat.S_IMODE(real.stat().st_mode) == 0o640
    assert "Freehold" in real.read_text()
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in (tmp_path / "kept/connect/zed").iterdir())
    Keeper(tmp_path / "kept", "zed").undo()
    assert (link.is_symlink(), real.read_text()) == (True, "{}")


def test_a_new_file_with_a_key_is_its_owners_alone(tmp_path: Path) -> None:
    (path, _) = made(
        "aider", at(tmp_path), tmp_path / "kept", Served("http://127.0.0.1:8080", "secret", Model("m", 4096, 2048))
    )
    assert "secret" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def _unreadable(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


def _read_only(path: Path) -> None:
    path.write_text("{}")
    path.chmod(0o444)


def _circle(path: Path) -> None:
    path.symlink_to(path.name)


def _broken_link(path: Path) -> None:
    path.symlink_to("nowhere/at/all.json")


def _large(path: Path) -> None:
    path.write_bytes(b" " * (5 * 2**20))


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (_unreadable, "UTF-8"),
        (_read_only, "read-only"),
        (_circle, "symbolic links"),
        (_broken_link, "whose folder is not there"),
        (_large, "too large"),
        (Path.mkdir, "not a file"),
        (lambda path: path.write_text('{"a": }'), "line 1"),
        (lambda path: path.write_text('{"language_models": 3}'), "no object"),
    ],
)
def test_a_file_that_cannot_be_merged_is_left_as_it_is(tmp_path: Path, spoil: Any, why: str) -> None:
    path = tmp_path / ".config/zed/settings.json"
    path.parent.mkdir(parents=True)
    spoil(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(OperatorError, match=why):
        made("zed", at(tmp_path), tmp_path / "kept")
    assert (path.read_bytes() if path.is_file() else None) == before
    assert not Keeper(tmp_path / "kept", "zed").connected


@pytest.mark.parametrize("text", ["models: [{name: x}]\n", "models:\n  - a\n---\nmodels:\n  - b\n"])
def test_yaml_in_a_form_that_is_not_edited_is_left(tmp_path: Path, text: str) -> None:
    path = tmp_path / ".continue/config.yaml"
    path.parent.mkdir()
    path.write_text(text)
    with pytest.raises(OperatorError, match="does not edit"):
        made("continue", at(tmp_path), tmp_path / "kept")
    assert path.read_text() == text


def test_an_empty_list_of_models_is_filled_and_brought_back(tmp_path: Path) -> None:
    path = tmp_path / ".continue/config.yaml"
    path.parent.mkdir()
    path.write_bytes(b"name: a\r\nversion: 1.0.0\r\nmodels: [] # none\r\nschema: v1\r\n")
    before = path.read_bytes()
    made("continue", at(tmp_path), tmp_path / "kept")
    assert len(read(path)["models"]) == 3
    assert b"\n" not in path.read_bytes().replace(b"\r\n", b"")
    Keeper(tmp_path / "kept", "continue").undo()
    assert path.read_bytes() == before


# --- the command, against a server


def connect(server: Server, home: Path, *arguments: str, env: Mapping[str, str] | None = None) -> Result:
    return run(home, "connect", *arguments, env={"FREEHOLD_URL": server.root, "SHELL": "/bin/bash", **(env or {})})


@pytest.mark.parametrize("client", [name for name, recipe in RECIPES.items() if not recipe.routes])
def test_every_client_is_connected_and_tested_by_its_own_requests(coding_server: Server, tmp_path: Path, client: str) -> None:
    done = connect(coding_server, tmp_path, client, "--json")
    assert done.code == 0, done
    told = json.loads(done.out)
    assert told["tests"]
    assert all(test["ok"] for test in told["tests"])
    assert told["files"] or told["steps"] or told["snippet"]
    wanted = told["models"]["fim"] if RECIPES[client].fill else told["models"]["chat"]
    assert wanted == ("coder" if RECIPES[client].fill else "fake")


def test_a_client_of_a_route_that_is_missing_is_told_so_or_connected(coding_server: Server, tmp_path: Path) -> None:
    done = connect(coding_server, tmp_path, "codex")
    if coding_server.post("/v1/responses", {})[0] == 404:
        assert_one_line(done, 1, "/v1/responses", "Codex")
        assert not (tmp_path / ".codex").exists()
    else:
        assert done.code == 0, done


def test_it_lists_prints_connects_and_undoes(coding_server: Server, tmp_path: Path) -> None:
    (tmp_path / ".config/zed").mkdir(parents=True)
    listed = {row["client"]: row for row in json.loads(connect(coding_server, tmp_path, "--json").out)}
    assert set(listed) == set(RECIPES)
    assert listed["zed"]["found"] == str(tmp_path / ".config/zed")
    printed = connect(coding_server, tmp_path, "zed", "--print")
    assert (printed.code, files(tmp_path)) == (0, {})
    assert "open_ai_compatible_api" in printed.out
    done = connect(coding_server, tmp_path, "zed")
    assert done.code == 0
    assert "created" in done.out
    assert done.out.count("tested") == 2
    assert json.loads(connect(coding_server, tmp_path, "--json").out)[-5]["connected"] is True
    assert "removed" in connect(coding_server, tmp_path, "zed", "--undo").out
    assert files(tmp_path / ".config/zed") == {}
    assert_one_line(connect(coding_server, tmp_path, "zed", "--undo"), 1, "nothing to undo")


def test_a_model_that_cannot_is_refused_with_one_that_can(fake_server: Server, coding_server: Server, tmp_path: Path) -> None:
    assert_one_line(
        connect(fake_server, tmp_path, "minuet"), 1, "cannot fill in the middle", "freehold pull qwen2.5-coder:1.5b"
    )
    assert_one_line(connect(coding_server, tmp_path, "minuet", "--model", "fake"), 1, "fake cannot fill in")
    assert_one_line(connect(coding_server, tmp_path, "zed", "--model", "fake-embedding"), 1, "does not chat")
    assert_one_line(connect(coding_server, tmp_path, "zed", "--model", "missing"), 1, "missing")
    done = connect(fake_server, tmp_path, "zed")
    assert done.code == 0
    assert "completions as you type are left out" in done.err
    assert "edit_predictions" not in (tmp_path / ".config/zed/settings.json").read_text()
    assert "tokens of context" in connect(coding_server, tmp_path, "opencode").err


def test_a_server_cannot_write_into_files_by_a_models_name() -> None:
    with pytest.raises(ServerError, match="cannot be written"):
        _model({"id": "a\nexport PATH=/tmp", "context_length": 1})


def test_mistakes_are_told_in_a_line(tmp_path: Path) -> None:
    assert_one_line(run(tmp_path, "connect", "zedd"), 2, "Did you mean zed?")
    assert_one_line(run(tmp_path, "connect", "--undo"), 2, "Name a client")
    assert_one_line(run(tmp_path, "connect", "zed", env={"FREEHOLD_URL": NOWHERE}), 1, "freehold up")
    assert files(tmp_path) == {}


def test_code_for_libraries_is_code(coding_server: Server, tmp_path: Path) -> None:
    for client in ("langchain", "llamaindex"):
        snippet = json.loads(connect(coding_server, tmp_path, client, "--json").out)["snippet"]
        ast.parse(snippet)
        assert f"{coding_server.root}/v1" in snippet
    command = json.loads(connect(coding_server, tmp_path, "open-webui", "--json").out)["snippet"]
    assert shlex.split(command.replace("\\\n", " "))[:2] == ["docker", "run"]


def test_an_interrupted_connection_can_be_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is written before the file: whatever is cut short, undo finds what was there."""
    put(tmp_path)
    before = files(tmp_path)
    kept = tmp_path.parent / f"{tmp_path.name}-kept"
    replace = os.replace

    def cut(self: Path, target: Path) -> Any:
        if target.name == "settings.json":
            raise KeyboardInterrupt
        replace(self, target)

    monkeypatch.setattr(Path, "replace", cut)
    with pytest.raises(KeyboardInterrupt):
        made("zed", at(tmp_path), kept)
    monkeypatch.undo()
    for leftover in (tmp_path / ".config/zed").glob(".settings.json.*"):
        leftover.unlink()
    Keeper(kept, "zed").undo()
    assert files(tmp_path) == before
