"""How each family of code models wants to be asked for what stands between a prefix and a suffix.

The layouts are those of the models' papers and tokenizers; Continue's AutocompleteTemplate.ts and Zed's fim.rs agree on them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Family:
    """Marks by their texts in the vocabulary; `middle`, `repo` and `file` are empty where the family has none.

    `order` "psm" is prefix, suffix, middle; "spm" puts the suffix first. `repo` stands before the repository's name, `file`
    before the path of each file; a family without them is told of other files by `path`, a line with a path in it, within the
    prefix. `others` are marks that an answer never has.
    """

    name: str
    prefix: str
    suffix: str
    middle: str = ""
    order: Literal["psm", "spm"] = "psm"
    repo: str = ""
    file: str = ""
    path: str = "# {path}\n"
    others: tuple[str, ...] = ()

    @property
    def marks(self) -> tuple[str, ...]:
        """Those it cannot do without."""
        return tuple(mark for mark in (self.prefix, self.suffix, self.middle) if mark)

    @property
    def banned(self) -> tuple[str, ...]:
        """All that an answer never has."""
        return tuple(mark for mark in (*self.marks, self.repo, self.file, *self.others) if mark)


_QWEN = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>")
_STAR = ("<fim_prefix>", "<fim_suffix>", "<fim_middle>")

# The first whose marks a vocabulary has is taken: those that ask for more stand before those that ask for less.
FAMILIES: tuple[Family, ...] = (
    Family("qwen", *_QWEN, repo="<|repo_name|>", file="<|file_sep|>", others=("<|fim_pad|>",)),
    Family("codegemma", *_QWEN, file="<|file_separator|>"),
    Family("granite4", *_QWEN, others=("<|fim_pad|>",)),
    Family("starcoder2", *_STAR, repo="<repo_name>", file="<file_sep>", others=("<fim_pad>",)),
    Family("starcoder", *_STAR, repo="<reponame>", file="<filename>", others=("<fim_pad>",)),
    Family("granite3", *_STAR, repo="<reponame>", others=("<fim_pad>",)),
    Family("fim", *_STAR, others=("<fim_pad>",)),
    Family("deepseek", "<｜fim▁begin｜>", "<｜fim▁hole｜>", "<｜fim▁end｜>"),
    Family("codellama", "▁<PRE>", "▁<SUF>", "▁<MID>", others=("▁<EOT>",)),
    Family("codestral", "[PREFIX]", "[SUFFIX]", order="spm", path="+++++ {path}\n"),
    Family("seed-coder", "<[fim-prefix]>", "<[fim-suffix]>", "<[fim-middle]>", order="spm"),
    Family("codegeex", "<|code_prefix|>", "<|code_suffix|>", "<|code_middle|>", order="spm"),
    Family("replit", "<fim-prefix>", "<fim-suffix>", "<fim-middle>", others=("<fim-pad>",)),
    Family("tokens", "<PRE>", "<SUF>", "<MID>", others=("<EOT>",)),
    # What the file's own keys name, whatever the tokens' texts are.
    Family("keys", "@pre", "@suf", "@mid", repo="@rep", file="@sep", others=("@pad",)),
)
NAMES = tuple(family.name for family in FAMILIES)


def family_of(marks: Mapping[str, int], asked: str = "") -> Family | None:
    """The family of a model by the marks of its vocabulary, or the one that is asked for by its name; None where the vocabulary
    lacks its marks. Of the marks that a family can do without, those that the vocabulary lacks are left out."""
    for family in FAMILIES:
        if asked not in ("", family.name) or not all(mark in marks for mark in family.marks):
            continue
        wants = tuple(mark for mark in (family.repo, family.file) if mark)
        if not asked and family.name != "keys" and not all(mark in marks for mark in wants):
            continue  # another family has the same three
        return _with(family, marks)
    return None


def _with(family: Family, marks: Mapping[str, int]) -> Family:
    def known(mark: str) -> str:
        return mark if mark in marks else ""

    return Family(
        family.name,
        family.prefix,
        family.suffix,
        family.middle,
        family.order,
        known(family.repo),
        known(family.file),
        family.path,
        tuple(mark for mark in family.others if mark in marks),
    )
