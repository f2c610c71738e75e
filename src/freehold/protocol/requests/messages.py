"""Chat messages and tools, as OpenAI's specification 2.3.0 has them."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from freehold.protocol.requests.common import NO_BRANCH, Part

Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")]


class TextPart(Part):
    type: Literal["text"]
    text: str


class RefusalPart(Part):
    type: Literal["refusal"]
    refusal: str


class ImageUrl(Part):
    url: str
    detail: Literal["auto", "low", "high", "original"] | None = None


class ImagePart(Part):
    type: Literal["image_url"]
    image_url: ImageUrl


class AudioData(Part):
    data: str
    format: Literal["wav", "mp3"]


class AudioPart(Part):
    type: Literal["input_audio"]
    input_audio: AudioData


class FilePart(Part):
    type: Literal["file"]
    file: dict[str, Any]


def part_kind(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return f"«{kind}»" if isinstance(kind, str) else None


def no_part(*kinds: str) -> Discriminator:
    listed = ", ".join(f"'{kind}'" for kind in kinds)
    return Discriminator(
        part_kind,
        custom_error_type=NO_BRANCH,
        custom_error_message=f".type|the part must be an object whose type is one of {listed}.",
    )


Texts = list[Annotated[Annotated[TextPart, Tag("«text»")], no_part("text")]]
AssistantParts = list[
    Annotated[Annotated[TextPart, Tag("«text»")] | Annotated[RefusalPart, Tag("«refusal»")], no_part("text", "refusal")]
]
UserParts = list[
    Annotated[
        Annotated[TextPart, Tag("«text»")]
        | Annotated[ImagePart, Tag("«image_url»")]
        | Annotated[AudioPart, Tag("«input_audio»")]
        | Annotated[FilePart, Tag("«file»")],
        no_part("text", "image_url", "input_audio", "file"),
    ]
]


def content_kind(value: object) -> str | None:
    if isinstance(value, str):
        return "«string»"
    return "«array»" if isinstance(value, list) else None


STRING_OR_PARTS = Discriminator(
    content_kind,
    custom_error_type=NO_BRANCH,
    custom_error_message="|expected a string or an array of content parts.",
)

TextContent = Annotated[
    Annotated[str, Tag("«string»")] | Annotated[Annotated[Texts, Field(min_length=1)], Tag("«array»")], STRING_OR_PARTS
]
UserContent = Annotated[
    Annotated[str, Tag("«string»")] | Annotated[Annotated[UserParts, Field(min_length=1)], Tag("«array»")], STRING_OR_PARTS
]
AssistantContent = Annotated[
    Annotated[str, Tag("«string»")] | Annotated[Annotated[AssistantParts, Field(min_length=1)], Tag("«array»")], STRING_OR_PARTS
]


class SystemMessage(Part):
    role: Literal["system", "developer"]
    content: TextContent
    name: str | None = None


class UserMessage(Part):
    role: Literal["user"]
    content: UserContent
    name: str | None = None


class FunctionCall(Part):
    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: str


class ToolCall(Part):
    id: str
    type: Literal["function"] = "function"  # Mistral's clients leave it out
    function: FunctionCall
    index: Annotated[int | None, Field(exclude=True)] = None  # of a stream's pieces; Mistral's clients send it back


class SpokenAnswer(Part):
    """An earlier answer that was spoken, by the id that it came with."""

    id: Annotated[str, Field(min_length=1, max_length=100)]


class VoiceId(Part):
    id: Annotated[str, Field(min_length=1, max_length=100)]


class AudioOutput(Part):
    """How an answer is to be spoken."""

    voice: Annotated[str, Field(min_length=1, max_length=100)] | VoiceId
    format: Literal["wav", "aac", "mp3", "flac", "opus", "pcm16"]

    @property
    def name(self) -> str:
        return self.voice if isinstance(self.voice, str) else self.voice.id


class AssistantMessage(Part):
    """`reasoning_content` is what reasoning models thought, as many clients send it back; it is left out of the prompt."""

    role: Literal["assistant"]
    content: AssistantContent | None = None
    refusal: str | None = None
    name: str | None = None
    tool_calls: Annotated[list[ToolCall], Field(min_length=1, max_length=128)] | None = None
    audio: SpokenAnswer | None = None
    function_call: None = None
    annotations: list[Any] | None = None
    reasoning_content: str | None = None
    prefix: Annotated[Literal[False] | None, Field(exclude=True)] = None  # Mistral's clients say that it is no beginning


class ToolMessage(Part):
    role: Literal["tool"]
    content: TextContent
    tool_call_id: str
    name: str | None = None  # the function's: OpenAI asks for none, but many clients tell it, and some templates show it


_ROLES = {
    "system": "«system»",
    "developer": "«system»",
    "user": "«user»",
    "assistant": "«assistant»",
    "tool": "«tool»",
}


def _role(value: object) -> str | None:
    role = value.get("role") if isinstance(value, dict) else getattr(value, "role", None)
    return _ROLES.get(role) if isinstance(role, str) else None


Message = Annotated[
    Annotated[SystemMessage, Tag("«system»")]
    | Annotated[UserMessage, Tag("«user»")]
    | Annotated[AssistantMessage, Tag("«assistant»")]
    | Annotated[ToolMessage, Tag("«tool»")],
    Discriminator(
        _role,
        custom_error_type=NO_BRANCH,
        custom_error_message=".role|a message must be an object whose role is one of 'system', 'developer', 'user', "
        "'assistant', 'tool' "
        "('function' is long deprecated: use 'tool').",
    ),
]


class FunctionDefinition(Part):
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None


class Tool(Part):
    type: Literal["function"]
    function: FunctionDefinition


class NamedFunction(Part):
    name: Name


class NamedTool(Part):
    type: Literal["function"]
    function: NamedFunction


class AllowedTools(Part):
    mode: Literal["auto", "required"]
    tools: Annotated[list[NamedTool], Field(min_length=1, max_length=128)]


class AllowedToolChoice(Part):
    type: Literal["allowed_tools"]
    allowed_tools: AllowedTools


def _mistrals(value: object) -> object:
    """Mistral's "any" is OpenAI's "required"."""
    return "required" if value == "any" else value


def _choice_kind(value: object) -> str | None:
    if isinstance(value, str):
        return "«mode»"
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return {"function": "«function»", "allowed_tools": "«allowed»"}.get(kind) if isinstance(kind, str) else None


CHOICES = Discriminator(
    _choice_kind,
    custom_error_type=NO_BRANCH,
    custom_error_message="|expected 'none', 'auto', 'required', a function, or allowed_tools.",
)
ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("«mode»")]
    | Annotated[NamedTool, Tag("«function»")]
    | Annotated[AllowedToolChoice, Tag("«allowed»")],
    CHOICES,
    BeforeValidator(_mistrals),
]


class JsonSchema(Part):
    name: Name
    description: str | None = None
    schema_: dict[str, Any] | None = Field(None, alias="schema")
    strict: bool | None = None


class TextFormat(Part):
    type: Literal["text"]


class JsonObjectFormat(Part):
    type: Literal["json_object"]


class JsonSchemaFormat(Part):
    type: Literal["json_schema"]
    json_schema: JsonSchema


ResponseFormat = Annotated[
    Annotated[TextFormat, Tag("«text»")]
    | Annotated[JsonObjectFormat, Tag("«json_object»")]
    | Annotated[JsonSchemaFormat, Tag("«json_schema»")],
    no_part("text", "json_object", "json_schema"),
]
