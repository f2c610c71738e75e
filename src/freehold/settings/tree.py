"""The tree of settings: every key with its type, its default and what it means."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, field_validator

from freehold.aliases import BUILT_IN, RERANK_DEFAULT, is_name
from freehold.errors import SettingsError
from freehold.external import ExternalSettings
from freehold.units import bytes_in, seconds_in

Seconds = Annotated[float, Field(gt=0, le=86_400)]
KvSetting = Literal["auto", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
Size = Annotated[int, BeforeValidator(bytes_in), Field(ge=0, le=2**60)]
Stayed = Annotated[float, BeforeValidator(seconds_in), Field(ge=-1, le=10**9)]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HttpSettings(Section):
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


class QueueSettings(Section):
    size: int = Field(64, ge=0, le=100_000, description="Requests that may wait for one model; one more is answered 429.")
    timeout: Seconds = Field(60.0, description="Seconds a request may wait for its turn, loading included; then 503.")


class EngineSettings(Section):
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


class MemorySettings(Section):
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


class ImageSettings(Section):
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


class SpeechSettings(Section):
    characters: int = Field(100_000, ge=1, le=10_000_000, description="Characters of a text that is to be spoken, at most.")
    hours: float = Field(8.0, gt=0, le=1000, description="Hours of an audio that is to be transcribed, at most.")


class SourceSettings(Section):
    ollama_registry: str = Field(
        "https://registry.ollama.ai", pattern="^https?://", description="Registry of `ollama:` names, or a mirror of it."
    )
    found: bool = Field(
        True, description="Whether models in the folders of Ollama, LM Studio, Hugging Face and llama.cpp can be used in place."
    )


class StateSettings(Section):
    url: SecretStr | None = Field(
        None,
        description="Database of stored responses, conversations and completions: `sqlite:///PATH` or `postgresql://…`; "
        "by itself `stored.db` in the data folder.",
    )
    days: float | None = Field(
        None, gt=0, le=36_500, description="Days after which what is stored is deleted; by itself it is kept."
    )


class RealtimeSettings(Section):
    sessions: int = Field(32, ge=0, le=10_000, description="Realtime sessions at a time; one more is answered 429.")
    duration: Seconds = Field(3600.0, description="Seconds that a realtime session may last.")


class TimeoutSettings(Section):
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


class WorkerSettings(Section):
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


class Settings(Section):
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on; any but loopback needs an API key.")
    port: int = Field(8080, ge=0, le=65_535, description="Port to listen on; 0 takes a free one.")
    ollama_port: int = Field(
        0, ge=0, le=65_535, description="Second port for clients that look for Ollama: 11434 is where they do; 0 for none."
    )
    api_key: SecretStr | None = Field(None, description="Key that clients must send as a bearer token.")
    data_dir: Path = Field(
        default_factory=lambda: users_folder(platformdirs.user_data_dir), description="Folder of models and state."
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


def home() -> Path:
    """The user's home folder; one that does not exist for a user without any, such as a container's."""
    try:
        return Path.home()
    except RuntimeError:
        return Path("/nonexistent")


def users_folder(kind: Callable[[str], str]) -> Path:
    """A folder of this user, by `platformdirs`. Raises SettingsError for a user without a home folder."""
    try:
        return Path(kind("freehold"))
    except RuntimeError:
        raise SettingsError("This user has no home folder.", "Set HOME, or FREEHOLD_DATA_DIR to a folder.") from None
