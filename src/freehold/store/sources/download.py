"""A file over HTTP: in chunks over several connections, resumed where it broke off, begun anew when it changed there.

The first request is for the first chunk. Its answer says how large the file is; where the server heeds ranges, further
connections fetch the other chunks, each asked for to its end and no further, so that no byte comes twice. Where it does not,
the answer is the whole file, and is read to its end alone.

RFC 9110 §14: each range is asked for with If-Range and the ETag of the bytes that are here already. Bytes without a strong
ETag are never pieced together. Each chunk's own sha256 is kept (`journal`), so that damage is mended chunk by chunk (`mend`).
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from freehold.errors import DigestMismatch, SourceUnreachable, StoreError
from freehold.store import disk
from freehold.store.progress import Meter
from freehold.store.sources import web
from freehold.store.sources.chunks import Chunks
from freehold.store.sources.journal import Journal, State
from freehold.store.sources.mend import damaged, other_version
from freehold.store.sources.transfer import (
    LIMITS,
    Anew,
    Limits,
    Tries,
    length_of,
    pieces,
    range_of,
    strong_etag,
)
from freehold.store.store import digest_of

_MANY = 2  # times that a file is begun anew before one connection has to do


@dataclass(frozen=True, eq=False)
class Wanted:
    """A file at an address; its sha256 (64 small hex digits) and size in bytes where they are known. `secrets` are headers
    for that host alone; `explain` may know better words for a refusal."""

    url: str
    sha256: str | None = None
    size: int | None = None
    secrets: Mapping[str, str] = field(default_factory=dict)
    explain: Callable[[web.Refused], StoreError | None] = lambda refused: None

    @property
    def host(self) -> str:
        return urlsplit(self.url).netloc


class Download:
    """A file that grows in a folder, over any number of attempts. The folder keeps what came when one fails.

    `meter` hears of each byte that comes. `complete`, then `verified`; both raise SourceUnreachable, DigestMismatch, DiskFull.
    """

    def __init__(self, wanted: Wanted, folder: Path, meter: Meter, limits: Limits = LIMITS):
        self.part = folder / "part"
        self._wanted = wanted
        self._folder = folder
        self._limits = limits
        self._journal_path = folder / "journal"
        self._meter = meter
        self._here = 0  # bytes that the meter knows of
        self._expected = wanted.size or 0  # bytes of the meter's total that are this file's

    def verified(self, on_bytes: Callable[[int], None] = lambda count: None) -> str:
        """The digest of the complete file, "sha256:<hex>", mended where it was another than it should be."""
        found = digest_of(self.part, on_bytes)
        if self._wanted.sha256 is None or found == (digest := f"sha256:{self._wanted.sha256}"):
            return found
        if not self._mended(digest):
            self._forget()
            raise DigestMismatch(
                f"What {self._wanted.host} sent does not have the sha256 that it should have.",
                "Check the address and the digest.",
            )
        return digest

    def _forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self._journal_path.unlink(missing_ok=True)
        self._gained(-self._here)

    def complete(self) -> None:
        """Fetches what is missing, over several versions of the file if need be."""
        with disk.translated():
            self._folder.mkdir(exist_ok=True)
        tries = Tries(self._limits, self._wanted.host)
        for begun in itertools.count():
            # Servers of one host may disagree about the ETag: then all comes from one of them.
            limits = self._limits if begun < _MANY else replace(self._limits, connections=1)
            with tries.again():
                try:
                    self._round(limits)
                    return
                except Anew as anew:
                    self._forget()
                    raise web.Broken(str(anew)) from None

    def _mended(self, digest: str) -> bool:
        """Fetches again what is damaged, and only that where it can be known. Whether the file then has the digest."""
        state = Journal(self._journal_path).read()
        if state is None or not state.etag:
            self._forget()
            self.complete()
            return digest_of(self.part) == digest
        if bad := damaged(self.part, state):
            for number in bad:
                state.done.pop(number, None)
                state.at.pop(number, None)
            self._gained(state.here - self._here)
            self._write(state)
            self.complete()
            if digest_of(self.part) == digest:
                return True
        try:
            return other_version(self.part, state, lambda begin, end: self._again(state, begin, end), digest, self._write)
        except Anew:
            return False

    def _round(self, limits: Limits) -> None:
        """One version of the file, from wherever it stands to its end. Raises Anew when it cannot be that version."""
        journal = Journal(self._journal_path)
        state = journal.read() if self.part.exists() else None
        with contextlib.ExitStack() as stack:
            first = None
            if state is None or not state.etag or self._wanted.size not in (None, state.total):
                self._forget()
                first = stack.enter_context(self._first(limits))
                state = self._state(first)
            else:
                self._meter.expect(state.total - self._expected)
                self._meter.here(state.here - self._here)
                self._here, self._expected = state.here, state.total
            disk.require(disk.free_bytes(self.part.parent), state.total - state.here)
            with disk.translated():
                self.part.touch()
                journal.begin(state)
            stack.callback(journal.close)
            Chunks(
                self.part,
                state,
                journal,
                ask=self._range,
                host=self._wanted.host,
                limits=limits,
                gained=self._gained,
            ).run(first)

    def _first(self, limits: Limits) -> Any:
        """The response to a request for the first chunk, or for all of the file where parts of it are of no use: over one
        connection, and where nothing vouches for what would be pieced together."""
        count = limits.chunk_of(self._wanted.size or 0)
        if limits.connections == 1 or (self._wanted.size or count + 1) <= count:
            return self._begin({})
        try:
            response = self._begin({"Range": f"bytes=0-{count - 1}"})
        except Anew:  # 416: an empty file has no first byte
            return self._begin({})
        if (place := range_of(response)) is None:
            return response
        begin, total = place
        if begin == 0 and (strong_etag(response) or length_of(response) == total):
            return response
        response.close()
        return self._begin({})

    def _begin(self, headers: Mapping[str, str]) -> Any:
        tries = Tries(self._limits, self._wanted.host)
        while True:
            with tries.again():
                return self._open(headers)

    def _state(self, response: Any) -> State:
        """What the first answer says of the file."""
        host, place = self._wanted.host, range_of(response)
        total = length_of(response) if place is None else place[1]
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise SourceUnreachable(f"{host} sends the file in an encoding that was not asked for.", "Use another address.")
        if not total:
            raise SourceUnreachable(f"{host} does not say how large the file is.", "Use another address.")
        if self._wanted.size not in (None, total):
            raise DigestMismatch(
                f"The file at {host} has {total:,} bytes instead of {self._wanted.size:,}.", "It may be another by now."
            )
        self._meter.expect(total - self._expected)
        self._expected = total
        return State(total, self._limits.chunk_of(total), strong_etag(response))

    def _range(self, begin: int, end: int, etag: str) -> Any:
        return self._open({"Range": f"bytes={begin}-{end - 1}", "If-Range": etag})

    def _open(self, headers: Mapping[str, str]) -> Any:
        try:
            return web.open_(self._wanted.url, headers, self._wanted.secrets, self._limits.silence)
        except web.Refused as refused:
            if explained := self._wanted.explain(refused):
                raise explained from None
            raise

    def _again(self, state: State, begin: int, end: int) -> bytes:
        """Some bytes of the same version of the file, once more. Raises Anew, SourceUnreachable."""
        data = bytearray()
        tries = Tries(self._limits, self._wanted.host)
        while begin + len(data) < end:
            with tries.again(), self._range(begin + len(data), end, state.etag) as response:
                if range_of(response) != (begin + len(data), state.total) or strong_etag(response) != state.etag:
                    raise Anew("the file changed there")
                for piece in pieces(response, end - begin - len(data), self._limits):
                    data += piece
                    tries.gained()
        return bytes(data)

    def _gained(self, count: int) -> None:
        self._here += count
        self._meter.add(count)

    def _write(self, state: State) -> None:
        journal = Journal(self._journal_path)
        with disk.translated():
            journal.begin(state)
        journal.close()
