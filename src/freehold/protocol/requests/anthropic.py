"""POST /v1/messages and /v1/messages/count_tokens: every documented parameter, honoured or refused.

The shapes are those of Anthropic's API, version 2023-06-01, and of its SDK's types.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import NO_BRANCH, Accepted, Honoured, Part, Refused, Request
from freehold.protocol.requests.messages import STRING_OR_PARTS, no_part, part_kind
from freehold.protocol.requests.sampling import MAX_STOPS

ToolName = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,128}$")]


class CacheControl(Part):
    """A hint: prompts are cached by their own prefix, with or without it."""

    type: Literal["ephemeral"]
    ttl: Literal["5m", "1h"] | None = None
    scope: str | None = None


class Block(Part):
    cache_control: CacheControl | None = None


class TextBlock(Block):
    type: Literal["text"]
    text: str
    citations: list[Any] | None = None


class Base64Source(Part):
    type: Literal["base64"]
    media_type: Literal["image/jpeg", "image/png", "image/gif", "image/webp"]
    data: str


class UrlSource(Part):
    type: Literal["url"]
    url: str


class ImageBlock(Block):
    type: Literal["image"]
    source: Annotated[Annotated[Base64Source, Tag("«base64»")] | Annotated[UrlSource, Tag("«url»")], no_part("base64", "url")]


class TextSource(Part):
    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: str


class DocumentBlock(Block):
    """Plain text; no model here reads PDF files."""

    type: Literal["document"]
    source: Annotated[Annotated[TextSource, Tag("«text»")], no_part("text")]
    title: str | None = None
    context: str | None = None


class ThinkingBlock(Part):
    type: Literal["thinking"]
    thinking: str
    signature: str


class RedactedThinkingBlock(Part):
    type: Literal["redacted_thinking"]
    data: str


class ToolUseBlock(Block):
    type: Literal["tool_use"]
    id: Annotated[str, Field(min_length=1, max_length=256)]
    name: Annotated[str, Field(min_length=1, max_length=256)]
    input: dict[str, Any]
    caller: dict[str, Any] | None = None


_Tool = Annotated[Annotated[TextBlock, Tag("«text»")] | Annotated[ImageBlock, Tag("«image»")], no_part("text", "image")]
_String = Annotated[str, Tag("«string»")]


class ToolResultBlock(Block):
    type: Literal["tool_result"]
    tool_use_id: str
    content: Annotated[_String | Annotated[list[_Tool], Tag("«array»")], STRING_OR_PARTS] | None = None
    is_error: bool | None = None


UserBlock = Annotated[
    Annotated[TextBlock, Tag("«text»")]
    | Annotated[ImageBlock, Tag("«image»")]
    | Annotated[DocumentBlock, Tag("«document»")]
    | Annotated[ToolResultBlock, Tag("«tool_result»")],
    no_part("text", "image", "document", "tool_result"),
]
AssistantBlock = Annotated[
    Annotated[TextBlock, Tag("«text»")]
    | Annotated[ThinkingBlock, Tag("«thinking»")]
    | Annotated[RedactedThinkingBlock, Tag("«redacted_thinking»")]
    | Annotated[ToolUseBlock, Tag("«tool_use»")],
    no_part("text", "thinking", "redacted_thinking", "tool_use"),
]
TextBlocks = list[Annotated[Annotated[TextBlock, Tag("«text»")], no_part("text")]]
System = Annotated[_String | Annotated[TextBlocks, Tag("«array»")], STRING_OR_PARTS]


class UserTurn(Part):
    role: Literal["user"]
    content: Annotated[_String | Annotated[list[UserBlock], Tag("«array»")], STRING_OR_PARTS]


class AssistantTurn(Part):
    role: Literal["assistant"]
    content: Annotated[_String | Annotated[list[AssistantBlock], Tag("«array»")], STRING_OR_PARTS]


class SystemTurn(Part):
    role: Literal["system"]
    content: System


def _role(value: object) -> str | None:
    role = value.get("role") if isinstance(value, dict) else getattr(value, "role", None)
    return f"«{role}»" if isinstance(role, str) else None


Turn = Annotated[
    Annotated[UserTurn, Tag("«user»")] | Annotated[AssistantTurn, Tag("«assistant»")] | Annotated[SystemTurn, Tag("«system»")],
    Discriminator(
        _role,
        custom_error_type=NO_BRANCH,
        custom_error_message=".role|a message must be an object whose role is 'user', 'assistant' or 'system'.",
    ),
]


class CustomTool(Part):
    """A tool that the client runs."""

    type: Literal["custom"] | None = None
    name: ToolName
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None
    cache_control: CacheControl | None = None
    defer_loading: bool | None = None  # all tools are in the prompt
    eager_input_streaming: bool | None = None  # inputs always stream as they come
    allowed_callers: list[Literal["direct"]] | None = None


def _tool_kind(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "«custom»" if kind in (None, "custom") else None


AnyTool = Annotated[
    Annotated[CustomTool, Tag("«custom»")],
    Discriminator(
        _tool_kind,
        custom_error_type=NO_BRANCH,
        custom_error_message=".type|tools that Anthropic defines or runs itself are not here; describe the tool with an "
        "'input_schema' and run it yourself.",
    ),
]


class AutoChoice(Part):
    type: Literal["auto"]
    disable_parallel_tool_use: bool | None = None


class AnyChoice(Part):
    type: Literal["any"]
    disable_parallel_tool_use: bool | None = None


class OneChoice(Part):
    type: Literal["tool"]
    name: ToolName
    disable_parallel_tool_use: bool | None = None


class NoChoice(Part):
    type: Literal["none"]


Choice = Annotated[
    Annotated[AutoChoice, Tag("«auto»")]
    | Annotated[AnyChoice, Tag("«any»")]
    | Annotated[OneChoice, Tag("«tool»")]
    | Annotated[NoChoice, Tag("«none»")],
    no_part("auto", "any", "tool", "none"),
]


class ThinkingEnabled(Part):
    type: Literal["enabled"]
    budget_tokens: Annotated[int, Field(ge=1024)]
    display: Literal["summarized", "omitted"] | None = None


class ThinkingAdaptive(Part):
    type: Literal["adaptive"]
    display: Literal["summarized", "omitted"] | None = None


class ThinkingDisabled(Part):
    type: Literal["disabled"]


Thinking = Annotated[
    Annotated[ThinkingEnabled, Tag("«enabled»")]
    | Annotated[ThinkingAdaptive, Tag("«adaptive»")]
    | Annotated[ThinkingDisabled, Tag("«disabled»")],
    no_part("enabled", "adaptive", "disabled"),
]


class SchemaFormat(Part):
    type: Literal["json_schema"]
    schema_: dict[str, Any] = Field(alias="schema")


class OutputConfig(Part):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: SchemaFormat | None = None


class Metadata(Part):
    user_id: Annotated[str, Field(max_length=512)] | None = None


class ClearThinking(Part):
    type: Literal["clear_thinking_20251015"]
    keep: Any = None


class ContextManagement(Part):
    edits: list[
        Annotated[
            Annotated[ClearThinking, Tag("«clear_thinking_20251015»")],
            Discriminator(
                part_kind,
                custom_error_type=NO_BRANCH,
                custom_error_message=".type|this server takes nothing out of a conversation; only 'clear_thinking_20251015' "
                "passes, because thinking never goes back into the prompt.",
            ),
        ]
    ] = Field(default_factory=list)


class PromptRequest(Request):
    """What a message is made from; counting its tokens takes no more."""

    messages: Annotated[
        list[Turn],
        Honoured(
            "text, images, documents of plain text, tool use and results, thinking; consecutive turns of one role are joined; "
            "the last must be the user's: a given beginning of the answer is not continued"
        ),
    ] = Field(min_length=1, max_length=10_000)
    system: Annotated[System | None, Honoured("a string or text blocks")] = None
    tools: Annotated[list[AnyTool] | None, Honoured("the client's own; those that Anthropic defines are refused")] = Field(
        None, max_length=128
    )
    tool_choice: Annotated[
        Choice | None,
        Honoured("`any` and `tool` always give one call; `disable_parallel_tool_use` as far as the model's template has it"),
    ] = None
    thinking: Annotated[
        Thinking | None,
        Honoured(
            "by models whose template can switch it: off unless asked for, `budget_tokens` is kept; one that does not reason "
            "has no thinking to spend a budget on"
        ),
    ] = None
    output_config: Annotated[
        OutputConfig | None,
        Honoured("`format` holds the answer to its schema, as OpenAI's strict one; `effort` by models whose template has it"),
    ] = None
    cache_control: Annotated[CacheControl | None, Accepted("a hint; prompts are cached by their own prefix")] = None
    context_management: Annotated[
        ContextManagement | None, Honoured("`clear_thinking_20251015` alone: thinking never goes back into the prompt")
    ] = None
    speed: Annotated[Any, Refused("There is one speed here; leave it out.", ("standard",))] = None
    mcp_servers: Annotated[Any, Refused("This server calls no other servers; connect them in the client.", ([],))] = None

    @model_validator(mode="after")
    def _check_turns(self) -> Self:
        if self.messages[-1].role != "user":
            raise InvalidRequest(
                "The last message must be the user's: a beginning of the answer is not continued by this server.",
                param="messages",
                code="invalid_value",
            )
        return self


class CountRequest(PromptRequest):
    """POST /v1/messages/count_tokens."""


class MessagesRequest(PromptRequest):
    """POST /v1/messages."""

    max_tokens: Annotated[int, Honoured("at most the model's context")] = Field(ge=1)
    stream: Annotated[bool | None, Honoured("`ping` also while a long prompt is being read")] = None
    stop_sequences: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=1000)]] | None,
        Honoured(f"up to {MAX_STOPS}, looked for in the answer's text; the one that was met is told"),
    ] = Field(None, max_length=MAX_STOPS)
    temperature: Annotated[float | None, Honoured("0 always takes the likeliest token")] = Field(None, ge=0, le=1)
    top_p: Annotated[float | None, Honoured()] = Field(None, ge=0, le=1)
    top_k: Annotated[int | None, Honoured("0 is off")] = Field(None, ge=0, le=1_000_000)
    metadata: Annotated[Metadata | None, Honoured("`user_id` takes turns with the other users of its address")] = None
    service_tier: Annotated[Literal["auto", "standard_only"] | None, Accepted("there is one tier here")] = None
    container: Annotated[Any, Refused("This server has no containers; leave it out.")] = None
    thread: Annotated[
        Any, Refused("Conversations are not held here; send the whole of it, without 'thread', as the SDK does when told so.")
    ] = None
    inference_geo: Annotated[Any, Refused("Everything runs on this server; leave it out.")] = None

    @property
    def tenant(self) -> str:
        return (self.metadata and self.metadata.user_id) or ""

    @model_validator(mode="after")
    def _check_budget(self) -> Self:
        if isinstance(self.thinking, ThinkingEnabled) and self.thinking.budget_tokens >= self.max_tokens:
            raise InvalidRequest(
                "'max_tokens' must be greater than 'thinking.budget_tokens'.", param="max_tokens", code="invalid_value"
            )
        return self
