"""Where settings come from: flags, the environment, a configuration file. A value that is wrong is told with its source."""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import platformdirs
from pydantic import BaseModel, ValidationError

from freehold.aliases import BUILT_IN
from freehold.errors import SettingsError
from freehold.settings.tree import Section, Settings, users_folder


@dataclass(frozen=True)
class _Given:
    value: Any
    source: str


def load(config: Path | None = None, flags: Mapping[str, Any] | None = None, env: Mapping[str, str] | None = None) -> Settings:
    """Settings from all sources. `flags` maps dotted keys to values; a None is a flag that was not given.

    Raises SettingsError naming key, value and source, or the file that does not parse.
    """
    env = os.environ if env is None else env
    given: dict[str, _Given] = {}
    for source in (_from_file(config, env), _from_environment(env), _from_flags(flags or {})):
        given.update(source)
    tree: dict[str, Any] = {}
    for key, item in given.items():
        node = tree
        *parents, leaf = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[leaf] = item.value
    if isinstance(tree.get("aliases"), dict):
        tree["aliases"] = {name: target for name, target in {**BUILT_IN, **tree["aliases"]}.items() if target != ""}
    try:
        settings = Settings.model_validate(tree)
    except ValidationError as error:
        raise _explained(error, given) from None
    return settings.model_copy(update={"data_dir": _absolute(settings.data_dir)})


def _absolute(folder: Path) -> Path:
    try:
        return folder.expanduser().absolute()
    except RuntimeError:
        raise SettingsError(f"There is no user whose folder could be meant by {folder}.", "Write it without the ~.") from None


def config_path(config: Path | None, env: Mapping[str, str]) -> Path | None:
    """The configuration file in force: as asked for, else ./freehold.toml, else the user's own, else none."""
    asked = config or (Path(env["FREEHOLD_CONFIG"]) if env.get("FREEHOLD_CONFIG") else None)
    if asked is not None:
        if not asked.is_file():
            raise SettingsError(f"The configuration file {asked} does not exist.", "Create it, or leave --config out.")
        return asked
    usual = [Path("freehold.toml")]
    with contextlib.suppress(SettingsError):
        usual.append(users_folder(platformdirs.user_config_dir) / "freehold.toml")
    return next((path for path in usual if path.is_file()), None)


def keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield from keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def environment_name(key: str) -> str:
    return "FREEHOLD_" + key.upper().replace(".", "_")


def _from_file(config: Path | None, env: Mapping[str, str]) -> dict[str, _Given]:
    path = config_path(config, env)
    if path is None:
        return {}
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}.", "Correct that line.") from None
    except RecursionError:
        raise SettingsError(f"{path} is nested too deeply.", "No setting is nested more than three times.") from None
    except OSError as error:
        raise SettingsError(f"{path} cannot be read: {error.strerror}.", "Check its permissions.") from None
    found: dict[str, _Given] = {}
    sections = {name for name, field in Settings.model_fields.items() if isinstance(field.annotation, type)}
    sections = {n for n in sections if issubclass(Settings.model_fields[n].annotation, Section)}  # type: ignore[arg-type]
    for name, value in table.items():
        if name in sections and isinstance(value, dict):
            found.update({f"{name}.{leaf}": _Given(item, str(path)) for leaf, item in value.items()})
        else:
            found[name] = _Given(value, str(path))
    return found


def _from_environment(env: Mapping[str, str]) -> dict[str, _Given]:
    found = {}
    for key, field in keys():
        name = environment_name(key)
        if env.get(name, "") == "":
            continue
        value: Any = env[name]
        if str(field.annotation).startswith(("dict", "tuple")):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                raise SettingsError(f"{name}={value[:200]!r} is not JSON.", f"{key} is a table or a list.") from None
        found[key] = _Given(value, f"the environment's {name}")
    return found


def _from_flags(flags: Mapping[str, Any]) -> dict[str, _Given]:
    return {
        key: _Given(value, f"--{key.rpartition('.')[2].replace('_', '-')}") for key, value in flags.items() if value is not None
    }


def _explained(error: ValidationError, given: Mapping[str, _Given]) -> SettingsError:
    first = error.errors()[0]
    key = ".".join(str(part) for part in first["loc"])
    item = given.get(key) or given.get(key.rpartition(".")[0])
    source = f", from {item.source}" if item else ""
    if first["type"] == "extra_forbidden":
        return SettingsError(f"There is no setting {key!r}{source}.", "docs/settings.md lists them all.")
    why = first["msg"].removeprefix("Value error, ")
    return SettingsError(
        f"The setting {key}{_shown(key, first['input'])}{source} is not valid: {why[:1].lower()}{why[1:]}.",
        "docs/settings.md tells more.",
    )


def _shown(key: str, value: Any) -> str:
    """What is wrong, without what could be a key: one may stand in an address, or anywhere in a whole table."""
    if isinstance(value, Mapping | list | tuple):
        return ""
    return " = ***" if key.rpartition(".")[2] in ("api_key", "url") or ".env." in key else f" = {value!r}"
