"""One typed tree of settings: default < freehold.toml < environment FREEHOLD_* < flag.

A value that does not fit is refused with its key, the value and where it came from. The environment's name of a key is
FREEHOLD_ and the path in capitals: `port` is FREEHOLD_PORT, `queue.size` is FREEHOLD_QUEUE_SIZE; tables and lists are
given there as JSON.
"""

from __future__ import annotations

import contextlib
import json
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import platformdirs
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError, field_validator

from freehold.aliases import BUILT_IN, RERANK_DEFAULT, is_name
from freehold.errors import SettingsError
from freehold.external import ExternalSettings
from freehold.units import bytes_in, seconds_in

Seconds = Annotated[float, Field(gt=0, le=86_400)]
KvSetting = Literal["auto", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
Size = Annotated[int, BeforeValidator(bytes_in), Field(ge=0, le=2**60)]
Stayed = Annotated[float, BeforeValidator(seconds_in), Field(ge=-1, le=10**9)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpSettings(_Section):
    max_connections: int = Field(
        16_384,
        ge=1,
        le=1_000_000,
        description="Connections served at a time, if the system grants as many open files; then 503.",
    )
    header_timeout: Seconds = Field(10.0, description="Seconds a client may take to send a request's head; then 408.")
    body_timeout: Seconds = Field(
        30.0, description="Seconds a client may take to send a request's body, and one more for each 16 KiB of it; then 408."
    )
    keep_alive: Seconds = Field(75.0, description="Seconds a connection may stay open between two requests.")


class QueueSettings(_Section):
    size: int = Field(64, ge=0, le=100_000, description="Requests that may wait for one model; one more is answered 429.")
    timeout: Seconds = Field(60.0, description="Seconds a request may wait for its turn, loading included; then 503.")


class EngineSettings(_Section):
    slots: int = Field(
        0, ge=0, le=256, description="Requests a model serves at the same time; 0 lets the plan choose by memory and cores."
    )
    context: int = Field(
        4096,
        ge=128,
        le=16_777_216,
        description="Tokens of context for each request, capped by the model's own, and by memory where that is short.",
    )
    kv_type: KvSetting = Field(
        "auto",
        description="Number format of the KV cache; `auto` is f16, or q8_0 where memory is short and the model takes it.",
    )
    prompt_cache_mib: int = Field(
        0,
        ge=0,
        le=1_048_576,
        description="MiB for each chat model in which prompts that left their slot are kept; planned memory.",
    )
    max_output_tokens: int = Field(2048, ge=1, description="Tokens generated when the request sets no limit.")
    threads: int = Field(0, ge=0, le=1024, description="Threads of a model's engine; 0 chooses the usable physical cores.")
    sandbox: Literal["auto", "require", "off"] = Field(
        "auto", description="Worker without a network: where the OS allows it, or the model does not start, or never."
    )
    index: str = Field(
        "https://xorbitsai.github.io/xllamacpp/whl", description="Package index of the engine's wheels for GPUs, a folder each."
    )
    torch_index: str = Field(
        "https://download.pytorch.org/whl", description="PyTorch's own package index, a folder each for CPU, CUDA and ROCm."
    )
    build: str = Field(
        "auto", pattern="^[a-z][a-z0-9-]{0,39}$", description="Engine build that models run on: the best there is, or its name."
    )


class MemorySettings(_Section):
    budget: Size | Literal["auto"] = Field(
        "auto",
        description='Host memory for all models together, such as "12 GiB"; `auto` is what is available when the '
        "server starts, less the reserve. A second look is taken before each load.",
    )
    reserve: Size | Literal["auto"] = Field(
        "auto", description="Host memory that `auto` leaves to everything else; by itself a sixteenth, 128 MiB to 1 GiB."
    )
    keep_alive: Stayed = Field(
        "30m",
        validate_default=True,
        description='How long a model stays loaded without a request: seconds, "10m", "2h"; -1 for as long as there is room. '
        "The default models stay.",
    )
    kv_keep_mib: int = Field(
        0,
        ge=0,
        description="MiB of files, for all models together, in which the KV cache of long prompts outlasts an eviction; 0 for "
        "none. They hold prompts, and lie in the system's folder for temporary files until the server ends.",
    )
    turn: Seconds = Field(
        10.0, description="Seconds that requests for a model that is not loaded let busy ones go on before one makes room."
    )


class ModelSettings(ExternalSettings):
    keep_alive: Stayed | None = Field(None, description="As memory.keep_alive, for this model.")
    pin: bool = Field(False, description="Never make room for others.")
    preload: bool = Field(False, description="Load it when the server starts.")
    context: int | None = Field(None, ge=128, le=16_777_216, description="As engine.context.")
    slots: int | None = Field(None, ge=1, le=256, description="As engine.slots.")
    kv_type: KvSetting | None = Field(None, description="As engine.kv_type.")
    threads: int | None = Field(None, ge=1, le=1024, description="As engine.threads.")
    fim: str = Field(
        "",
        max_length=40,
        description="Family of code models that it fills in like; by itself told from its vocabulary. `chat` asks it in words.",
    )


class ImageSettings(_Section):
    count: int = Field(16, ge=1, le=1024, description="Images that a request may have.")
    bytes: int = Field(10 * 2**20, ge=1024, description="Largest image file, in bytes.")
    pixels: int = Field(25_000_000, ge=1, description="Most pixels of an image, width times height.")
    fetch: bool = Field(
        False, description="Whether images that requests name by an http or https address are fetched: from public hosts alone."
    )
    hosts: tuple[Annotated[str, Field(pattern=r"^(\*\.)?[A-Za-z0-9_.-]+(:[0-9]{1,5})?$")], ...] = Field(
        (), description='Hosts that images are fetched from, as "example.com", "*.example.com" or with ":8443"; empty for all.'
    )
    fetch_timeout: Seconds = Field(10.0, description="Seconds in which all images of a request must have been fetched.")


class SpeechSettings(_Section):
    characters: int = Field(100_000, ge=1, le=10_000_000, description="Characters of a text that is to be spoken, at most.")
    hours: float = Field(8.0, gt=0, le=1000, description="Hours of an audio that is to be transcribed, at most.")


class SourceSettings(_Section):
    ollama_registry: str = Field(
        "https://registry.ollama.ai", pattern="^https?://", description="Registry of `ollama:` names, or a mirror of it."
    )
    found: bool = Field(
        True, description="Whether models in the folders of Ollama, LM Studio, Hugging Face and llama.cpp can be used in place."
    )


class StateSettings(_Section):
    url: SecretStr | None = Field(
        None,
        description="Database of stored responses, conversations and completions: `sqlite:///PATH` or `postgresql://…`; "
        "by itself `stored.db` in the data folder.",
    )
    days: float | None = Field(
        None, gt=0, le=36_500, description="Days after which what is stored is deleted; by itself it is kept."
    )


class RealtimeSettings(_Section):
    sessions: int = Field(32, ge=0, le=10_000, description="Realtime sessions at a time; one more is answered 429.")
    duration: Seconds = Field(3600.0, description="Seconds that a realtime session may last.")


class TimeoutSettings(_Section):
    load: Seconds = Field(
        300.0, description="Seconds a model may take to load; on a CPU at most 30, and one more for each 20 MB of its weights."
    )
    first_token: Seconds = Field(600.0, description="Seconds until the engine's first byte of an answer.")
    idle: Seconds = Field(120.0, description="Seconds between two pieces of an answer, streamed or not.")
    picture: Seconds = Field(7200.0, description="Seconds that pictures which are not streamed may take.")
    write: Seconds = Field(60.0, description="Seconds a client may take to accept a piece; then it is cut off.")
    heartbeat: Seconds = Field(2.0, description="Seconds between two looks at a worker's health.")
    hang: Seconds = Field(8.0, description="Seconds without a sign of life after which a worker is replaced.")
    drain: Seconds = Field(30.0, description="Seconds that running requests get to finish when the server stops.")


class WorkerSettings(_Section):
    crash_budget: int = Field(
        5, ge=1, le=1000, description="Times a worker may end within `worker.crash_window`; then its model has failed."
    )
    crash_window: Seconds = Field(300.0, description="Seconds over which `worker.crash_budget` counts.")
    cool_down: Seconds = Field(
        600.0, description="Seconds after which a request may try a failed model again; `freehold load` may at once."
    )
    memory_factor: float = Field(
        1.5, ge=1, le=100, description="Times its planned host memory that a worker may take before it is ended."
    )
    memory_slack_mib: int = Field(512, ge=0, description="MiB that a worker may take on top of that.")
    memory_limit_mib: int = Field(
        0, ge=0, description="MiB of memory beyond which the system gives a worker no more (RLIMIT_DATA); 0 sets no limit."
    )


class Settings(_Section):
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; any but loopback needs an API key.")
    port: int = Field(8080, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    ollama_port: int = Field(
        0, ge=0, le=65_535, description="Second port for clients that look for Ollama: 11434 is where they do; 0 for none."
    )
    api_key: SecretStr | None = Field(None, description="Key that clients must send as a bearer token.")
    data_dir: Path = Field(
        default_factory=lambda: _users_folder(platformdirs.user_data_dir), description="Folder of models and state."
    )
    default_chat: str = Field("smollm2:135m", description="Model that OpenAI's chat names resolve to.")
    default_embedding: str = Field("all-minilm:22m", description="Model that OpenAI's embedding names resolve to.")
    default_rerank: str = Field(
        "",
        description="Model that ranks documents where a request names none; when empty, the default embedding model compares.",
    )
    default_moderation: str = Field(
        "", description="Guard model that OpenAI's moderation names resolve to; when empty, the newest that is installed."
    )
    default_decision: str = Field(
        "", description="Model that OpenAI's decision names resolve to; when empty, the newest that is installed."
    )
    default_transcription: str = Field("moonshine:tiny-en", description="Model that OpenAI's transcription names resolve to.")
    default_speech: str = Field("espeak-ng", description="Model that OpenAI's speech names resolve to.")
    default_image: str = Field(
        "", description="Model that OpenAI's image names resolve to; when empty, the newest that is installed."
    )
    aliases: dict[str, str] = Field(
        default_factory=lambda: dict(BUILT_IN),
        description="Names that stand for a model. `@chat`, `@embedding`, `@rerank`, `@moderation`, `@decision`, "
        "`@transcription`, `@speech` and `@image` are the defaults above; a name that ends in `*` stands for all that begin "
        "so. Given entries "
        'are added to the built-in ones; an empty string (`"gpt-4" = ""`) takes one away.',
    )
    starter: bool = Field(True, description="Whether `freehold up` pulls the default models when they are missing.")
    preload: bool = Field(True, description="Whether `freehold up` loads the default models, or waits for a first request.")
    unknown_parameters: Literal["refuse", "ignore"] = Field(
        "refuse", description="Unknown request fields: answer 400, or ignore them and name them in `x-freehold-ignored`."
    )
    allowed_hosts: tuple[str, ...] = Field(
        (), description="Host names, besides loopback and `host`, under which clients may reach the server."
    )
    allowed_origins: tuple[str, ...] = Field((), description="Web origins that may call the server from a browser.")
    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="Largest request body accepted, in bytes.")
    max_upload_bytes: int = Field(
        2**30, ge=1024, description="Largest body with files in it (audio, images), in bytes; they wait on the disk."
    )
    http: HttpSettings = HttpSettings()
    models: dict[str, ModelSettings] = Field(
        default_factory=dict,
        description="What holds for single models, by name: `keep_alive`, `pin`, `preload`, `context`, `slots`, `kv_type`, "
        "`threads`; or where the engine is that has them: `engine`, `url` and others (docs/external.md).",
    )
    queue: QueueSettings = QueueSettings()
    memory: MemorySettings = MemorySettings()
    engine: EngineSettings = EngineSettings()
    images: ImageSettings = ImageSettings()
    speech: SpeechSettings = SpeechSettings()
    realtime: RealtimeSettings = RealtimeSettings()
    state: StateSettings = StateSettings()
    timeouts: TimeoutSettings = TimeoutSettings()
    sources: SourceSettings = SourceSettings()
    worker: WorkerSettings = WorkerSettings()

    @field_validator("api_key")
    @classmethod
    def _sendable(cls, key: SecretStr | None) -> SecretStr | None:
        value = key.get_secret_value() if key else ""
        if not value.isascii() or not value.isprintable() or value != value.strip():
            raise ValueError("it has letters that no client can send: blanks at an end, a line's end, or others than ASCII's")
        return key

    @field_validator("models")
    @classmethod
    def _named(cls, models: dict[str, ModelSettings]) -> dict[str, ModelSettings]:
        for name, own in models.items():
            if own.engine is not None and not is_name(name):
                raise ValueError(
                    f"{name[:100]!a} is no model's name: letters, digits, '.', '_' and '-', in parts joined by ':' or '/'"
                )
        return models

    @property
    def defaults(self) -> Mapping[str, str]:
        """The default models, by the names that aliases call them."""
        kinds = ("chat", "embedding", "moderation", "decision", "transcription", "speech", "image")
        named = {f"@{kind}": getattr(self, f"default_{kind}") for kind in kinds}
        return named | {RERANK_DEFAULT: self.default_rerank or self.default_embedding}


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


def home() -> Path:
    """The user's home folder; one that does not exist for a user without any, such as a container's."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def _users_folder(kind: Callable[[str], str]) -> Path:
    """A folder of this user, by `platformdirs`. Raises SettingsError for a user without a home folder."""
    try:
        return Path(kind("freehold"))
    except RuntimeError:
        raise SettingsError("This user has no home folder.", "Set HOME, or FREEHOLD_DATA_DIR to a folder.") from None


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
        usual.append(_users_folder(platformdirs.user_config_dir) / "freehold.toml")
    return next((path for path in usual if path.is_file()), None)


def _keys(model: type[BaseModel] = Settings, prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, _Section):
            yield from _keys(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field


def _environment_name(key: str) -> str:
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
    sections = {n for n in sections if issubclass(Settings.model_fields[n].annotation, _Section)}  # type: ignore[arg-type]
    for name, value in table.items():
        if name in sections and isinstance(value, dict):
            found.update({f"{name}.{leaf}": _Given(item, str(path)) for leaf, item in value.items()})
        else:
            found[name] = _Given(value, str(path))
    return found


def _from_environment(env: Mapping[str, str]) -> dict[str, _Given]:
    found = {}
    for key, field in _keys():
        name = _environment_name(key)
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


def markdown() -> str:
    """The page docs/settings.md, rendered from the tree itself."""
    rows = [
        "# Settings",
        "",
        "Every setting, its default and its name in the environment. A flag wins over the environment, the environment over",
        "the configuration file (`--config FILE`, `FREEHOLD_CONFIG`, `./freehold.toml`, or `freehold/freehold.toml` in the",
        "user's configuration folder), and that over the default. In the file, a key with a dot stands in a table:",
        "`queue.size` is `size` under `[queue]`.",
        "",
        "| setting | default | environment | meaning |",
        "|---|---|---|---|",
    ]
    for key, field in _keys():
        match key:
            case "data_dir":
                default = "the user's data folder"
            case "aliases":
                default = "OpenAI's and Anthropic's names, below"
            case _:
                default = f"`{json.dumps(field.get_default(call_default_factory=True), default=str)}`"
        rows.append(f"| `{key}` | {default} | `{_environment_name(key)}` | {field.description} |")
    for kind in dict.fromkeys(BUILT_IN.values()):
        names = ", ".join(f"`{name}`" for name, target in BUILT_IN.items() if target == kind)
        rows += ["", f"Built-in aliases of the default {kind[1:]} model: {names}."]
    rows.append("")
    return "\n".join(rows)
