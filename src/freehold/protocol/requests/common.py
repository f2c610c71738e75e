"""How a request's fields are declared, and how what is wrong with them is said in OpenAI's words."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic_core import ErrorDetails, from_json

from freehold.errors import InvalidRequest
from freehold.units import seconds_in

# The error type of a value that fits no branch of a union; its message is "field|reason", field being what it is about.
NO_BRANCH = "no_branch"
KeepAlive = Annotated[float, BeforeValidator(seconds_in), Field(ge=-1, le=10**9)]
Metadata = Annotated[dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)]
_MOST = {b",": 1_000_000, b'"': 300_000, b"[": 200_000, b"{": 200_000}  # in a body; OpenAI takes 300,000 tokens at a time
_MOST_PROBLEMS = 1000
_SHOWN = 64  # characters of a client's own text that an error repeats


@dataclass(frozen=True)
class Honoured:
    """The field does what OpenAI's documentation says; `note` tells where it goes further or less far."""

    note: str = ""


@dataclass(frozen=True)
class Accepted:
    """The field has no effect on the answer by its own definition, so there is nothing to honour."""

    note: str = ""


@dataclass(frozen=True)
class Refused:
    """Only the values in `allow`, which ask for nothing, pass; any other is a 400 with `note` as the reason and remedy."""

    note: str
    allow: tuple[object, ...] = ()


@dataclass(frozen=True)
class Extra:
    """A field of llama.cpp's that OpenAI does not have."""

    note: str = ""


@dataclass(frozen=True)
class Own(Extra):
    """A field of Freehold's own."""


USERS = Honoured("takes turns with the other users of its address; it is not stored")  # an identifier of the client's user
Treatment = Honoured | Accepted | Refused | Extra


class Part(BaseModel):
    """A piece of a request: immutable, strict, nothing unknown in it."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        hide_input_in_errors=True,
        defer_build=True,  # a dialect that nobody speaks costs no start-up time and no memory
    )


class Refusing(Part):
    """A part that knows fields only to refuse them. `place` is what stands before their names in an error."""

    place: ClassVar[str] = ""
    refusals: ClassVar[Mapping[str, Refused]] = {}

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        marks = {name: field.metadata for name, field in cls.model_fields.items()}
        cls.refusals = {name: mark for name, found in marks.items() for mark in found if isinstance(mark, Refused)}

    @model_validator(mode="after")
    def _refuse(self) -> Self:
        for name in self.model_fields_set & self.refusals.keys():
            value, how = getattr(self, name), self.refusals[name]
            if value is not None and not any(type(value) is type(fine) and value == fine for fine in how.allow):
                param = self.place + name
                raise InvalidRequest(f"Unsupported parameter: '{param}'. {how.note}", param=param, code="unsupported_parameter")
        return self


class Request(Refusing):
    """A whole request body. Subclasses declare one field a parameter, each with its treatment."""

    model: Annotated[str, Honoured("a model's name or an alias"), Field(min_length=1, max_length=300)]
    keep_alive: Annotated[
        KeepAlive | None,
        Own("how long the model stays loaded afterwards: seconds, `10m`, `2h`; -1 while there is room, 0 not at all"),
    ] = None
    priority: Annotated[
        Literal["interactive", "batch"] | None,
        Own("`batch` waits behind all interactive requests, and gets one turn in twenty"),
    ] = None

    @property
    def patient(self) -> bool:
        """Whether others may go first."""
        return self.priority == "batch"

    @property
    def tenant(self) -> str:
        """Who of the caller's users asks, as far as the request says."""
        return str(getattr(self, "safety_identifier", None) or getattr(self, "user", None) or "")

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        for name in cls.model_fields:
            treatment(cls, name)


R = TypeVar("R", bound=Part)


@dataclass(frozen=True)
class Parsed(Generic[R]):
    """A request, and the names of the unknown fields that were left out of it."""

    value: R
    ignored: tuple[str, ...] = ()


def treatment(model: type[BaseModel], name: str) -> Treatment:
    """How a field is treated, as declared beside it."""
    for mark in model.model_fields[name].metadata:
        if isinstance(mark, Honoured | Accepted | Refused | Extra):
            return mark
    raise TypeError(f"{model.__name__}.{name} does not say how it is treated")


def parse(model: type[R], raw: bytes, *, unknown: Literal["refuse", "ignore"] = "refuse") -> Parsed[R]:
    """A request from its body. Raises InvalidRequest with OpenAI's code and `param`.

    A body that unfolds to much more than it seems is refused: parsing holds the event loop, and takes memory for each item.
    """
    if any(raw.count(mark) > most for mark, most in _MOST.items()):  # a text that fits a model's context has fewer
        raise InvalidRequest("The body of your request has too many items.", code="too_many_items")
    try:
        return Parsed(model.model_validate_json(raw))
    except ValidationError as error:
        if error.error_count() > _MOST_PROBLEMS:
            problem = f"The body of your request has {error.error_count():,} problems, too many to be told."
            raise InvalidRequest(problem, code="invalid_request") from None
        problems = error.errors(include_url=False)
    extra = [str(p["loc"][0]) for p in problems if p["type"] == "extra_forbidden" and len(p["loc"]) == 1]
    if unknown == "ignore" and extra:
        kept = {name: value for name, value in from_json(raw).items() if name not in extra}
        try:
            return Parsed(model.model_validate_json(_dump(kept)), tuple(extra))
        except ValidationError as error:
            problems = error.errors(include_url=False)
    raise explained(problems[0])


def _dump(value: object) -> bytes:
    from pydantic_core import to_json

    return to_json(value)


@contextlib.contextmanager
def explaining() -> Iterator[None]:
    """A block that makes a request out of another dialect's: what that one allows and this one does not is the client's."""
    try:
        yield
    except ValidationError as error:
        raise explained(error.errors(include_url=False)[0]) from None


def explained(problem: ErrorDetails) -> InvalidRequest:
    """One pydantic problem as OpenAI would put it."""
    param = parameter(problem["loc"])
    rule = _RULES.get(problem["type"])
    if problem["type"] == NO_BRANCH:
        field, _, reason = problem["msg"].partition("|")
        param += field
        message, code = f"Invalid value for '{param}': {reason}", "invalid_value"
    elif rule is not None:
        message, code = rule(param, problem.get("ctx", {}), problem["input"])
    elif problem["type"].endswith(("_type", "_parsing")):
        message, code = _wrong_type(param, problem)
    else:
        message, code = f"Invalid value for '{param}': {problem['msg'][:200]}.", "invalid_value"
    return InvalidRequest(message, param=param or None, code=code or None)


def parameter(location: tuple[int | str, ...]) -> str:
    """`messages[0].content` from ("messages", 0, "«user»", "content"); what stands in « » is a branch, not a field."""
    text = ""
    for part in location:
        if isinstance(part, int):
            text += f"[{part}]"
        elif not part.startswith("«"):
            text += f".{part[:_SHOWN]}" if text else part[:_SHOWN]
    return text


def shown(value: object) -> str:
    """A value as it is repeated in an error: short, and never a document."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"


_NAMES = {
    type(None): "null",
    bool: "a boolean",
    int: "an integer",
    float: "a decimal",
    str: "a string",
    list: "an array",
    dict: "an object",
}
_EXPECTED = {
    "string": "a string",
    "int": "an integer",
    "float": "a number",
    "bool": "a boolean",
    "list": "an array",
    "dict": "an object",
    "model": "an object",
    "model_attributes": "an object",
    "dataclass": "an object",
}


def _wrong_type(param: str, problem: ErrorDetails) -> tuple[str, str]:
    wanted = problem["type"].removesuffix("_type").removesuffix("_parsing")
    expected = _EXPECTED.get(wanted, wanted)
    got = _NAMES.get(type(problem["input"]), "something else")
    if not param:
        return f"The body must be {expected}, but it is {got}.", "invalid_type"
    return f"Invalid type for '{param}': expected {expected}, but got {got} instead.", "invalid_type"


Rule = Callable[[str, Mapping[str, Any], Any], tuple[str, str]]


def _bound(side: str, sign: str, key: str) -> Rule:
    def rule(param: str, context: Mapping[str, Any], value: Any) -> tuple[str, str]:
        limit = context[key]
        kind = "integer" if isinstance(limit, int) else "decimal"
        extreme = "minimum" if side == "below" else "maximum"
        wanted = limit if isinstance(limit, int) else f"{limit:g}"
        expected = f"Expected a value {sign} {wanted}, but got {shown(value)} instead."
        text = f"Invalid '{param}': {kind} {side} {extreme} value. {expected}"
        return text, f"{kind}_{side}_{'min' if side == 'below' else 'max'}_value"

    return rule


def _too_short(param: str, context: Mapping[str, Any], value: Any) -> tuple[str, str]:
    if isinstance(value, list):
        return f"Invalid '{param}': empty array. Expected an array with at least {context['min_length']} items.", "empty_array"
    return f"Invalid '{param}': empty string. Expected at least {context['min_length']} characters.", "empty_string"


def _too_long(param: str, context: Mapping[str, Any], value: Any) -> tuple[str, str]:
    limit, length = context["max_length"], context.get("actual_length") or len(value)
    if isinstance(value, list | dict):
        return (
            f"Invalid '{param}': array too long. Expected at most {limit} items, but got {length} instead.",
            "array_above_max_length",
        )
    return (
        f"Invalid '{param}': string too long. Expected at most {limit} characters, but got {length} instead.",
        "string_above_max_length",
    )


_RULES: Mapping[str, Rule] = {
    "json_invalid": lambda param, context, value: (
        "The body of your request is nested too deeply."
        if "recursion" in str(context.get("error"))
        else "The body of your request is not valid JSON.",
        "",
    ),
    "missing": lambda param, context, value: (f"Missing required parameter: '{param}'.", "missing_required_parameter"),
    "extra_forbidden": lambda param, context, value: (f"Unknown parameter: '{param}'.", "unknown_parameter"),
    "greater_than_equal": _bound("below", ">=", "ge"),
    "greater_than": _bound("below", ">", "gt"),
    "less_than_equal": _bound("above", "<=", "le"),
    "less_than": _bound("above", "<", "lt"),
    "finite_number": lambda param, context, value: (f"Invalid '{param}': the number must be finite.", "invalid_value"),
    "literal_error": lambda param, context, value: (
        f"Invalid value for '{param}': {shown(value)}. Supported values are: {context['expected']}.",
        "invalid_value",
    ),
    "too_short": _too_short,
    "string_too_short": _too_short,
    "too_long": _too_long,
    "string_too_long": _too_long,
    "string_pattern_mismatch": lambda param, context, value: (
        f"Invalid '{param}': {shown(value)} does not match the pattern {context['pattern']}.",
        "invalid_value",
    ),
}
