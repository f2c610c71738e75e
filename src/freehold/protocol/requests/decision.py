"""Typed questions about a text, as TypeSafe's System One API asks them (Ollama and llama.cpp have it too), and as OpenAI's
Decisions API does (its SDK's types, version 3.54)."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, model_validator

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import NO_BRANCH, USERS, Accepted, Honoured, Part, Refused, Request
from freehold.protocol.requests.messages import STRING_OR_PARTS, content_kind, no_part

_MOST_QUESTIONS, _MOST_OPTIONS, _MOST_LEVELS = 400, 255, 10
_NO_PICTURES = "Questions are answered about texts alone; leave it out."


def _kind(value: object) -> str | None:
    return "«object»" if isinstance(value, dict) else content_kind(value)


Content = Annotated[
    Annotated[str, Tag("«string»")] | Annotated[dict[str, Any], Tag("«object»")] | Annotated[list[Any], Tag("«array»")],
    Discriminator(_kind, custom_error_type=NO_BRANCH, custom_error_message="|expected a string, an object or an array."),
]
Name = Annotated[str, Field(min_length=1, max_length=256)]


class Truths(Part):
    """When a statement is true, and when not."""

    true: Any = None
    false: Any = None


class Noul(Part):
    type: Literal["noul"]
    instructions: Content
    criteria: Truths | None = None


class Choice(Part):
    type: Literal["choice"]
    instructions: Content
    criteria: Annotated[dict[Name, Any], Field(min_length=1, max_length=_MOST_OPTIONS)]


class Score(Part):
    type: Literal["score"]
    instructions: Content
    criteria: Annotated[list[Any], Field(min_length=2, max_length=_MOST_LEVELS)]


Question = Annotated[
    Annotated[Noul, Tag("«noul»")] | Annotated[Choice, Tag("«choice»")] | Annotated[Score, Tag("«score»")],
    no_part("noul", "choice", "score"),
]


class SystemOneRequest(Request):
    """POST /v1/systemone."""

    state: Annotated[Content, Honoured("what the questions are about: a text, or any JSON object or array")]
    questions: Annotated[
        dict[Name, Question],
        Honoured("by name: `noul` (how likely it is true), `choice` among `criteria`, `score` on the levels of `criteria`"),
    ] = Field(min_length=1, max_length=_MOST_QUESTIONS)
    images: Annotated[Any, Refused(_NO_PICTURES, ([],))] = None
    files: Annotated[Any, Refused(_NO_PICTURES, ([],))] = None
    videos: Annotated[Any, Refused(_NO_PICTURES, ([],))] = None


class InputText(Part):
    type: Literal["input_text"]
    text: str
    prompt_cache_breakpoint: Any = None


class InputJson(Part):
    type: Literal["input_json"]
    data: dict[str, Any] | list[dict[str, Any]]


_PARTS = Annotated[
    Annotated[InputText, Tag("«input_text»")] | Annotated[InputJson, Tag("«input_json»")], no_part("input_text", "input_json")
]
Instructions = Annotated[
    Annotated[str, Tag("«string»")] | Annotated[Annotated[list[_PARTS], Field(min_length=1)], Tag("«array»")], STRING_OR_PARTS
]
_Items = Annotated[Annotated[str, Tag("«string»")] | Annotated[list[dict[str, Any]], Tag("«array»")], STRING_OR_PARTS]


class Predicate(Part):
    type: Literal["predicate"]
    instructions: Instructions
    name: Name | None = None


class Option(Part):
    value: str | bool
    description: str | None = None


class Pick(Part):
    type: Literal["choice"]
    instructions: Instructions
    choices: Annotated[list[Option], Field(min_length=2, max_length=_MOST_OPTIONS)]
    name: Name | None = None


class Level(Part):
    label: str
    description: str | None = None


class Rating(Part):
    type: Literal["score"]
    instructions: Instructions
    levels: Annotated[list[Level], Field(min_length=2, max_length=_MOST_LEVELS)]
    name: Name | None = None


Asked = Annotated[
    Annotated[Predicate, Tag("«predicate»")] | Annotated[Pick, Tag("«choice»")] | Annotated[Rating, Tag("«score»")],
    no_part("predicate", "choice", "score"),
]


class DecisionRequest(Request):
    """POST /v1/decisions."""

    input: Annotated[
        str | list[dict[str, Any]], Honoured("a text, or messages and calls of tools with their outputs; no images")
    ]
    questions: Annotated[list[Asked], Honoured("`predicate`, `choice` and `score`; answered in their order")] = Field(
        min_length=1, max_length=_MOST_QUESTIONS
    )
    prompt_cache_key: Annotated[str | None, Accepted("prompts are always cached, by what they say")] = None
    prompt_cache_options: Annotated[Any, Accepted("prompts are always cached")] = None
    safety_identifier: Annotated[str | None, USERS] = None

    @model_validator(mode="after")
    def _check(self) -> Self:
        for place, question in enumerate(self.questions):
            if isinstance(question, Pick):
                texts = [text_of(option.value) for option in question.choices]
                if len(set(texts)) < len(texts):
                    raise InvalidRequest(
                        "Each choice must be another one; true and 'true' are not told apart here.",
                        param=f"questions[{place}].choices",
                        code="invalid_value",
                    )
        return self


def text_of(value: str | bool) -> str:
    return value if isinstance(value, str) else str(value).lower()
