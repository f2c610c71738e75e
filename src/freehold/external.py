"""Engines that run elsewhere: what a user writes down about a model of one."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal, Self
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from freehold.units import bytes_in

_ONLY_EXTERNAL = frozenset(
    {
        *("url", "command", "folder", "args", "env", "key_env", "ca", "upstream", "task", "vision", "reasoning", "memory"),
        "device",
    }
)
_ONLY_STARTED = ("env", "memory", "device")  # of an engine that is started here
_ONLY_VLLM = ("folder", "args")
_NEVER_VLLM = ("url", "command", "key_env", "ca", "upstream")
_NEVER_EXTERNAL = ("kv_type", "threads", "fim")  # of llama.cpp
_PORTS: Mapping[str, int] = MappingProxyType({"http": 80, "https": 443})
_HOST = re.compile(r"[A-Za-z0-9_-]{1,63}(\.[A-Za-z0-9_-]{1,63})*\.?|[0-9a-fA-F.]*:[0-9a-fA-F:.]*(%25[A-Za-z0-9._~-]+)?")
_EXAMPLE = "http://gpu-box:8000/v1"


@dataclass(frozen=True)
class Address:
    """A server's base: `prefix` is the path before /models and the others. With `socket` it listens on that unix socket."""

    host: str = ""
    port: int = 0
    tls: bool = False
    prefix: str = "/v1"
    socket: Path | None = None

    @property
    def shown(self) -> str:
        """For people, without the path."""
        if self.socket is not None:
            return f"unix:{self.socket}"
        scheme = "https" if self.tls else "http"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}{'' if self.port == _PORTS[scheme] else f':{self.port}'}"

    @property
    def is_here(self) -> bool:
        """Whether what is sent there stays on this machine."""
        if self.socket is not None or self.host.rstrip(".").lower() == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host.partition("%")[0]).is_loopback
        except ValueError:
            return False


def address_of(url: str) -> Address:
    """Where an external engine is. Without a path, `/v1` is meant. Raises ValueError, which does not repeat the URL: there may
    be a key in it."""
    if not url.isascii() or not url.isprintable() or set(url) & set(' "<>\\^`{|}'):
        raise ValueError("its url has letters that no url has; quote them as %XX, and a host's name as xn--…")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise ValueError(f"its url is none; one is such as {_EXAMPLE}") from None
    if "@" in parts.netloc:
        raise ValueError("its url has a user or a key in it; name the environment variable that has the key in `key_env`")
    if "?" in url or "#" in url:
        raise ValueError(f"its url has a query or a fragment; it is a base such as {_EXAMPLE}")
    if parts.scheme == "unix":
        return _socket_of(parts)
    if parts.scheme not in _PORTS or not _HOST.fullmatch(host) or port == 0:
        raise ValueError(f"an external model needs a url such as {_EXAMPLE}")
    path = parts.path.rstrip("/")
    if path.endswith(("/chat/completions", "/completions", "/embeddings", "/models")):
        raise ValueError(f"its url is that of a single route; the base is what comes before, such as {_EXAMPLE}")
    return Address(host, port or _PORTS[parts.scheme], parts.scheme == "https", path or "/v1")


def _socket_of(parts: SplitResult) -> Address:
    path = Path(unquote(parts.path))
    if parts.netloc or not path.is_absolute() or path.name == "" or not str(path).isprintable():
        raise ValueError("the url of a unix socket is such as unix:/run/vllm.sock")
    return Address(socket=path)


class ExternalSettings(BaseModel):
    """The fields of a model's settings that make it an external one."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    engine: Literal["external", "vllm"] | None = Field(
        None, description="An engine of another maker that speaks OpenAI's API, or vLLM as Freehold installs it."
    )
    url: str = Field("", max_length=1000, description="Its base URL, or `unix:` and the path of its socket.")
    command: tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...] = Field(
        (), max_length=256, description="Program that is started for it, with its arguments, `{port}` or `{socket}` in one."
    )
    folder: Path | None = Field(None, description="The model that vLLM serves: a folder of Hugging Face's form.")
    args: tuple[Annotated[str, Field(min_length=1, max_length=4096)], ...] = Field(
        (), max_length=256, description="More arguments of `vllm serve`."
    )
    env: dict[str, str] = Field(default_factory=dict, description="Environment variables that the program gets besides.")
    key_env: str = Field("", pattern=r"^[A-Za-z0-9_]{0,100}$", description="The environment variable that has its API key.")
    ca: Path | None = Field(None, description="File of the certificates that its own is verified by; else the system's.")
    upstream: str = Field("", max_length=300, description="What the model is called there; found out where there is one only.")
    task: Literal["chat", "embedding"] = Field("chat", description="What an external model is for.")
    vision: bool = Field(False, description="Whether an external model looks at images.")
    reasoning: bool = Field(False, description="Whether an external model heeds `reasoning_effort`.")
    memory: Annotated[int, BeforeValidator(bytes_in), Field(ge=0, le=2**60)] = Field(
        0, description="Memory that the program takes, which is planned with."
    )
    device: str = Field("host", max_length=40, description="Where it takes that: `host`, or a GPU such as `cuda:0`.")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.engine is None:
            if _ONLY_EXTERNAL & self.model_fields_set:
                raise ValueError("it is for models of other makers' engines only: set engine = 'external'")
            return self
        given: Any = self.model_fields_set
        if useless := [name for name in _NEVER_EXTERNAL if name in given]:
            raise ValueError(f"{useless[0]} is for llama.cpp, and means nothing to another maker's engine")
        if useless := [name for name in (_NEVER_VLLM if self.engine == "vllm" else _ONLY_VLLM) if name in given]:
            raise ValueError(f"{useless[0]} does not go together with engine = '{self.engine}'")
        if self.engine == "vllm":
            if self.folder is None or not self.folder.is_absolute():
                raise ValueError("vLLM needs the folder of a model, as an absolute path")
            _check_words([*self.args, str(self.folder)], self.env)
            return self
        if bool(self.url) == bool(self.command):
            raise ValueError(f"an external model needs a url such as {_EXAMPLE}, or a command that starts its engine")
        if self.command:
            check_command(self)
        elif useless := [name for name in _ONLY_STARTED if name in given]:
            raise ValueError(f"{useless[0]} is for an engine that a command starts")
        elif address_of(self.url).tls is False and self.ca is not None:
            raise ValueError("ca is for addresses that begin with https")
        return self


def check_command(given: ExternalSettings) -> None:
    """Raises ValueError for a command that could not be told where to listen, or that no system would start."""
    places = sum(word.count("{port}") + word.count("{socket}") for word in given.command)
    both = any("{port}" in word for word in given.command) and any("{socket}" in word for word in given.command)
    if not places or both:
        raise ValueError("its command needs {port} or {socket} in an argument: that is where it is to listen")
    if given.ca is not None:
        raise ValueError("ca is for addresses that begin with https")
    _check_words(given.command, given.env)


def _check_words(words: Sequence[str], env: Mapping[str, str]) -> None:
    if any("\0" in word for word in (*words, *env, *env.values())) or any(not name or "=" in name for name in env):
        raise ValueError("its command or environment has letters that no program can be given")
