"""A file at an https:// address whose sha256 is known: resumed where it broke off, begun anew when it has changed there.

RFC 9110 §14: a Range is asked for with If-Range and the ETag of the bytes that are here already.
"""

from __future__ import annotations

import hashlib
import http.client
import ipaddress
import re
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from email.message import Message
from pathlib import Path
from typing import IO, Any
from urllib.parse import SplitResult, unquote, urlsplit, urlunsplit

import freehold
from freehold.errors import DigestMismatch, SourceUnreachable, StoreError
from freehold.store import disk
from freehold.store.progress import Meter, OnProgress
from freehold.store.store import digest_of

_CHUNK = 1 << 18
_ATTEMPTS = 5  # without a byte gained between them
_SILENCE = 30.0  # seconds without a byte
_NEXT = "Try again; what was downloaded is kept."


@dataclass(frozen=True)
class Address:
    """An address that may be fetched, and the sha256 (64 small hex digits) that its file must have."""

    url: str
    sha256: str

    @property
    def file_name(self) -> str:
        return unquote(urlsplit(self.url).path).rpartition("/")[2]

    @property
    def public(self) -> str:
        """The address without its query, which may hold a secret."""
        return urlunsplit(urlsplit(self.url)._replace(query="", fragment=""))

    @property
    def key(self) -> str:
        return hashlib.sha256(f"{self.sha256} {self.url}".encode()).hexdigest()[:32]


def address(url: str, sha256: str | None) -> Address:
    """Raises StoreError for an address that is not fetched, or one whose file could be anything."""
    if not sha256:
        raise StoreError("A file from the network is installed only with its digest.", "Give it: --sha256 <64 hex digits>")
    _check(url)
    return Address(url, sha256)


def fetch(source: Address, folder: Path, report: OnProgress) -> Path:
    """The verified file in `folder`, which keeps what was downloaded when this fails.

    Raises SourceUnreachable, DigestMismatch, DiskFull.
    """
    download = _Download(source, folder / "part", folder / "etag", report)
    failures = 0
    while not download.complete:
        before = download.here
        try:
            download.attempt()
        except _Broken as broken:
            failures = 0 if download.here > before else failures + 1
            if failures >= _ATTEMPTS:
                raise SourceUnreachable(f"The download from {download.host} broke off: {broken}.", _NEXT) from None
            time.sleep(min(0.25 * 2**failures, 5.0))
    meter = Meter(report, "verify", download.here)
    if digest_of(download.part, meter.add) != f"sha256:{source.sha256}":
        download.forget()
        raise DigestMismatch(
            f"What {download.host} sent does not have the sha256 that was given.", "Check the address and the digest."
        )
    return download.part


class _Broken(Exception):
    """An attempt failed in a way that another may not."""


class _Download:
    """A file that grows, over any number of attempts. Its ETag stands beside it, so that no two versions are mixed."""

    def __init__(self, source: Address, part: Path, tag: Path, report: OnProgress):
        self.part = part
        self.complete = False
        self.host = urlsplit(source.url).netloc
        self._source = source
        self._tag = tag
        self._report = report

    @property
    def here(self) -> int:
        """Bytes that are here."""
        return self.part.stat().st_size if self.part.exists() else 0

    def forget(self) -> None:
        self.part.unlink(missing_ok=True)
        self._tag.unlink(missing_ok=True)

    def attempt(self) -> None:
        """Downloads what is missing. Raises _Broken when the connection ended before the file did."""
        if not self._tag.exists():
            self.forget()
        try:
            with self._ask() as response:
                total = self._begin(response)
                self._receive(response, total)
        except urllib.error.HTTPError as error:
            error.close()
            self._refused(error.code, error.reason)
        except (TimeoutError, urllib.error.URLError, http.client.HTTPException, ConnectionError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise _Broken(str(getattr(reason, "strerror", None) or reason or type(reason).__name__)[:200]) from None

    def _ask(self) -> Any:
        headers = {"User-Agent": f"freehold/{freehold.__version__}", "Accept-Encoding": "identity"}
        if here := self.here:
            headers |= {"Range": f"bytes={here}-", "If-Range": self._tag.read_text(encoding="ascii")}
        request = urllib.request.Request(self._source.url, headers=headers)  # noqa: S310 - the scheme was checked
        return urllib.request.build_opener(_Redirects(self._source.url)).open(request, timeout=_SILENCE)

    def _begin(self, response: Any) -> int:
        """Decides whether the answer goes on or begins anew; the file's whole size in bytes."""
        if response.headers.get("Content-Encoding", "identity") != "identity":
            raise SourceUnreachable(
                f"{self.host} sends the file in an encoding that was not asked for.", "Use another address."
            )
        length, here, etag = _length(response.headers.get("Content-Length")), self.here, response.headers.get("ETag", "")
        if length is None:
            raise SourceUnreachable(f"{self.host} does not say how large the file is.", "Use another address.")
        if response.status == 206:
            begins, total = _range(response.headers.get("Content-Range", ""))
            if begins != here or total != here + length or etag != self._tag.read_text(encoding="ascii"):
                self.forget()
                raise _Broken("the file changed there")
            return total
        self.forget()
        if etag.startswith('"') and etag.isascii():  # a weak one does not vouch for bytes
            self._tag.write_text(etag, encoding="ascii")
        return length

    def _receive(self, response: Any, total: int) -> None:
        here = self.here
        disk.require(disk.free_bytes(self.part.parent), total - here)
        meter = Meter(self._report, "download", total)
        meter.at(here)
        with disk.translated():
            sink = self.part.open("ab", buffering=0)
        with sink:
            while here < total:
                piece = response.read1(min(_CHUNK, total - here))
                if not piece:
                    raise _Broken("the connection was closed")
                with disk.translated():
                    sink.write(piece)
                here += len(piece)
                meter.at(here)
        self.complete = True

    def _refused(self, status: int, reason: str) -> None:
        if status == 416:  # the bytes that are here end beyond the file that is there now
            self.forget()
            raise _Broken("the file changed there")
        if status == 429 or status >= 500:
            raise _Broken(f"{status} {reason}")
        raise SourceUnreachable(f"{self.host} answers {status} {reason}.", "Check the address.")


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirects to addresses that might have been given in the first place, and never from https to http."""

    max_redirections = 5

    def __init__(self, origin: str):
        self._secure = urlsplit(origin).scheme == "https"

    def redirect_request(  # noqa: PLR0917 - the library's signature
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Message, newurl: str
    ) -> urllib.request.Request | None:
        parts = _check(newurl)
        if self._secure and parts.scheme != "https":
            raise SourceUnreachable("The address redirects to one that is not https.", "Use another address.")
        return super().redirect_request(req, fp, code, msg, headers, newurl)  # type: ignore[arg-type]


def _check(url: str) -> SplitResult:
    """Raises StoreError unless the address is https, or http to this machine, and holds no password."""
    remedy = "It looks like https://example.com/model.gguf."
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise StoreError("This is not an address.", remedy) from None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise StoreError("This is not an address.", remedy)
    if parts.username is not None or parts.password is not None:
        raise StoreError("An address with a password in it is not used.", "Use one without.")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_this_machine(host)):
        raise StoreError("Models are downloaded over https only.", remedy)
    return parts


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _length(text: str | None) -> int | None:
    return int(text) if text is not None and re.fullmatch(r"[0-9]{1,15}", text) else None


def _range(text: str) -> tuple[int, int]:
    """First byte and whole size in a Content-Range; (-1, -1) when it says neither."""
    found = re.fullmatch(r"bytes ([0-9]{1,15})-[0-9]{1,15}/([0-9]{1,15})", text)
    return (int(found[1]), int(found[2])) if found else (-1, -1)
