"""POST /v1/images/generations, /edits and /variations: every documented parameter, honoured or refused."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import USERS, Honoured, Own, Part, Refused, Request

Format = Literal["png", "jpeg", "webp"]
Quality = Literal["standard", "hd", "low", "medium", "high", "auto"]

_QUALITIES: Mapping[str | None, str] = {"low": "low", "high": "high", "hd": "high"}
_MOST_STEPS = 500
_LARGEST_SEED = 2**63 - 1


def _unless_null(default: str) -> Callable[[object], object]:
    def chosen(value: object) -> object:
        return default if value is None else value

    return chosen


_Name = Annotated[str, Field(min_length=1, max_length=300)]
_Prompt = Annotated[str, Field(min_length=1, max_length=32_000)]


class Drawing(Request):
    """What all three have in common."""

    model: Annotated[_Name, BeforeValidator(_unless_null("dall-e-2")), Honoured("without it the default image model")] = (
        "dall-e-2"
    )
    n: Annotated[int | None, Honoured("one after another; with `stream` only one")] = Field(None, ge=1, le=10)
    size: Annotated[
        str | None,
        Honoured("any size that the model draws; without it, or with `auto`, the model's usual one, or that of the picture"),
    ] = Field(None, pattern=r"^(auto|[1-9][0-9]{0,4}x[1-9][0-9]{0,4})$")
    response_format: Annotated[
        Literal["url", "b64_json"] | None,
        Honoured("`url` for the names dall-e-2 and dall-e-3, else `b64_json`; a URL is of this server, for an hour"),
    ] = None
    user: Annotated[str | None, USERS] = None
    seed: Annotated[int | None, Own("the same seed draws the same picture; each has its own in the answer")] = Field(
        None, ge=0, le=_LARGEST_SEED
    )
    steps: Annotated[int | None, Own("denoising steps, in place of those for the quality")] = Field(None, ge=1, le=_MOST_STEPS)
    guidance_scale: Annotated[float | None, Own("how strictly the words are followed")] = Field(None, ge=0, le=50)
    negative_prompt: Annotated[str | None, Own("what the picture shall not show")] = Field(None, max_length=32_000)

    @property
    def streamed(self) -> bool:
        return bool(getattr(self, "stream", None))

    @property
    def delivers_url(self) -> bool:
        """Whether the answer has addresses in place of pictures."""
        return (
            self.response_format or ("url" if self.model.startswith("dall-e") and not self.streamed else "b64_json")
        ) == "url"

    @model_validator(mode="after")
    def _check(self) -> Self:
        compression, form = (getattr(self, name, None) for name in ("output_compression", "output_format"))
        if compression not in (None, 100) and form in (None, "png"):
            _refuse("output_compression", "PNG is never compressed with loss; ask for jpeg or webp.")
        if self.streamed and (self.n or 1) > 1:
            _refuse("n", "A streamed answer has one picture.")
        if self.streamed and self.response_format == "url":
            _refuse("response_format", "A streamed answer holds the picture itself: b64_json.")
        if getattr(self, "partial_images", None) and not self.streamed:
            _refuse("partial_images", "Pictures in the making are only shown with `stream`.")
        return self

    def order(self) -> dict[str, Any]:
        """What a worker is told: plain values, without what is left to the model."""
        quality = _QUALITIES.get(getattr(self, "quality", None), "medium")
        told = {
            "prompt": getattr(self, "prompt", ""),
            "n": self.n,
            "size": self.size,
            "quality": quality,
            "output_format": getattr(self, "output_format", None),
            "output_compression": getattr(self, "output_compression", None),
            "background": "transparent" if getattr(self, "background", None) == "transparent" else None,
            "stream": self.streamed,
            "partial_images": getattr(self, "partial_images", None),
            "seed": self.seed,
            "steps": self.steps,
            "guidance_scale": self.guidance_scale,
            "negative_prompt": self.negative_prompt,
            "strength": getattr(self, "strength", None),
        }
        return {name: value for name, value in told.items() if value is not None}


class _Prompted(Drawing):
    """What generations and edits have in common."""

    prompt: Annotated[_Prompt, Honoured("one that is longer than the model reads is refused, not cut")]
    quality: Annotated[
        Quality | None, Honoured("`low` draws in half the usual steps, `high` and `hd` in half as many more")
    ] = None
    background: Annotated[
        Literal["transparent", "opaque", "auto"] | None,
        Honoured("`transparent` where the model draws that (with png or webp), else refused; `auto` is `opaque`"),
    ] = None
    output_format: Annotated[Format | None, Honoured("`png` without it")] = None
    output_compression: Annotated[int | None, Honoured("the quality of jpeg and webp; png has none")] = Field(
        None, ge=0, le=100
    )
    stream: Annotated[bool | None, Honoured("OpenAI's events; the steps come as comments between them")] = None
    partial_images: Annotated[int | None, Honoured("the picture after so many of its steps, evenly spread")] = Field(
        None, ge=0, le=3
    )


class GenerationRequest(_Prompted):
    moderation: Annotated[
        str | None,
        Refused("A model's own safety checker is as it is; choose another model.", ("auto",)),
    ] = None
    style: Annotated[
        str | None,
        Refused("Models here take no style; say it in the prompt.", ("vivid",)),
    ] = None


class EditFields(_Prompted):
    """An edit's fields in a form; its files are beside them."""

    model: Annotated[_Name, BeforeValidator(_unless_null("gpt-image-1.5")), Honoured("without it the default image model")] = (
        "gpt-image-1.5"
    )
    moderation: Annotated[
        str | None,
        Refused("A model's own safety checker is as it is; choose another model.", ("auto",)),
    ] = None
    input_fidelity: Annotated[
        str | None,
        Refused("How near the picture stays to the one that was sent is said by `strength`.", ("low",)),
    ] = None
    strength: Annotated[float | None, Own("how far from the picture that was sent: 0.8 without it, 1 with a mask")] = Field(
        None, gt=0, le=1
    )


class ImageRef(Part):
    """A picture inside of a JSON request."""

    image_url: Annotated[str | None, Honoured("a `data:` URL; nothing is fetched")] = None
    file_id: Annotated[None, Refused("There are no stored files here; send the picture as a data: URL.")] = None

    @model_validator(mode="after")
    def _there(self) -> Self:
        if self.image_url is None:
            raise InvalidRequest(
                "A picture needs an 'image_url' with a data: URL.", param="images", code="missing_required_parameter"
            )
        return self


class EditRequest(EditFields):
    """An edit as JSON."""

    images: Annotated[list[ImageRef], Honoured("one picture; models that take several are refused more than they can")] = Field(
        min_length=1, max_length=16
    )
    mask: Annotated[ImageRef | None, Honoured("a PNG of the same size; its transparent parts are drawn anew")] = None


class VariationFields(Drawing):
    """A variation's fields in a form; its file is beside them."""

    strength: Annotated[float | None, Own("how far from the picture that was sent: 0.6 without it")] = Field(None, gt=0, le=1)


_NUMBERS: Mapping[str, type[int] | type[float]] = {
    "n": int,
    "output_compression": int,
    "partial_images": int,
    "seed": int,
    "steps": int,
    "guidance_scale": float,
    "strength": float,
}
_WORDS = {"true": True, "false": False}


def from_form(fields: list[tuple[str, str]]) -> dict[str, Any]:
    """A form's texts as JSON's values; what is no number stays the text, which the request then refuses by its type.

    Raises InvalidRequest for a field that was sent twice.
    """
    table: dict[str, Any] = {}
    for name, text in fields:
        if name in table:
            raise InvalidRequest(f"The field {name[:80]!r} was sent more than once.", param=name[:80], code="invalid_value")
        table[name] = _value(name, text)
    return table


def _value(name: str, text: str) -> Any:
    if name == "stream":
        return _WORDS.get(text.strip().lower(), text)
    try:
        return _NUMBERS[name](text) if name in _NUMBERS and len(text) < 40 else text
    except ValueError:
        return text


def _refuse(param: str, sentence: str) -> None:
    raise InvalidRequest(f"Invalid value for '{param}': {sentence}", param=param, code="invalid_value")
