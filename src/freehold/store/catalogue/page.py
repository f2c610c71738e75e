"""The page docs/catalogue.md, made from the entries."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from freehold.store.catalogue import read
from freehold.store.catalogue.catalogue import load
from freehold.store.catalogue.entry import Entry
from freehold.store.disk import megabytes

_HEADINGS = {
    "chat": "Chat",
    "code": "Code",
    "vision": "Chat with pictures",
    "embedding": "Embeddings",
    "rerank": "Rerankers",
    "speech": "Speech and voices",
    "image": "Images (not served)",
}

_HEAD = "| name | parameters | size | context | licence | files | good for |\n|---|---|---|---|---|---|---|"

_INTRODUCTION = """# Catalogue

{count} models under the names that people type: what each is good for, its licence, its files and their digests.

```sh
freehold models
freehold models qwen coder --fits
freehold recommend --task code
freehold show qwen3:4b
freehold pull qwen3:4b
```

A name is `family:size`; a family alone means its usual size (`qwen3` is `qwen3:4b`), and a quantisation may follow:
`qwen3:4b-q8_0` or `qwen3:4b:q8_0`. Upper and lower case are the same. The first quantisation of an entry is the one
that is pulled without one.

## What an entry can be trusted for

Facts, addresses and digests are as the makers and publishers give them. Most entries were written without a network
and are marked **unverified** until `make catalogue-check` has seen their files at their source:

- *pinned*: the digest is here, so a pull takes that file and no other. Whether it is the publisher's own has not been
  looked up.
- *unpinned*: no digest is here. A pull takes what the hub says the file's digest is, and checks the bytes against
  that.
- *verified*: the hub has the file with this digest and size; the day is in `freehold show`.

Sizes with `~` are estimated from parameters and bits per weight (within 10 % for models of a billion parameters and
more). Models that no engine of this version runs are listed as not served, and a pull of one is refused.

`make catalogue-check` compares every entry with its hub (the variable `HF_ENDPOINT` names another than Hugging Face)
and prints what differs; `make catalogue-check ARGS=--write` also fills in sizes and digests that were lacking. A
digest that differs is never overwritten. Without a network it says so and ends with code 2.

## How a recommendation is made

`freehold recommend` plans each model that does the task for the memory of this machine, with 8,192 tokens of context
(2,048 for embeddings), and takes the best that fits and is quick enough: 8 tokens a second for chat, code and
pictures, 15 to fill in code, 150 tokens read a second for embeddings. Where none is that quick, it takes the
quickest. Licences that forbid business use are never the recommendation.

{basis}

Memory is an estimate from the published architecture, and from typical ones where none is published. Speed is one,
too: decoding reads the weights that a token uses once, so it is the bandwidth of the memory (measured for a quarter
of a second, of which the quickest of all times counts, so that a busy moment changes no advice; published figures for
GPUs) over those bytes, bounded by what a core can do; expect it to be right within a factor of two. Where a model has
been tuned on this machine, the measured figures stand in its place.

## Your own entries

Entries in `catalogue.toml` of the data folder are found, listed and recommended like the built-in ones, and stand in
place of those of the same name:

```toml
[[entries]]
name = "support:7b"
license = "Proprietary"
parameters = 7_600_000_000
context = 32768
tasks = ["chat", "tools"]
good_for = "Answers our customers' questions."
quality = {{ chat = 70 }}

[[entries.variants]]
quantization = "Q4_K_M"
files = [{{ role = "weights", reference = "hf:our-org/support-7b-GGUF/support-7b-Q4_K_M.gguf", sha256 = "…" }}]
```

`name`, `license`, `parameters`, `tasks` and `variants` must be there. Others: `family`, `title`, `aliases`,
`default`, `active` (parameters that a token uses), `input`, `output`, `url`, `quality`, `architecture` (`layers`,
`embedding`, `heads`, `kv_heads`, `head_dim`, `vocab`, and where it applies `kv_layers`, `window`, `window_layers`,
`kv_latent`). A reference is `hf:org/repo/path`, `https://…` with a `sha256`, or `file:/…` for a file of this machine,
which is copied. A model in several parts has a file of role `weights` for each, in order; a model with pictures has one
of role `projector`.

## Over HTTP

`GET /api/catalogue` gives the same as JSON: `?search=words`, `?task=vision`, `?fits=true` for those that fit this
machine, `?fits=any` to be told of each how it would run. It wants the server's key where one is set.

## The models"""


def markdown() -> str:
    """The page."""
    entries = load().entries
    basis = textwrap.fill(f"Which is best is said by `quality` in each entry: {read.quality_basis()}", 118)
    parts = [_INTRODUCTION.format(count=len(entries), basis=basis)]
    for part, heading in _HEADINGS.items():
        rows = "\n".join(_rows(read.built_in_part(part)))
        parts.append(f"### {heading}\n\n{_HEAD}\n{rows}")
    return "\n\n".join(parts)


def _rows(entries: tuple[Entry, ...]) -> Iterator[str]:
    for entry in entries:
        size = entry.size()
        cells = (
            f"[`{entry.name}`]({entry.url})",
            _billions(entry.parameters) + (f" ({_billions(entry.active)} active)" if entry.active else ""),
            "" if size is None else ("~" if size.estimated else "") + megabytes(size.bytes),
            f"{entry.context:,}" if entry.context else "",
            entry.license,
            entry.variant.trust,
            entry.good_for,
        )
        yield f"| {' | '.join(cells)} |"


def _billions(count: int) -> str:
    return f"{count / 1e9:.3g}B" if count >= 999_500_000 else f"{count / 1e6:.3g}M"
