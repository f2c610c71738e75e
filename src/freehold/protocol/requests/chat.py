"""POST /v1/chat/completions: every documented parameter, honoured or refused."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import USERS, Accepted, Extra, Honoured, Metadata, Refused
from freehold.protocol.requests.messages import (
    AllowedToolChoice,
    AssistantMessage,
    AudioOutput,
    JsonSchemaFormat,
    Message,
    NamedTool,
    ResponseFormat,
    Tool,
    ToolChoice,
    ToolMessage,
)
from freehold.protocol.requests.sampling import SamplingRequest
from freehold.protocol.requests.schemas import too_large
from freehold.protocol.requests.strict import unenforced


class ChatRequest(SamplingRequest):
    messages: Annotated[list[Message], Honoured("text parts; image, audio and file parts only for models that take them")] = (
        Field(min_length=1, max_length=10_000)
    )
    max_tokens: Annotated[int | None, Honoured("the old name of the next")] = Field(None, ge=1)
    max_completion_tokens: Annotated[int | None, Honoured("without it, the setting `engine.max_output_tokens`")] = Field(
        None, ge=1
    )
    logprobs: Annotated[bool | None, Honoured()] = None
    top_logprobs: Annotated[int | None, Honoured("needs `logprobs`")] = Field(None, ge=0, le=20)
    response_format: Annotated[
        ResponseFormat | None,
        Honoured(
            "`json_schema` always constrains the answer; with `strict`, a schema that the engine cannot enforce to the last "
            "keyword is refused; at most 500 properties and 1,000 values in enums; together with tools, the "
            "answer is one call or holds to the format"
        ),
    ] = None
    tools: Annotated[list[Tool] | None, Honoured("functions; custom tools are refused")] = Field(None, max_length=128)
    tool_choice: Annotated[
        ToolChoice | None,
        Honoured("`required` (or Mistral's `any`), a named function and `allowed_tools` always give one call"),
    ] = None
    parallel_tool_calls: Annotated[bool | None, Honoured("with `tool_choice` auto, as far as the model's template has it")] = (
        None
    )
    reasoning_effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None,
        Honoured("by models whose template has it; others refuse all but `none` and `minimal`, which ask for no reasoning"),
    ] = None
    metadata: Annotated[Metadata | None, Honoured("of a stored completion; of any other it has no effect")] = None
    safety_identifier: Annotated[str | None, USERS] = Field(None, max_length=64)
    prompt_cache_key: Annotated[str | None, Accepted("a hint; prompts are cached by their own prefix")] = None
    prompt_cache_retention: Annotated[str | None, Accepted("a hint; the cache lives as long as its slot")] = None
    prompt_cache_options: Annotated[dict[str, Any] | None, Accepted("a hint; prompts are cached by their own prefix")] = None
    service_tier: Annotated[
        Literal["auto", "default", "flex", "priority"] | None,
        Honoured("`flex` waits behind all other requests; the rest are one tier here"),
    ] = None
    store: Annotated[bool | None, Honoured("kept until it is deleted, or as long as `state.days` says")] = None
    modalities: Annotated[
        list[Literal["text", "audio"]] | None,
        Honoured("with `audio`, the answer is spoken by the default speech model; one choice"),
    ] = Field(None, min_length=1, max_length=2)
    audio: Annotated[AudioOutput | None, Honoured("a voice of the default speech model; `pcm16` where the answer streams")] = (
        None
    )
    prediction: Annotated[Any, Refused("Predicted outputs are not supported; leave it out.")] = None
    verbosity: Annotated[
        Any, Refused("No model here has a verbosity; ask for short or long answers in the prompt.", ("medium",))
    ] = None
    web_search_options: Annotated[Any, Refused("This server does not search the web; leave it out.")] = None
    moderation: Annotated[Any, Refused("Moderation within a completion is not supported; leave it out.")] = None
    functions: Annotated[Any, Refused("It is deprecated: use 'tools'.", ([],))] = None
    function_call: Annotated[Any, Refused("It is deprecated: use 'tool_choice'.", ("none",))] = None

    random_seed: Annotated[int | None, Extra("Mistral's name of `seed`")] = Field(None, ge=0, lt=2**63)

    @property
    def first_seed(self) -> int | None:
        return self.seed if self.seed is not None else self.random_seed

    @property
    def formatted(self) -> bool:
        """Whether an answer is held to JSON."""
        return self.response_format is not None and self.response_format.type != "text"

    @property
    def answer_schema(self) -> dict[str, Any]:
        """The schema that an answer is held to, where it is `formatted`."""
        form = self.response_format
        return (form.json_schema.schema_ or {}) if isinstance(form, JsonSchemaFormat) else {"type": "object"}

    @property
    def calls(self) -> bool:
        """Whether there are tools that may be called."""
        return bool(self.tools) and self.tool_choice != "none"

    @property
    def patient(self) -> bool:
        return self.priority == "batch" or (self.priority is None and self.service_tier == "flex")

    @property
    def limit(self) -> int | None:
        """The most tokens to generate, by either name."""
        return self.max_completion_tokens if self.max_completion_tokens is not None else self.max_tokens

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.max_tokens is not None and self.max_completion_tokens not in (None, self.max_tokens):
            raise _wrong("max_tokens", "'max_tokens' and 'max_completion_tokens' are given and differ; give one.")
        if self.seed is not None and self.random_seed not in (None, self.seed):
            raise _wrong("random_seed", "'seed' and 'random_seed' are given and differ; give one.")
        if self.top_logprobs is not None and not self.logprobs:
            raise _wrong("top_logprobs", "'top_logprobs' is only allowed when 'logprobs' is true.")
        self._check_functions()
        self._check_tools()
        self._check_format()
        self._check_calls()
        self._check_audio()
        return self

    def _check_functions(self) -> None:
        for index, tool in enumerate(self.tools or ()):
            _check_schema(
                tool.function.parameters or {},
                bool(tool.function.strict),
                f"Invalid schema for function {tool.function.name!r}",
                f"tools[{index}].function.parameters",
                "invalid_function_parameters",
            )

    def _check_tools(self) -> None:
        names = [tool.function.name for tool in self.tools or ()]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise _wrong(f"tools[{index}].function.name", f"Two tools have the name '{name}'.")
        choice = self.tool_choice
        if choice not in (None, "none", "auto") and not names:
            raise _wrong("tool_choice", "'tool_choice' is only allowed when 'tools' are given.")
        wanted = []
        if isinstance(choice, NamedTool):
            wanted = [choice.function.name]
        elif isinstance(choice, AllowedToolChoice):
            wanted = [tool.function.name for tool in choice.allowed_tools.tools]
        for name in wanted:
            if name not in names:
                raise _wrong("tool_choice", f"The function '{name}' is not among the tools.")
        if self.parallel_tool_calls is not None and not names:
            raise _wrong("parallel_tool_calls", "'parallel_tool_calls' is only allowed when 'tools' are given.")
        if self.calls and self.grammar:
            raise _wrong(
                "grammar",
                "An answer cannot be held to a grammar and be free to call tools; leave one out, or set tool_choice to 'none'.",
            )
        if self.formatted and self.grammar:
            raise _wrong("grammar", "Give 'grammar' or 'response_format', not both.")

    def _check_format(self) -> None:
        if not isinstance(self.response_format, JsonSchemaFormat):
            return
        form = self.response_format.json_schema
        if form.schema_ is None:
            raise InvalidRequest(
                "Missing required parameter: 'response_format.json_schema.schema'.",
                param="response_format.json_schema.schema",
                code="missing_required_parameter",
            )
        _check_schema(
            form.schema_,
            bool(form.strict),
            f"Invalid schema for response_format {form.name!r}",
            "response_format",
            "invalid_json_schema",
        )

    @property
    def spoken(self) -> bool:
        """Whether the answer is to be spoken."""
        return "audio" in (self.modalities or ())

    def _check_audio(self) -> None:
        if self.spoken and self.audio is None:
            raise InvalidRequest(
                "Missing required parameter: 'audio'. Spoken answers need a voice and a format.",
                param="audio",
                code="missing_required_parameter",
            )
        if self.audio is not None and not self.spoken:
            raise _wrong("audio", "'audio' is only allowed when 'modalities' has \"audio\".")
        if not self.spoken:
            return
        if (self.n or 1) > 1:
            raise _wrong("n", "Spoken answers come one at a time; leave 'n' out.")
        if self.store:
            raise _wrong("store", "Spoken answers are not stored; leave 'store' out.")
        if self.stream and self.audio is not None and self.audio.format != "pcm16":
            raise _wrong("audio.format", "An answer that streams is spoken as 'pcm16'; other formats come whole.")

    def _check_calls(self) -> None:
        """A tool's answer must follow the call it answers, as OpenAI demands."""
        open_calls: set[str] = set()
        for index, message in enumerate(self.messages):
            if isinstance(message, AssistantMessage):
                if message.content is None and not message.tool_calls and message.refusal is None and message.audio is None:
                    raise _wrong(f"messages[{index}].content", "An assistant message needs content or tool calls.")
                open_calls = {call.id for call in message.tool_calls or ()}
            elif isinstance(message, ToolMessage):
                if message.tool_call_id not in open_calls:
                    raise _wrong(
                        f"messages[{index}].tool_call_id",
                        "A message with role 'tool' must answer one of the 'tool_calls' of the assistant message before it.",
                    )
            else:
                open_calls = set()


def _wrong(param: str, sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, param=param, code="invalid_value")


def _check_schema(schema: dict[str, Any], strict: bool, what: str, param: str, code: str) -> None:
    if why := too_large(schema):
        raise InvalidRequest(f"{what}: {why}", param=param, code=code)
    if strict and (why := unenforced(schema)):
        raise InvalidRequest(f"{what}: {why} Change it, or leave 'strict' out.", param=param, code=code)
