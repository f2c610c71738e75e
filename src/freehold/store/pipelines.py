"""Models that are folders: pipelines of diffusers. Which files of one are needed, and what they say of themselves.

A pipeline's model_index.json names its parts; each is a folder with a configuration, and weights where it has any
(https://huggingface.co/docs/diffusers/using-diffusers/loading). Only weights in safetensors are taken: pickles are programs.
Names alone decide which files are needed, headers alone what the weights are.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from freehold.errors import BadModelFile, StoreError

INDEX = "model_index.json"
_TEXTS = re.compile(r"[\w.+-]+\.(json|txt|model|jinja)", re.ASCII)
_WEIGHTS = re.compile(r"(?P<stem>diffusion_pytorch_model|model)(?P<fp16>\.fp16)?(?P<part>-\d{5}-of-\d{5})?\.safetensors")
_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_SHARDS = re.compile(r"(?:diffusion_pytorch_model|model)\.safetensors\.index(?P<fp16>\.fp16)?\.json")
_PART = re.compile(r"[a-z][a-z0-9_]{0,60}")
_LARGEST_TEXT = 64 << 20  # bytes of a text; a tokenizer's has up to 20 MB
_LARGEST_HEADER = 100_000_000  # bytes: the format's own limit
_MOST_PARAMETERS = 10**12
_FEW = re.compile(r"turbo|lightning|schnell|lcm|hyper|distill|flash|4-?steps?", re.IGNORECASE)


@dataclass(frozen=True)
class Defaults:
    """How a family draws as its makers recommend: denoising steps, and guidance; 0 for models that were distilled of it."""

    steps: int
    guidance: float


# By diffusers' class: as it was trained, and distilled to few steps, from the models' own pages. Others draw as diffusers has
# it.
_FAMILIES: Mapping[str, tuple[Defaults, Defaults]] = {
    "StableDiffusionPipeline": (Defaults(25, 7.5), Defaults(4, 0)),
    "StableDiffusionXLPipeline": (Defaults(30, 5.0), Defaults(4, 0)),
    "StableDiffusion3Pipeline": (Defaults(28, 4.5), Defaults(4, 0)),
    "FluxPipeline": (Defaults(28, 3.5), Defaults(4, 0)),
    "QwenImagePipeline": (Defaults(50, 4.0), Defaults(8, 1.0)),
    "ZImagePipeline": (Defaults(28, 4.0), Defaults(9, 0)),
    "Flux2KleinPipeline": (Defaults(4, 1.0), Defaults(4, 1.0)),
}


def parsed(text: bytes) -> Mapping[str, Any]:
    """A model_index.json. Raises BadModelFile for what is none, or names code of its own."""
    try:
        table = json.loads(text)
    except (ValueError, RecursionError):
        raise _bad("its model_index.json cannot be read") from None
    if not isinstance(table, dict) or not isinstance(table.get("_class_name"), str):
        raise _bad("its model_index.json names no pipeline of diffusers")
    return table


def parts(index: Mapping[str, Any]) -> tuple[str, ...]:
    """The names of the parts that are there, which are those of their folders. Raises BadModelFile for parts of other
    libraries: their code would have to be run."""
    found = []
    for name, value in index.items():
        if name.startswith("_") or not isinstance(value, list) or value == [None, None]:
            continue
        if not _PART.fullmatch(name) or len(value) != 2 or not all(isinstance(each, str) for each in value):
            raise _bad(f"a part of it makes no sense: {name[:60]!a}")
        if value[0] not in ("diffusers", "transformers") and value != ["stable_diffusion", "StableDiffusionSafetyChecker"]:
            raise _bad(f"its part {name} has code of its own, which is never run")
        found.append(name)
    if not found:
        raise _bad("its model_index.json names no parts")
    return tuple(found)


def needed(files: Collection[str], index: Mapping[str, Any]) -> tuple[str, ...]:
    """The files of a repository that its pipeline is loaded from: the index, texts, and weights; of two precisions the smaller.

    Raises BadModelFile for a part whose weights are there as pickles only, or not at all.
    """
    chosen = [INDEX]
    for part in parts(index):
        there = [name.removeprefix(f"{part}/") for name in files if name.startswith(f"{part}/")]
        if not there:
            raise _bad(f"its part {part} is missing")
        weights = _weights(part, there)
        texts = [name for name in there if _TEXTS.fullmatch(name) and not _SHARDS.fullmatch(name)]
        chosen += [f"{part}/{name}" for name in (*texts, *weights)]
    return tuple(chosen)


def _weights(part: str, there: list[str]) -> list[str]:
    """A part's weights, with the list of their shards; [] for a part that has none, such as a tokenizer."""
    found = {name: match for name in there if (match := _WEIGHTS.fullmatch(name))}
    if not found:
        if any(name.endswith(_PICKLES) for name in there):
            raise _bad(f"the weights of its part {part} are there as pickles only, which can hold programs")
        return []
    half = any(match["fp16"] for match in found.values())
    chosen = {name: match for name, match in found.items() if bool(match["fp16"]) == half}
    if len({match["stem"] for match in chosen.values()}) > 1:  # two libraries' names: diffusers' own goes first
        chosen = {name: match for name, match in chosen.items() if match["stem"] == "diffusion_pytorch_model"}
    shards = [name for name, match in chosen.items() if match["part"]]
    if shards and len(shards) < len(chosen):
        return [name for name in chosen if name not in shards]  # the same weights in one file
    lists = [name for name in there if (match := _SHARDS.fullmatch(name)) and bool(match["fp16"]) == half]
    return [*chosen, *(lists if shards else [])]


def options(files: Mapping[str, Path], name: str) -> dict[str, Any]:
    """What a manifest says of a pipeline: `files` by their names in it, `name` for people ("sdxl-turbo").

    "family" is diffusers' class, "size" the side of its usual pictures in pixels, "steps" and "guidance" its makers' advice if
    known, and "components" each part's parameters. Raises BadModelFile for weights that are broken.
    """
    index = parsed(_text(files[INDEX]))
    components = {part: {"parameters": count} for part in parts(index) if (count := _parameters(files, part))}
    if not components:
        raise _bad("it has no weights")
    family = str(index["_class_name"])
    transformer = _config(files, "transformer")
    schnell = family == "FluxPipeline" and transformer.get("guidance_embeds") is False
    told: dict[str, Any] = {
        "family": family,
        "size": _side(files, transformer, name),
        "components": components,
        "slots": 1,
    }
    if family in _FAMILIES:
        usual, few = _FAMILIES[family]
        told |= asdict(few if schnell or _FEW.search(name) else usual)
    return told


def _side(files: Mapping[str, Path], transformer: Mapping[str, Any], name: str) -> int:
    """Pixels of the usual picture's side: of latents, each stands for a square of pixels."""
    channels = _config(files, "vae").get("block_out_channels")
    scale = 2 ** (len(channels) - 1) if isinstance(channels, list) and 0 < len(channels) < 8 else 8
    latents = _config(files, "unet").get("sample_size") or transformer.get("sample_size")
    if re.search("sdxl-turbo", name, re.IGNORECASE):
        return 512  # its configuration is that of the model it was distilled from
    return int(latents) * scale if isinstance(latents, int) and 0 < latents <= 1024 else 1024


def _config(files: Mapping[str, Path], part: str) -> Mapping[str, Any]:
    path = files.get(f"{part}/config.json")
    if path is None:
        return {}
    try:
        table = json.loads(_text(path))
    except (ValueError, RecursionError):
        raise _bad(f"the configuration of its part {part} cannot be read") from None
    if not isinstance(table, dict):
        raise _bad(f"the configuration of its part {part} is no table")
    if "quantization_config" in table:
        raise _bad(f"its part {part} is quantised by a library that is not installed here")
    return table


def _parameters(files: Mapping[str, Path], part: str) -> int:
    """Numbers in a part's weights."""
    _config(files, part)
    found = (path for name, path in files.items() if name.startswith(f"{part}/") and name.endswith(".safetensors"))
    return sum(count for path in found for count in _tensors(path))


def _tensors(path: Path) -> Iterator[int]:
    """The number of elements of each tensor of a safetensors file (https://github.com/huggingface/safetensors#format)."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(_LARGEST_HEADER, size - 8):
            raise _bad(f"{path.name!a} is no safetensors file")
        try:
            header = json.loads(file.read(length))
            for tensor, known in header.items():
                if tensor == "__metadata__":
                    continue
                begin, end = known["data_offsets"]
                count = math.prod(known["shape"])
                if not (0 <= begin <= end <= size - 8 - length and 0 <= count <= _MOST_PARAMETERS and type(count) is int):
                    raise ValueError(tensor)
                yield count
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise _bad("its weights are broken, or incomplete") from None


def _text(path: Path) -> bytes:
    if path.stat().st_size > _LARGEST_TEXT:
        raise _bad(f"{path.name!a} is far too large")
    return path.read_bytes()


def _bad(why: str) -> StoreError:
    return BadModelFile(f"This pipeline is not taken: {why}.", "Choose another: freehold models --task image")
