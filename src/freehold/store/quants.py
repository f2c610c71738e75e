"""Which files of a repository are one model: quantisations, parts, and the projector beside them. From their names alone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from freehold.errors import StoreError
from freehold.store.parts import numbered, siblings, whole_name

# What runs well on most machines first: quality that is close to the full model's in a fifth to a quarter of its size.
PREFERRED = (
    *("Q4_K_M", "Q4_0", "Q8_0", "Q5_K_M", "Q4_K_S", "IQ4_NL", "IQ4_XS", "Q4_1", "Q6_K", "Q5_K_S", "Q5_0", "MXFP4", "MXFP4_MOE"),
    *("UD-Q4_K_XL", "Q4_K_L", "Q5_1", "Q3_K_M", "Q3_K_L", "IQ3_M", "Q3_K_S", "F16", "BF16", "Q2_K", "F32"),
)
_QUANT = re.compile(
    r"(?:^|[-_.])(?P<name>(?:UD-)?(?:I?Q[1-9](?:_[A-Z0-9]+)*|TQ[12]_0|MXFP4(?:_MOE)?|NVFP4|BF16|FP?16|FP?32))(?=[-.]|$)",
    re.IGNORECASE,
)
_PROJECTORS = ("F16", "BF16", "Q8_0", "F32")


@dataclass(frozen=True)
class Candidate:
    """One model that a repository offers: its quantisation ("" where no name tells) and its files' paths, in order."""

    quantization: str
    paths: tuple[str, ...]

    @property
    def label(self) -> str:
        return self.quantization or self.paths[0]


def quantization_of(path: str) -> str:
    """ "Q4_K_M" in `Qwen3-4B-Q4_K_M.gguf`, in capitals; the last where there are several; "" where there is none."""
    name = re.sub(r"(?i)\.gguf$", "", whole_name(path.rpartition("/")[2]))
    found = [match["name"].upper() for match in _QUANT.finditer(name)]
    return {"FP16": "F16", "FP32": "F32"}.get(found[-1], found[-1]) if found else ""


def is_projector(path: str) -> bool:
    return "mmproj" in path.rpartition("/")[2].lower()


def candidates(paths: Iterable[str]) -> tuple[Candidate, ...]:
    """The models among the GGUF files of a repository. Of one in parts, all parts, or it is left out."""
    there = {path for path in paths if path.lower().endswith(".gguf") and not is_projector(path)}
    found = []
    for path in sorted(there):
        folder, _, name = path.rpartition("/")
        part = numbered(name)
        if "imatrix" in name.lower() or (part and part[0] != 1):
            continue
        try:
            wanted = tuple(f"{folder}/{each}" if folder else each for each in siblings(name))
        except StoreError:
            continue
        if there.issuperset(wanted):
            found.append(Candidate(quantization_of(path), wanted))
    return tuple(found)


def choose(found: Sequence[Candidate], asked: str | None) -> Candidate:
    """The model of the quantisation or file that was asked for, else the preferred. Raises StoreError with what there is."""
    if not found:
        raise StoreError("The repository holds no GGUF file.", "Look for one whose name ends in -GGUF.")
    if asked is not None:
        return _asked(found, asked)
    for quantization in PREFERRED:
        if matching := [item for item in found if item.quantization == quantization]:
            return _only(matching, quantization)
    return _only(found, "GGUF")


def _asked(found: Sequence[Candidate], asked: str) -> Candidate:
    if asked.lower().endswith(".gguf"):
        for item in found:
            if asked in item.paths or asked in {path.rpartition("/")[2] for path in item.paths}:
                return item
        raise StoreError(f"The repository holds no file {asked[:200]!a}.", _offer(found))
    matching = [item for item in found if item.quantization == asked.upper()]
    if not matching:
        raise StoreError(f"The repository holds no {asked[:40]!a}.", _offer(found))
    return _only(matching, asked.upper())


def _only(matching: Sequence[Candidate], what: str) -> Candidate:
    if len(matching) > 1:
        names = ", ".join(ascii(item.paths[0])[1:-1] for item in matching[:8])
        raise StoreError(f"The repository holds {len(matching)} models in {what}.", f"Name the file: {names}")
    return matching[0]


def _offer(found: Sequence[Candidate]) -> str:
    labels = sorted({ascii(item.label)[1:-1] for item in found})
    return f"It has: {', '.join(labels[:40])}"


def projector(paths: Iterable[str], near: str) -> str | None:
    """The projector that goes with a model at `near`: of those in its folder, else in the first, the one in half precision."""
    there = [path for path in paths if is_projector(path) and path.lower().endswith(".gguf")]
    beside = [path for path in there if path.rpartition("/")[0] == near.rpartition("/")[0]] or there

    def rank(path: str) -> tuple[int, str]:
        kind = quantization_of(path)
        return (_PROJECTORS.index(kind) if kind in _PROJECTORS else len(_PROJECTORS), path)

    return min(beside, key=rank, default=None)
