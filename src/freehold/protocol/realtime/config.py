"""What a session is set to: OpenAI's session objects (RealtimeSessionCreateRequestGA and its transcription kin in its
specification), each field honoured or refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Discriminator, Field, Tag, ValidationError, model_validator

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import NO_BRANCH, Part, Refused, Refusing, explained
from freehold.protocol.requests.messages import Name
from freehold.protocol.requests.schemas import too_large

INSTRUCTIONS = "You talk with a person by voice. Answer in a few short, plain sentences, as one speaks them."
_EAGERNESS = {"low": 1200, "medium": 600, "auto": 600, "high": 300}  # milliseconds of silence
_BYTES = {"audio/pcm": 48, "audio/pcmu": 8, "audio/pcma": 8}  # a millisecond
_MERGED = ("audio", "input", "output")  # objects of which an update may give a part
_HEARING = frozenset({"type", "audio", "include"})  # what a transcription session has


class Format(Part):
    type: Literal["audio/pcm", "audio/pcmu", "audio/pcma"] = "audio/pcm"
    rate: Literal[24000] | None = None

    @property
    def per_ms(self) -> int:
        """Bytes of a millisecond: 16 bits at 24 kHz, or 8 at 8 kHz."""
        return _BYTES[self.type]

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.rate is not None and self.type != "audio/pcm":
            raise InvalidRequest("G.711 has a rate of its own; leave 'rate' out.", param="session.audio", code="invalid_value")
        return self

    def shown(self) -> dict[str, Any]:
        return {"type": self.type, "rate": 24000} if self.type == "audio/pcm" else {"type": self.type}


class Transcription(Refusing):
    place: ClassVar[str] = "session.audio.input.transcription."
    model: str | None = Field(None, min_length=1, max_length=300)
    language: str | None = Field(None, min_length=2, max_length=20)
    languages: Annotated[Any, Refused("Name one 'language'.")] = None
    keywords: Annotated[Any, Refused("The recognition models here take no words beside the audio; leave it out.")] = None
    prompt: Annotated[Any, Refused("The recognition models here take no text beside the audio; leave it out.", ("",))] = None
    delay: Annotated[Any, Refused("Recognition waits for nothing here; leave it out.")] = None


class TurnDetection(Refusing):
    """`semantic_vad` is served by the same detector of speech: its eagerness is how long a silence ends a turn."""

    place: ClassVar[str] = "session.audio.input.turn_detection."
    type: Literal["server_vad", "semantic_vad"]
    threshold: float | None = Field(None, ge=0, le=1)
    prefix_padding_ms: int | None = Field(None, ge=0, le=5_000)
    silence_duration_ms: int | None = Field(None, ge=0, le=10_000)
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool = True
    interrupt_response: bool = True
    idle_timeout_ms: Annotated[Any, Refused("A silent person is not spoken to here; leave it out.")] = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        wrong = ("eagerness",) if self.type == "server_vad" else ("threshold", "prefix_padding_ms", "silence_duration_ms")
        for name in wrong:
            if getattr(self, name) is not None:
                raise InvalidRequest(f"'{name}' does not go with {self.type}.", param=self.place + name, code="invalid_value")
        return self

    @property
    def heard(self) -> dict[str, Any]:
        """What the detector is told."""
        usual = self.silence_duration_ms if self.silence_duration_ms is not None else 500
        return {
            "threshold": 0.5 if self.threshold is None else self.threshold,
            "prefix_padding_ms": 300 if self.prefix_padding_ms is None else self.prefix_padding_ms,
            "silence_duration_ms": _EAGERNESS[self.eagerness or "auto"] if self.type == "semantic_vad" else usual,
        }

    def shown(self) -> dict[str, Any]:
        own = {"eagerness": self.eagerness or "auto"} if self.type == "semantic_vad" else self.heard
        return {
            "type": self.type,
            **own,
            "create_response": self.create_response,
            "interrupt_response": self.interrupt_response,
        }


class Input(Refusing):
    place: ClassVar[str] = "session.audio.input."
    format: Format = Format()
    transcription: Transcription | None = None
    noise_reduction: Annotated[Any, Refused("There is no noise reduction here; set it to null.")] = None
    turn_detection: TurnDetection | None = TurnDetection(type="server_vad")


class CustomVoice(Part):
    id: str = Field(min_length=1, max_length=200)


def _voice_kind(value: object) -> str | None:
    return "«string»" if isinstance(value, str) else "«object»" if isinstance(value, dict | CustomVoice) else None


Voice = Annotated[
    Annotated[str, Field(min_length=1, max_length=200), Tag("«string»")] | Annotated[CustomVoice, Tag("«object»")],
    Discriminator(
        _voice_kind, custom_error_type=NO_BRANCH, custom_error_message="|expected a voice's name or an object with its id."
    ),
]


class Output(Part):
    format: Format = Format()
    voice: Voice = "alloy"
    speed: float = Field(1.0, ge=0.25, le=1.5)


class Audio(Part):
    input: Input = Input()
    output: Output = Output()


def _tool_kind(value: object) -> str | None:
    kind = value.get("type") if isinstance(value, dict) else getattr(value, "type", None)
    return "«function»" if kind == "function" else None


class FunctionTool(Part):
    type: Literal["function"]
    name: Name
    description: str | None = None
    parameters: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _small(self) -> Self:
        if why := too_large(self.parameters or {}):
            raise InvalidRequest(f"Invalid schema for function {self.name!r}: {why}", param="tools", code="invalid_value")
        return self


Tools = Annotated[
    list[
        Annotated[
            Annotated[FunctionTool, Tag("«function»")],
            Discriminator(
                _tool_kind, custom_error_type=NO_BRANCH, custom_error_message=".type|only tools of type 'function' are served."
            ),
        ]
    ],
    Field(max_length=128),
]


class NamedFunction(Part):
    type: Literal["function"]
    name: Name


def _choice_kind(value: object) -> str | None:
    if isinstance(value, str):
        return "«mode»"
    return _tool_kind(value)


ToolChoice = Annotated[
    Annotated[Literal["none", "auto", "required"], Tag("«mode»")] | Annotated[NamedFunction, Tag("«function»")],
    Discriminator(
        _choice_kind, custom_error_type=NO_BRANCH, custom_error_message="|expected 'none', 'auto', 'required' or a function."
    ),
]
Modalities = Annotated[list[Literal["text", "audio"]], Field(min_length=1, max_length=1)]
MaxTokens = Annotated[int, Field(ge=1, le=4096)] | Literal["inf"]


class Reasoning(Part):
    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh"] | None = None


class Retention(Part):
    """Once the conversation is too long, so much of it is kept that further turns fit, too."""

    type: Literal["retention_ratio"]
    retention_ratio: float = Field(ge=0, le=1)


def _truncation_kind(value: object) -> str | None:
    return "«word»" if isinstance(value, str) else "«ratio»" if isinstance(value, dict | Retention) else None


Truncation = Annotated[
    Annotated[Literal["auto", "disabled"], Tag("«word»")] | Annotated[Retention, Tag("«ratio»")],
    Discriminator(
        _truncation_kind, custom_error_type=NO_BRANCH, custom_error_message="|expected 'auto', 'disabled' or a retention ratio."
    ),
]


def _aloud() -> list[Literal["text", "audio"]]:
    return ["audio"]


class Settings(Refusing):
    """A session's settings, as they are given and as they are in force: what is not given has the default of its field."""

    place: ClassVar[str] = "session."
    type: Literal["realtime", "transcription"]
    model: str | None = Field(None, min_length=1, max_length=300)
    output_modalities: Modalities = Field(default_factory=_aloud)
    instructions: str = Field(INSTRUCTIONS, max_length=200_000)
    audio: Audio = Audio()
    tools: Tools = Field(default_factory=list)
    tool_choice: ToolChoice = "auto"
    parallel_tool_calls: bool | None = None
    reasoning: Reasoning | None = None
    max_output_tokens: MaxTokens = "inf"
    truncation: Truncation = "auto"
    include: Annotated[Any, Refused("The recognition models here tell no probabilities.", ([],))] = None
    tracing: Any = None  # taken, and shown as null: nothing is traced
    prompt: Annotated[Any, Refused("There are no stored prompts here; send 'instructions'.")] = None

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.type == "transcription":
            given = self.model_fields_set - _HEARING
            if given or "output" in self.audio.model_fields_set:
                name = f"session.{min(given)}" if given else "session.audio.output"
                raise InvalidRequest(f"A transcription session has no '{name}'.", param=name, code="unknown_parameter")
        check_choice(self.tools, self.tool_choice, "session.")
        return self

    @property
    def turns(self) -> TurnDetection | None:
        return self.audio.input.turn_detection

    @property
    def hears(self) -> dict[str, Any]:
        """What the recogniser is told of this session."""
        heard = self.audio.input
        kind = {"audio/pcm": "pcm16", "audio/pcmu": "g711_ulaw", "audio/pcma": "g711_alaw"}[heard.format.type]
        return {
            "rate": 24_000 if kind == "pcm16" else 8_000,
            "format": kind,
            "turn_detection": heard.turn_detection.heard if heard.turn_detection else None,
            "language": heard.transcription.language if heard.transcription else None,
            "deltas": self.transcribes,
        }

    @property
    def transcribes(self) -> bool:
        """Whether the client is told the words of what it says."""
        return self.type == "transcription" or self.audio.input.transcription is not None

    def shown(self, identity: str, model: str, expires_at: int) -> dict[str, Any]:
        """The session object that clients are shown: all that is in force."""
        heard, said = self.audio.input, self.audio.output
        transcription = heard.transcription.model_dump(exclude_none=True) if heard.transcription else None
        audio: dict[str, Any] = {
            "input": {
                "format": heard.format.shown(),
                "transcription": transcription,
                "noise_reduction": None,
                "turn_detection": heard.turn_detection.shown() if heard.turn_detection else None,
            }
        }
        if self.type == "transcription":
            if heard.turn_detection:
                for name in ("create_response", "interrupt_response"):
                    del audio["input"]["turn_detection"][name]
            common = {"type": self.type, "object": "realtime.transcription_session", "id": identity, "expires_at": expires_at}
            return {**common, "include": None, "audio": audio}
        audio["output"] = {"format": said.format.shown(), "voice": voice_name(said.voice), "speed": said.speed}
        return {
            "type": self.type,
            "object": "realtime.session",
            "id": identity,
            "expires_at": expires_at,
            "model": model,
            "output_modalities": self.output_modalities,
            "instructions": self.instructions,
            "audio": audio,
            "tools": [tool.model_dump(exclude_none=True) for tool in self.tools],
            "tool_choice": _plain(self.tool_choice),
            "parallel_tool_calls": self.parallel_tool_calls,
            "reasoning": self.reasoning.model_dump(exclude_none=True) if self.reasoning else None,
            "max_output_tokens": self.max_output_tokens,
            "truncation": _plain(self.truncation),
            "include": None,
            "tracing": None,
            "prompt": None,
        }

    def updated(self, update: Settings) -> Settings:
        """These settings with those of an update instead. Raises InvalidRequest where they do not go together."""
        if update.type != self.type:
            raise InvalidRequest(f"This is a session of type '{self.type}'.", param="session.type", code="invalid_value")
        given = self.model_dump(exclude_unset=True)
        _merge(given, update.model_dump(exclude_unset=True))
        return settings(given)


def settings(given: Mapping[str, Any]) -> Settings:
    """Raises InvalidRequest, its param beginning with `session.`."""
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        raise explained({**problem, "loc": ("session", *problem["loc"])}) from None


def voice_name(voice: str | CustomVoice) -> str:
    return voice if isinstance(voice, str) else voice.id


def check_choice(tools: list[FunctionTool], choice: Any, place: str) -> None:
    names = [tool.name for tool in tools]
    if len(set(names)) < len(names):
        raise InvalidRequest("Two tools have the same name.", param=f"{place}tools", code="invalid_value")
    if isinstance(choice, NamedFunction) and choice.name not in names:
        raise InvalidRequest(
            f"The function '{choice.name}' is not among the tools.", param=f"{place}tool_choice", code="invalid_value"
        )
    if choice == "required" and not names:
        raise InvalidRequest("There is no tool to be required.", param=f"{place}tool_choice", code="invalid_value")


def _plain(value: Any) -> Any:
    return value.model_dump(exclude_none=True) if isinstance(value, Part) else value


def _merge(into: dict[str, Any], given: Mapping[str, Any]) -> None:
    for name, value in given.items():
        if name in _MERGED and isinstance(value, dict) and isinstance(into.get(name), dict):
            _merge(into[name], value)
        else:
            into[name] = value
