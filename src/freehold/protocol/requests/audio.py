"""POST /v1/audio/transcriptions and /translations: every documented parameter, honoured or refused; forms instead of JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import Field, model_validator

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import Honoured, Parsed, Part, Refused, Request, parse

_ARRAYS = frozenset(
    {"include", "timestamp_granularities", "languages", "keywords", "known_speaker_names", "known_speaker_references"}
)
_JSON = frozenset({"temperature", "stream", "chunking_strategy"})  # whose text is JSON, or a word
_MOST_ITEMS = 100
_NO_PROMPT = "The recognition models here take no text beside the audio; leave it out."
_MOST_KNOWN = 4  # speakers, as with OpenAI

R = TypeVar("R", bound=Request)


class ServerVad(Part):
    """How speech is told from silence; the defaults are OpenAI's."""

    type: Literal["server_vad"]
    threshold: float = Field(0.5, ge=0, le=1)
    prefix_padding_ms: int = Field(300, ge=0, le=5_000)
    silence_duration_ms: int = Field(200, ge=0, le=10_000)


class _Heard(Request):
    prompt: Annotated[str | None, Refused(_NO_PROMPT, allow=("",))] = None
    temperature: Annotated[
        float | None, Refused("Speech is recognised without chance, as with 0; leave it out.", allow=(0.0,))
    ] = Field(None, ge=0, le=1)


class TranslationRequest(_Heard):
    response_format: Annotated[Literal["json", "text", "srt", "verbose_json", "vtt"] | None, Honoured("`json` without it")] = (
        None
    )

    @property
    def form(self) -> str:
        """The format of the answer."""
        return self.response_format or "json"


class TranscriptionRequest(_Heard):
    response_format: Annotated[
        Literal["json", "text", "srt", "verbose_json", "vtt", "diarized_json"] | None,
        Honoured("`json` without it; `diarized_json` where a model that tells speakers apart is installed, else refused"),
    ] = None
    language: Annotated[str | None, Honoured("ISO 639-1, such as `en`; one that the model does not know is refused")] = Field(
        None, min_length=2, max_length=20
    )
    languages: Annotated[list[str] | None, Honoured("one, as `language`; several are refused")] = Field(None, min_length=1)
    keywords: Annotated[list[str] | None, Refused(_NO_PROMPT)] = None
    include: Annotated[list[Literal["logprobs"]] | None, Refused("The recognition models here tell no probabilities.")] = None
    timestamp_granularities: Annotated[
        list[Literal["word", "segment"]] | None,
        Honoured("with `verbose_json`; words only of models that time them, else refused"),
    ] = None
    stream: Annotated[bool | None, Honoured("with `json`, `text` or `diarized_json`: a delta for each piece of speech")] = None
    chunking_strategy: Annotated[
        Literal["auto"] | ServerVad | None, Honoured("audio is always cut at pauses; `server_vad` says how")
    ] = None
    known_speaker_names: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=64)]] | None,
        Honoured("with `diarized_json`, as many as `known_speaker_references`; up to 4"),
    ] = None
    known_speaker_references: Annotated[
        list[Annotated[str, Field(pattern=r"^data:[^,]*;base64,")]] | None,
        Honoured("data URLs of a second of each voice or more, of which up to 30 are listened to"),
    ] = None

    @property
    def form(self) -> str:
        """The format of the answer."""
        return self.response_format or "json"

    @property
    def words(self) -> bool:
        return "word" in (self.timestamp_granularities or ())

    @property
    def spoken(self) -> str | None:
        """The language that the speech is in, where the request says so: small letters, without a region."""
        named = self.language or next(iter(self.languages or ()), None)
        return named.lower().replace("_", "-").partition("-")[0] if named else None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        self._check_speakers()
        if self.timestamp_granularities and self.form != "verbose_json":
            raise InvalidRequest(
                "'timestamp_granularities' needs 'response_format' to be 'verbose_json'.", param="timestamp_granularities"
            )
        if self.stream and self.form not in ("json", "text", "diarized_json"):
            raise InvalidRequest(
                f"'stream' goes with 'response_format' json, text or diarized_json, not {self.form}.", param="stream"
            )
        if len(self.languages or ()) > 1:
            raise InvalidRequest("Only one of 'languages' is taken.", param="languages", code="unsupported_value")
        if self.languages and self.language:
            raise InvalidRequest("Either 'language' or 'languages' is taken, not both.", param="languages")
        return self

    def _check_speakers(self) -> None:
        names, references = self.known_speaker_names or [], self.known_speaker_references or []
        if (names or references) and self.form != "diarized_json":
            field = "known_speaker_names" if names else "known_speaker_references"
            raise InvalidRequest(f"'{field}' needs 'response_format' to be 'diarized_json'.", param=field)
        if len(names) != len(references) or len(names) > _MOST_KNOWN:
            raise InvalidRequest(
                f"There are {len(names)} names and {len(references)} references; there must be as many of each, at most "
                f"{_MOST_KNOWN}.",
                param="known_speaker_references",
            )
        if len(set(names)) < len(names):
            raise InvalidRequest("Two known speakers have the same name.", param="known_speaker_names")


def parse_form(
    kind: type[R], fields: Iterable[tuple[str, str]], *, unknown: Literal["refuse", "ignore"] = "refuse"
) -> Parsed[R]:
    """A request from the fields of a form. Arrays come as `name[]` or as `name` several times, objects as JSON or as
    `name[key]`, as OpenAI's SDKs send them. Raises InvalidRequest with OpenAI's code and `param`."""
    return parse(kind, json.dumps(_values(fields)).encode(), unknown=unknown)


def _values(fields: Iterable[tuple[str, str]]) -> Mapping[str, Any]:
    values: dict[str, Any] = {}
    for given, text in fields:
        name, bracket, key = given.partition("[")
        key = key.removesuffix("]")
        if name in _ARRAYS:
            if len(items := values.setdefault(name, [])) == _MOST_ITEMS:
                raise InvalidRequest(f"Invalid '{name}': array too long. At most {_MOST_ITEMS} items are taken.", param=name)
            items.append(text)
        elif bracket and key and name == "chunking_strategy":
            inner = values.setdefault(name, {})
            if not isinstance(inner, dict) or key in inner:
                raise _twice(name)
            inner[key] = text if key == "type" else _number(text)
        elif given in values:
            raise _twice(given)
        else:
            values[given] = _number(text) if given in _JSON else text
    return values


def _twice(name: str) -> InvalidRequest:
    return InvalidRequest(f"The field {name[:64]!r} was sent more than once.", param=name[:64])


def _number(text: str) -> Any:
    """What a field of a form means where it is not text: JSON, or a word such as `auto`."""
    try:
        return json.loads(text) if len(text) <= 10_000 else text
    except (ValueError, RecursionError):
        return {"True": True, "False": False}.get(text, text)
