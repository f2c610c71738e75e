"""Comparing the catalogue with its hubs: which repositories and files are there, of what size, with what digest and licence.

For maintainers (`make catalogue-check`): what Freehold serves never asks a hub about its catalogue.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from freehold.errors import SourceUnreachable
from freehold.store.catalogue.entry import Download, Entry, Variant
from freehold.store.catalogue.licenses import LICENSES

Kind = Literal["repository", "file", "digest", "size", "license", "unpinned", "unsized", "unchecked"]
_MENDABLE: frozenset[Kind] = frozenset({"unpinned", "unsized"})  # what --write fills in; the rest is for a person to judge
_AT_A_TIME = 4
_PATIENCE = 20.0  # seconds for one answer


@dataclass(frozen=True)
class Seen:
    """A file at its hub: bytes, and the sha256 of large ones (None for those that a hub keeps in git itself)."""

    size: int
    sha256: str | None


@dataclass(frozen=True)
class Repository:
    """What a hub says of a repository. `licenses` are its tags, none where it has none."""

    files: Mapping[str, Seen]
    licenses: tuple[str, ...] = ()


class NotThere(Exception):
    """The hub answers, and has no such repository, or shows it to nobody without an account."""


class NoAnswer(Exception):
    """The hub does not answer about this repository now."""


Lookup = Callable[[str], Repository]  # raises NotThere, NoAnswer, SourceUnreachable


@dataclass(frozen=True)
class Difference:
    """What a hub says otherwise than the catalogue, or what the catalogue lacks. `variant` and `file` are "" where it concerns
    the whole."""

    entry: str
    variant: str
    file: str
    kind: Kind
    known: str
    found: str

    @property
    def mendable(self) -> bool:
        return self.kind in _MENDABLE


@dataclass(frozen=True)
class Report:
    """`confirmed` are the (entry, quantisation) pairs all of whose files the hubs have as the catalogue says, or lacks to say;
    `asked` is how many repositories were looked up."""

    differences: tuple[Difference, ...]
    confirmed: frozenset[tuple[str, str]]
    seen: Mapping[str, Seen]
    asked: int


def hugging_face(endpoint: str | None = None) -> Lookup:
    """Looks repositories up at Hugging Face, or a hub that speaks its API (`endpoint`, or the variable HF_ENDPOINT)."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled, RepositoryNotFoundError
    from huggingface_hub.errors import HTTPError as ClientError  # type: ignore[attr-defined]  # of whichever client it uses

    hub = HfApi(endpoint=endpoint, library_name="freehold")

    def look_up(name: str) -> Repository:
        try:
            info = hub.model_info(name, files_metadata=True, timeout=_PATIENCE)
        except RepositoryNotFoundError:  # a gated repository is one of these to nobody: its list of files is open
            raise NotThere from None
        except HfHubHTTPError as error:
            raise NoAnswer(f"status {error.response.status_code}") from error
        except (OfflineModeIsEnabled, ClientError, OSError) as error:
            raise SourceUnreachable(
                f"No hub answers at {hub.endpoint} ({type(error).__name__}): nothing was checked.", "Is there a network?"
            ) from error
        tags = [tag.removeprefix("license:") for tag in info.tags or () if tag.startswith("license:")]
        files = {
            file.rfilename: Seen(int(file.size or 0), file.lfs.sha256 if file.lfs else None) for file in info.siblings or ()
        }
        return Repository(files, tuple(tags))

    return look_up


def check(entries: Iterable[Entry], look_up: Lookup) -> Report:
    """Compares all files of entries that are at Hugging Face. Raises SourceUnreachable when the hub cannot be reached."""
    entries = [entry for entry in entries if _repositories(entry)]
    names = sorted({name for entry in entries for name in _repositories(entry)})
    found = _all_of(names, look_up)
    differences: list[Difference] = []
    confirmed: set[tuple[str, str]] = set()
    seen: dict[str, Seen] = {}
    for entry in entries:
        differences += _license(entry, found)
        for variant in entry.variants:
            wrong = [item for file in variant.files for item in _file(entry, variant, file, found, seen)]
            differences += wrong
            if all(item.mendable for item in wrong):
                confirmed.add((entry.name, variant.quantization))
    return Report(tuple(differences), frozenset(confirmed), seen, len(names))


def applied(tables: Iterable[Mapping[str, Any]], report: Report, day: str) -> list[dict[str, Any]]:
    """The tables of a data file with what the hubs said: sizes and digests that were lacking, and which variants are verified.

    A digest that differs is never overwritten: whether its publisher or somebody else changed the file is for a person to find
    out.
    """
    return [
        {**table, "variants": [_applied(table["name"], item, report, day) for item in table["variants"]]} for table in tables
    ]


def _applied(name: str, raw: Mapping[str, Any], report: Report, day: str) -> dict[str, Any]:
    if not any(file["reference"].startswith("hf:") for file in raw["files"]):
        return dict(raw)
    rest = {key: value for key, value in raw.items() if key not in {"verified", "note", "files", "quantization"}}
    files = []
    for file in raw["files"]:
        seen = report.seen.get(file["reference"])
        filled = dict(file)
        if seen is not None:
            filled = {"role": file["role"], "reference": file["reference"], "sha256": file.get("sha256") or seen.sha256}
            filled = {key: value for key, value in filled.items() if value} | {"size": seen.size}
        files.append(filled)
    whole = (name, raw["quantization"]) in report.confirmed and all(file.get("sha256") for file in files)
    marks = {"verified": True, "note": f"Seen at its source on {day}."} if whole else {}
    return {"quantization": raw["quantization"], **marks, **rest, "files": files}


def _all_of(names: list[str], look_up: Lookup) -> dict[str, Repository | Exception]:
    def one(name: str) -> Repository | Exception:
        try:
            return look_up(name)
        except (NotThere, NoAnswer, SourceUnreachable) as error:
            return error

    first = {name: one(name) for name in names[:1]}  # when the hub is out of reach, one attempt tells
    for answer in first.values():
        if isinstance(answer, SourceUnreachable):
            raise answer
    with concurrent.futures.ThreadPoolExecutor(_AT_A_TIME) as pool:
        return first | dict(zip(names[1:], pool.map(one, names[1:]), strict=True))


def _repositories(entry: Entry) -> set[str]:
    """Those of its files, and the one of its page."""
    names = {_repository(file) for variant in entry.variants for file in variant.files} - {""}
    if names and entry.url.startswith("https://huggingface.co/"):
        names.add(entry.url.removeprefix("https://huggingface.co/"))
    return names


def _repository(file: Download) -> str:
    return "/".join(file.reference.removeprefix("hf:").split("/")[:2]) if file.reference.startswith("hf:") else ""


def _file(
    entry: Entry, variant: Variant, file: Download, found: Mapping[str, Repository | Exception], seen: dict[str, Seen]
) -> Iterable[Difference]:
    def differs(kind: Kind, known: object, said: object) -> Difference:
        return Difference(entry.name, variant.quantization, file.name, kind, str(known), str(said))

    repository = _repository(file)
    if not repository:
        yield differs("unchecked", file.reference.partition(":")[0], "no hub that publishes digests")
        return
    there = found[repository]
    if isinstance(there, NotThere):
        yield differs("repository", repository, "not there")
        return
    if isinstance(there, Exception):
        yield differs("unchecked", repository, f"the hub does not answer: {there}")
        return
    now = there.files.get(file.reference.removeprefix(f"hf:{repository}/"))
    if now is None:
        yield differs("file", repository, "not there")
        return
    if file.sha256 and now.sha256 != file.sha256:
        yield differs("digest", file.sha256, now.sha256 or "none")
        return
    seen[file.reference] = now
    if not file.sha256:
        yield differs("unpinned", "none", now.sha256)
    if file.size is None:
        yield differs("unsized", "none", now.size)
    elif file.size != now.size:
        yield differs("size", file.size, now.size)


def _license(entry: Entry, found: Mapping[str, Repository | Exception]) -> Iterable[Difference]:
    """By the tags of the makers' own page, else of the files' repositories; one that says nothing contradicts nothing."""
    tags = LICENSES.get(entry.license, ())
    page = found.get(entry.url.removeprefix("https://huggingface.co/"))
    if isinstance(page, NotThere):
        yield Difference(entry.name, "", "", "repository", entry.url, "not there")
    if isinstance(page, Repository) and page.licenses and not set(page.licenses) & set(tags):
        yield Difference(entry.name, "", "", "license", entry.license, ", ".join(page.licenses))
