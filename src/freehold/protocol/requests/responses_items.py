"""Items of the Responses API: what a conversation is made of, as a request may give them.

The shapes are those of OpenAI's specification 2.3.0. Fields that only say where an item came from are read and left alone, so
that what an answer held can be sent back as it is.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from freehold.protocol.requests.common import NO_BRANCH, Honoured, Metadata, Part
from freehold.protocol.requests.messages import STRING_OR_PARTS, no_part

Identity = Annotated[str, Field(min_length=1, max_length=256)]
ItemId = Annotated[str, Field(pattern=r"^[!-~]{1,256}$")]
StoredId = Annotated[str, Field(pattern=r"^[!-~]{1,80}$")]
Status = Literal["in_progress", "completed", "incomplete"]


class InputText(Part):
    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Any = None


class InputImage(Part):
    type: Literal["input_image"]
    image_url: str | None = None
    file_id: str | None = None
    detail: Literal["auto", "low", "high", "original"] | None = None
    prompt_cache_breakpoint: Any = None


class InputFile(Part):
    """Refused by its translation: no model here reads files."""

    type: Literal["input_file"]
    file_id: str | None = None
    filename: str | None = None
    file_data: str | None = None
    file_url: str | None = None
    detail: str | None = None
    prompt_cache_breakpoint: Any = None


class OutputText(Part):
    type: Literal["output_text"]
    text: str
    annotations: list[Any] | None = None
    logprobs: list[Any] | None = None
    parsed: Any = None


class Refusal(Part):
    type: Literal["refusal"]
    refusal: str


_String = Annotated[str, Tag("«string»")]
_Said = list[
    Annotated[
        Annotated[InputText, Tag("«input_text»")]
        | Annotated[InputImage, Tag("«input_image»")]
        | Annotated[InputFile, Tag("«input_file»")],
        no_part("input_text", "input_image", "input_file"),
    ]
]
_Answered = list[
    Annotated[
        Annotated[OutputText, Tag("«output_text»")]
        | Annotated[InputText, Tag("«input_text»")]
        | Annotated[Refusal, Tag("«refusal»")],
        no_part("output_text", "refusal", "input_text"),
    ]
]
Said = Annotated[_String | Annotated[_Said, Tag("«array»")], STRING_OR_PARTS]
Answered = Annotated[_String | Annotated[_Answered, Tag("«array»")], STRING_OR_PARTS]


class Item(Part):
    id: ItemId | None = None
    status: Status | None = None


class InputMessage(Item):
    type: Literal["message"] | None = None
    role: Literal["user", "system", "developer"]
    content: Said


class AnswerMessage(Item):
    """What the model said before. `phase` is OpenAI's for some of its models."""

    type: Literal["message"] | None = None
    role: Literal["assistant"]
    content: Answered
    phase: Literal["commentary", "final_answer"] | None = None


class FunctionCallItem(Item):
    type: Literal["function_call"]
    call_id: Identity
    name: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: str
    parsed_arguments: Any = None
    namespace: None = None
    caller: Any = None


class FunctionCallOutput(Item):
    type: Literal["function_call_output"]
    call_id: Identity
    output: Said
    name: str | None = None
    namespace: None = None
    caller: Any = None


class SummaryText(Part):
    type: Literal["summary_text"]
    text: str


class ReasoningText(Part):
    type: Literal["reasoning_text"]
    text: str


class ReasoningItem(Item):
    """What the model thought; it never goes back into a prompt."""

    type: Literal["reasoning"]
    summary: list[SummaryText] = Field(default_factory=list)
    content: list[ReasoningText] | None = None
    encrypted_content: str | None = None


class ItemReference(Part):
    """An item that was stored, by its id."""

    type: Literal["item_reference"] | None = None
    id: ItemId


_KINDS = {
    "function_call": "«function_call»",
    "function_call_output": "«function_call_output»",
    "reasoning": "«reasoning»",
    "item_reference": "«item_reference»",
}


def _kind(value: object) -> str | None:
    def get(name: str) -> object:
        return value.get(name) if isinstance(value, dict) else getattr(value, name, None)

    kind = get("type")
    if kind == "message" or (kind is None and get("role") is not None):
        return "«answer»" if get("role") == "assistant" else "«message»"
    if kind is None and get("id") is not None:
        return "«item_reference»"
    return _KINDS.get(kind) if isinstance(kind, str) else None


AnyItem = Annotated[
    Annotated[InputMessage, Tag("«message»")]
    | Annotated[AnswerMessage, Tag("«answer»")]
    | Annotated[FunctionCallItem, Tag("«function_call»")]
    | Annotated[FunctionCallOutput, Tag("«function_call_output»")]
    | Annotated[ReasoningItem, Tag("«reasoning»")]
    | Annotated[ItemReference, Tag("«item_reference»")],
    Discriminator(
        _kind,
        custom_error_type=NO_BRANCH,
        custom_error_message=".type|expected 'message', 'function_call', 'function_call_output', 'reasoning' or "
        "'item_reference'; the others belong to tools that this server does not have.",
    ),
]
Known = InputMessage | AnswerMessage | FunctionCallItem | FunctionCallOutput | ReasoningItem | ItemReference
Items = Annotated[list[AnyItem], Field(max_length=10_000)]


class NewConversation(Part):
    """POST /v1/conversations."""

    items: Annotated[Items | None, Field(max_length=20), Honoured("the first items")] = None
    metadata: Annotated[Metadata | None, Honoured()] = None


class ChangedConversation(Part):
    """POST /v1/conversations/{conversation}."""

    metadata: Annotated[Metadata | None, Honoured("takes the place of what there was")] = None


class MoreItems(Part):
    """POST /v1/conversations/{conversation}/items."""

    items: Annotated[Items, Honoured("20 at a time")] = Field(min_length=1, max_length=20)


class ChangedCompletion(Part):
    """POST /v1/chat/completions/{completion}."""

    metadata: Annotated[Metadata | None, Honoured("takes the place of what there was")]
