"""One settings tree: default < file < environment < flag, and errors that name key, value and source."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from freehold.errors import SettingsError
from freehold.settings import load
from freehold.settings.sources import keys


def file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "freehold.toml"
    path.write_text(text)
    return path


def test_the_nearer_source_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("FREEHOLD_PORT", "FREEHOLD_ENGINE_SLOTS"):
        monkeypatch.delenv(name, raising=False)
    assert load(None, {}, {}).port == 8080
    config = file(tmp_path, "port = 1001\n[engine]\nslots = 7\n")
    assert load(None, {}, {}).port == 1001  # ./freehold.toml is found
    assert load(config, {}, {"FREEHOLD_PORT": "1002"}).port == 1002
    both = load(config, {"port": 1003}, {"FREEHOLD_PORT": "1002", "FREEHOLD_ENGINE_SLOTS": "9"})
    assert (both.port, both.engine.slots) == (1003, 9)
    assert load(config, {"port": None}, {"FREEHOLD_PORT": ""}).port == 1001  # what is not given takes no part
    other = tmp_path / "other.toml"
    other.write_text("port = 1004")
    assert load(None, {}, {"FREEHOLD_CONFIG": str(other)}).port == 1004


@pytest.mark.parametrize(
    ("text", "env", "flags", "words"),
    [
        ("port = 'x'", {}, {}, ["port", "'x'", "freehold.toml"]),
        ("prot = 1", {}, {}, ["prot", "freehold.toml", "docs/settings.md"]),
        ("[engine]\nslots = -1", {}, {}, ["engine.slots", "-1", "freehold.toml"]),
        ("[engine]\nslot = 1", {}, {}, ["engine.slot", "freehold.toml"]),
        ("engine = 3", {}, {}, ["engine", "freehold.toml"]),
        ("port = ", {}, {}, ["freehold.toml", "TOML"]),
        ("", {"FREEHOLD_PORT": "many"}, {}, ["port", "many", "FREEHOLD_PORT"]),
        ("", {"FREEHOLD_QUEUE_TIMEOUT": "nan"}, {}, ["queue.timeout", "nan", "FREEHOLD_QUEUE_TIMEOUT"]),
        ("", {"FREEHOLD_ALIASES": "x"}, {}, ["FREEHOLD_ALIASES", "JSON"]),
        ("", {"FREEHOLD_STARTER": "perhaps"}, {}, ["starter", "perhaps", "FREEHOLD_STARTER"]),
        ("", {}, {"port": 70000}, ["port", "70000", "--port"]),
        ("", {"FREEHOLD_CONFIG": "/nowhere/x.toml"}, {}, ["/nowhere/x.toml"]),
    ],
)
def test_a_mistake_is_named_with_its_value_and_source(
    tmp_path: Path, text: str, env: dict[str, str], flags: dict[str, Any], words: list[str]
) -> None:
    config = file(tmp_path, text) if text else None
    with pytest.raises(SettingsError) as raised:
        load(config, flags, env)
    for word in words:
        assert word in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_key_is_never_shown(tmp_path: Path) -> None:
    settings = load(None, {}, {"FREEHOLD_API_KEY": "sesame"})
    assert "sesame" not in repr(settings)
    with pytest.raises(SettingsError) as raised:
        load(file(tmp_path, "api_key = 'sesame'\nport = 'x'"), {}, {})
    assert "sesame" not in str(raised.value)
    with pytest.raises(SettingsError) as raised:
        load(file(tmp_path, "api_key = ['sesame']"), {}, {})
    assert "sesame" not in str(raised.value)


def test_aliases_are_added_to_and_can_be_taken_away(tmp_path: Path) -> None:
    config = file(tmp_path, "[aliases]\nmine = 'smollm2:135m'\ngpt-4o = ''\n'gpt-4.1' = 'other'\n")
    aliases = load(config, {}, {}).aliases
    assert aliases["mine"] == "smollm2:135m"
    assert "gpt-4o" not in aliases
    assert aliases["gpt-4.1"] == "other"
    assert "gpt-5" in aliases


def test_a_home_folder_is_understood() -> None:
    assert load(None, {"data_dir": Path("~/models")}, {}).data_dir == Path.home() / "models"


def test_every_setting_is_described() -> None:
    for key, field in keys():
        assert field.description, key
        assert field.description.endswith("."), key
