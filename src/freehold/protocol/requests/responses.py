"""POST /v1/responses: every documented parameter, honoured or refused.

The shapes are those of OpenAI's specification 2.3.0.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Discriminator, Field, Tag, model_validator

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import NO_BRANCH, USERS, Accepted, Honoured, Metadata, Part, Refused, Request
from freehold.protocol.requests.messages import CHOICES, JsonObjectFormat, TextFormat, content_kind, no_part
from freehold.protocol.requests.responses_items import Items, StoredId

ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]
Include = Literal[
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    "reasoning.encrypted_content",
    "message.output_text.logprobs",
]


class FunctionTool(Part):
    type: Literal["function"]
    name: ToolName
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    defer_loading: bool | None = None  # all tools are in the prompt
    allowed_callers: list[Literal["direct"]] | None = None
    output_schema: dict[str, Any] | None = None


def _tool_kind(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "«function»" if kind == "function" else None


AnyTool = Annotated[
    Annotated[FunctionTool, Tag("«function»")],
    Discriminator(
        _tool_kind,
        custom_error_type=NO_BRANCH,
        custom_error_message=".type|only tools of type 'function' are here: this server searches neither the web nor files, "
        "runs no code, and its models cannot write the free text of custom tools. Describe the tool as a function and run it "
        "yourself.",
    ),
]


class NamedChoice(Part):
    type: Literal["function"]
    name: ToolName


class AllowedChoice(Part):
    type: Literal["allowed_tools"]
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedChoice], Field(min_length=1, max_length=128)]


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("«mode»")]
    | Annotated[NamedChoice, Tag("«function»")]
    | Annotated[AllowedChoice, Tag("«allowed»")],
    CHOICES,
]


class SchemaFormat(Part):
    type: Literal["json_schema"]
    name: ToolName
    schema_: dict[str, Any] = Field(alias="schema")
    description: str | None = None
    strict: bool | None = None


Format = Annotated[
    Annotated[TextFormat, Tag("«text»")]
    | Annotated[JsonObjectFormat, Tag("«json_object»")]
    | Annotated[SchemaFormat, Tag("«json_schema»")],
    no_part("text", "json_object", "json_schema"),
]


class TextConfig(Part):
    format: Format | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


class Reasoning(Part):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None
    summary: Literal["auto", "concise", "detailed", "none"] | None = None
    generate_summary: Literal["auto", "concise", "detailed"] | None = None
    context: Literal["auto", "current_turn", "all_turns"] | None = None


class StreamOptions(Part):
    include_obfuscation: bool | None = None


Input = Annotated[
    Annotated[str, Tag("«string»")] | Annotated[Items, Tag("«array»")],
    Discriminator(content_kind, custom_error_type=NO_BRANCH, custom_error_message="|expected a string or an array of items."),
]


class ConversationId(Part):
    id: StoredId


def _conversation(value: object) -> object:
    return {"id": value} if isinstance(value, str) else value


Conversation = Annotated[ConversationId, BeforeValidator(_conversation)]


class ResponsesRequest(Request):
    """A response to make."""

    input: Annotated[
        Input | None,
        Honoured("a string, or messages, function calls and their outputs, reasoning; images only for models that see"),
    ] = None
    instructions: Annotated[str | None, Honoured("the system message, before all input")] = None
    previous_response_id: Annotated[
        StoredId | None, Honoured("all that was said up to that response is read first; its instructions are not")
    ] = None
    conversation: Annotated[
        Conversation | None,
        Honoured("a conversation's id, or an object with it: its items are read first, and what is new is added to it"),
    ] = None
    store: Annotated[bool | None, Honoured("true by itself: kept until it is deleted, or as long as `state.days` says")] = None
    background: Annotated[
        bool | None, Honoured("needs `store`; waits in the same queue as others, and ends with the server")
    ] = None
    truncation: Annotated[
        Literal["auto", "disabled"] | None,
        Honoured("`auto` leaves out the oldest items, but no instructions, until a quarter of the context is free to answer"),
    ] = None
    stream: Annotated[bool | None, Honoured("typed events; the last is `response.completed`, `.incomplete` or `.failed`")] = (
        None
    )
    stream_options: Annotated[StreamOptions | None, Honoured("`include_obfuscation` must not be true: nothing is padded")] = (
        None
    )
    max_output_tokens: Annotated[int | None, Honoured("without it, the setting `engine.max_output_tokens`")] = Field(None, ge=1)
    temperature: Annotated[float | None, Honoured("0 always takes the likeliest token")] = Field(None, ge=0, le=2)
    top_p: Annotated[float | None, Honoured()] = Field(None, ge=0, le=1)
    top_logprobs: Annotated[int | None, Honoured("also without `include`, where it is not 0")] = Field(None, ge=0, le=20)
    tools: Annotated[list[AnyTool] | None, Honoured("functions; the tools that OpenAI runs, and custom ones, are refused")] = (
        Field(None, max_length=128)
    )
    tool_choice: Annotated[
        ToolChoice | None, Honoured("`required`, a named function and `allowed_tools` always give one call")
    ] = None
    parallel_tool_calls: Annotated[bool | None, Honoured("with `tool_choice` auto, as far as the model's template has it")] = (
        None
    )
    text: Annotated[
        TextConfig | None,
        Honoured("`format` as `response_format` of a chat; `verbosity` only `medium`: ask for short answers in the prompt"),
    ] = None
    reasoning: Annotated[
        Reasoning | None,
        Honoured(
            "`effort` as `reasoning_effort` of a chat; `summary` only `auto`: nothing is summarised, the reasoning itself "
            "is in its item; it never goes back into the prompt, so `context` may not be `all_turns`"
        ),
    ] = None
    include: Annotated[
        list[Include] | None,
        Honoured(
            "`message.output_text.logprobs`; images are always included, reasoning always in plain text; the rest belongs to "
            "tools that are refused"
        ),
    ] = Field(None, max_length=20)
    metadata: Annotated[Metadata | None, Honoured("given back with the response")] = None
    safety_identifier: Annotated[str | None, USERS] = Field(None, max_length=64)
    user: Annotated[str | None, Honoured("the old name of `safety_identifier`")] = None
    service_tier: Annotated[
        Literal["auto", "default", "flex", "priority"] | None,
        Honoured("`flex` waits behind all other requests; the rest are one tier here"),
    ] = None
    prompt_cache_key: Annotated[str | None, Accepted("a hint; prompts are cached by their own prefix")] = None
    prompt_cache_retention: Annotated[str | None, Accepted("a hint; the cache lives as long as its slot")] = None
    prompt_cache_options: Annotated[dict[str, Any] | None, Accepted("a hint; prompts are cached by their own prefix")] = None
    client_metadata: Annotated[dict[str, Any] | None, Accepted("what a client says of itself; it is not stored")] = None
    max_tool_calls: Annotated[Any, Refused("It counts calls of tools that OpenAI runs, of which there are none here.")] = None
    prompt: Annotated[Any, Refused("Prompts are not stored by this server; send their text as 'instructions'.")] = None
    moderation: Annotated[Any, Refused("Moderation within a response is not supported; leave it out.")] = None
    context_management: Annotated[
        Any, Refused("This server compacts no conversations; leave it out, or set 'truncation' to \"auto\".", ([],))
    ] = None

    @property
    def patient(self) -> bool:
        return self.priority == "batch" or (self.priority is None and self.service_tier == "flex")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.stream_options is not None and not self.stream:
            raise _wrong("stream_options", "'stream_options' is only allowed when 'stream' is true.")
        if self.stream_options is not None and self.stream_options.include_obfuscation:
            raise _unsupported("stream_options.include_obfuscation", "Streams are never padded here; leave it out.")
        if self.text is not None and self.text.verbosity not in (None, "medium"):
            note = "No model here has a verbosity; ask for short or long answers in the prompt."
            raise _unsupported("text.verbosity", note)
        if self.previous_response_id is not None and self.conversation is not None:
            raise _wrong("previous_response_id", "Give 'previous_response_id' or 'conversation', not both.")
        if self.background and self.store is False:
            raise _wrong("background", "A response that is made in the background must be stored; leave 'store' out.")
        self._check_reasoning()
        return self

    def _check_reasoning(self) -> None:
        wanted = self.reasoning
        if wanted is None:
            return
        for name in ("summary", "generate_summary"):
            if getattr(wanted, name) in ("concise", "detailed"):
                note = "Reasoning is not summarised here but told as it is; leave it out, or set it to 'auto'."
                raise _unsupported(f"reasoning.{name}", note)
        if wanted.context == "all_turns":
            raise _unsupported("reasoning.context", "Reasoning never goes back into the prompt here; leave it out.")


def _wrong(param: str, sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, param=param, code="invalid_value")


def _unsupported(param: str, note: str) -> InvalidRequest:
    return InvalidRequest(f"Unsupported parameter: '{param}'. {note}", param=param, code="unsupported_parameter")
