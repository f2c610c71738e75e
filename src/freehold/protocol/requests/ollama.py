"""POST /api/chat, /api/generate, /api/embed and /api/embeddings: Ollama's fields, honoured or refused (api/types.go and
docs/api.md in ollama/ollama)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator
from pydantic_core import PydanticCustomError

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import NO_BRANCH, Accepted, Honoured, Part, Refused, Request
from freehold.protocol.requests.sampling import Stops
from freehold.units import seconds_in

_INT64 = 2**63
_PLANNED = "how a model is run follows from the machine's memory and cores"


def _lasting(value: object) -> object:
    """A span of time; any that is negative is for ever."""
    seconds = seconds_in(value)
    return -1.0 if isinstance(seconds, int | float) and not isinstance(seconds, bool) and seconds < 0 else seconds


KeepAlive = Annotated[float, BeforeValidator(_lasting), Field(ge=-1, le=10**9)]
Thought = bool | Literal["low", "medium", "high"]


class Options(Part):
    """The object `options`, with the ranges of the other endpoints."""

    temperature: Annotated[float | None, Honoured("0 always takes the likeliest token")] = Field(None, ge=0, le=2)
    top_k: Annotated[int | None, Honoured("0 is off")] = Field(None, ge=0, le=1_000_000)
    top_p: Annotated[float | None, Honoured()] = Field(None, ge=0, le=1)
    min_p: Annotated[float | None, Honoured()] = Field(None, ge=0, le=1)
    typical_p: Annotated[float | None, Honoured()] = Field(None, ge=0, le=1)
    seed: Annotated[int | None, Honoured("same seed, same answer on the same machine and engine")] = Field(
        None, ge=-_INT64, lt=_INT64
    )
    stop: Annotated[Stops | None, Honoured("up to 16 strings")] = None
    num_predict: Annotated[int | None, Honoured("below 1, or without it, the setting `engine.max_output_tokens`")] = Field(
        None, ge=-2, le=2**31
    )
    repeat_penalty: Annotated[float | None, Honoured("1 is off")] = Field(None, gt=0, le=10)
    repeat_last_n: Annotated[int | None, Honoured("tokens looked back; −1 is the whole context")] = Field(
        None, ge=-1, le=1_000_000
    )
    presence_penalty: Annotated[float | None, Honoured()] = Field(None, ge=-2, le=2)
    frequency_penalty: Annotated[float | None, Honoured()] = Field(None, ge=-2, le=2)
    mirostat: Annotated[int | None, Honoured("0 is off")] = Field(None, ge=0, le=2)
    mirostat_tau: Annotated[float | None, Honoured()] = Field(None, ge=0, le=100)
    mirostat_eta: Annotated[float | None, Honoured()] = Field(None, ge=0, le=1)
    num_ctx: Annotated[
        int | None, Accepted("the context is planned (setting `engine.context`); a prompt past it is a 400, and never cut")
    ] = None
    num_keep: Annotated[int | None, Accepted("nothing of a prompt is ever dropped")] = None
    num_batch: Annotated[int | None, Accepted(_PLANNED)] = None
    num_gpu: Annotated[int | None, Accepted(_PLANNED)] = None
    main_gpu: Annotated[int | None, Accepted(_PLANNED)] = None
    num_thread: Annotated[int | None, Accepted(_PLANNED)] = None
    num_gqa: Annotated[int | None, Accepted("it stands in the model's file")] = None
    numa: Annotated[bool | None, Accepted(_PLANNED)] = None
    low_vram: Annotated[bool | None, Accepted(_PLANNED)] = None
    f16_kv: Annotated[bool | None, Accepted(_PLANNED)] = None
    use_mmap: Annotated[bool | None, Accepted(_PLANNED)] = None
    use_mlock: Annotated[bool | None, Accepted(_PLANNED)] = None
    logits_all: Annotated[bool | None, Accepted("it changes no answer")] = None
    vocab_only: Annotated[bool | None, Accepted("it changes no answer")] = None
    embedding_only: Annotated[bool | None, Accepted("it changes no answer")] = None
    penalize_newline: Annotated[bool | None, Accepted("it has no effect in Ollama either, since its sampler was replaced")] = (
        None
    )
    tfs_z: Annotated[float | None, Accepted("tail-free sampling is no more in llama.cpp, nor in Ollama")] = None


class CalledFunction(Part):
    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: dict[str, Any] = Field(default_factory=dict)
    index: int | None = None
    description: str | None = None


class Call(Part):
    id: Annotated[str, Field(max_length=256)] | None = None
    type: Literal["function"] | None = None
    function: CalledFunction


class Message(Part):
    role: Literal["system", "user", "assistant", "tool"]
    content: str | None = None
    thinking: str | None = None
    images: list[str] | None = None
    tool_calls: Annotated[list[Call], Field(max_length=128)] | None = None
    tool_name: str | None = None
    name: str | None = None
    tool_call_id: str | None = None


class Function(Part):
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9_.:/-]{1,128}$")]
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Part):
    type: Literal["function"] | None = None
    function: Function


def _format_kind(value: object) -> str | None:
    return "«string»" if isinstance(value, str) else "«object»" if isinstance(value, dict) else None


Format = Annotated[
    Annotated[Literal["", "json"], Tag("«string»")] | Annotated[dict[str, Any], Tag("«object»")],
    Discriminator(_format_kind, custom_error_type=NO_BRANCH, custom_error_message="|expected 'json' or a JSON schema."),
]


class OllamaRequest(Request):
    """What all have. `model` may lack its tag, or have `latest`."""

    keep_alive: Annotated[
        KeepAlive | None,
        Honoured("seconds, or a span such as `10m`; 0 unloads the model after the answer; without it, `memory.keep_alive`"),
    ] = None
    options: Annotated[Options | None, Honoured("[below](#options-of-ollamas-requests)")] = None


class AnsweredRequest(OllamaRequest):
    stream: Annotated[bool | None, Honoured("true without it, as with Ollama; a JSON object a line")] = None
    format: Annotated[Format | None, Honoured("`json`, or a JSON schema that holds the answer; not with tools")] = None
    think: Annotated[
        Thought | None,
        Honoured(
            "by models whose template can switch it; a level only by those whose template has one; asked of a model that does "
            "not think, it is a 400, as with Ollama"
        ),
    ] = None
    logprobs: Annotated[bool | None, Honoured()] = None
    top_logprobs: Annotated[int | None, Honoured("needs `logprobs`")] = Field(None, ge=0, le=20)
    truncate: Annotated[bool | None, Accepted("nothing is cut: a prompt past the context is a 400")] = None
    shift: Annotated[bool | None, Accepted("nothing is cut: an answer ends where the context does")] = None

    @property
    def streams(self) -> bool:
        return self.stream is not False

    @model_validator(mode="after")
    def _check_logprobs(self) -> Self:
        if self.top_logprobs is not None and not self.logprobs:
            raise InvalidRequest("'top_logprobs' is only allowed when 'logprobs' is true.", param="top_logprobs")
        return self


class ChatBody(AnsweredRequest):
    """POST /api/chat."""

    messages: Annotated[list[Message] | None, Honoured("without any, the model is loaded, or with `keep_alive` 0 unloaded")] = (
        Field(None, max_length=10_000)
    )
    tools: Annotated[list[Tool] | None, Honoured("functions")] = Field(None, max_length=128)


class GenerateBody(AnsweredRequest):
    """POST /api/generate."""

    prompt: Annotated[str | None, Honoured("without one, the model is loaded, or with `keep_alive` 0 unloaded")] = None
    system: Annotated[str | None, Honoured("in place of the model's own")] = None
    images: Annotated[list[str] | None, Honoured("in base64, for models that see")] = None
    raw: Annotated[bool | None, Honoured("without a template; not with `system`, `images` or `format`")] = None
    suffix: Annotated[str | None, Honoured("by models that fill in the middle; not with `system`, `images` or `format`")] = None
    template: Annotated[
        Any, Refused("A chat is put to a model by the model's own template; with 'raw' a prompt goes without.", ("",))
    ] = None
    context: Annotated[Any, Refused("Token lists of past answers are not taken; use /api/chat.", ([],))] = None
    width: Annotated[Any, Refused("Pictures are drawn by /v1/images/generations.", (0,))] = None
    height: Annotated[Any, Refused("Pictures are drawn by /v1/images/generations.", (0,))] = None
    steps: Annotated[Any, Refused("Pictures are drawn by /v1/images/generations.", (0,))] = None

    @model_validator(mode="after")
    def _check_raw(self) -> Self:
        how = "raw" if self.raw else "suffix"
        for name in ("system", "images", "format") if self.raw or self.suffix else ():
            if getattr(self, name):
                raise InvalidRequest(f"'{name}' is not taken together with '{how}', which has no place for it.", param=name)
        return self


def _texts(value: object) -> object:
    if isinstance(value, str):
        return [value] if value else []
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return value
    raise PydanticCustomError(NO_BRANCH, "|expected a string or an array of strings.")


class EmbedBody(OllamaRequest):
    """POST /api/embed."""

    input: Annotated[
        Annotated[list[str], BeforeValidator(_texts)],
        Honoured("a string or several, at most 2048; none loads the model"),
    ] = Field(default_factory=list)
    truncate: Annotated[bool | None, Accepted("nothing is cut: an input past the context is a 400")] = None
    dimensions: Annotated[int | None, Honoured("sizes the model was trained to be cut to; others are refused")] = Field(
        None, ge=0
    )


class EmbeddingsBody(OllamaRequest):
    """POST /api/embeddings, the older form: one text, one vector."""

    prompt: Annotated[str, Honoured("none loads the model")] = ""
