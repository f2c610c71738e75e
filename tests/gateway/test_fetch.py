"""Images that are fetched: from public addresses alone, within limits of bytes and time, whatever a stranger's server does.

The resolver and the connection are the test's, so that names have public addresses and the servers behind them are local ones.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from freehold.errors import FreeholdError
from freehold.gateway.seeing import seen
from freehold.gateway.web.answer import NotFetched, TooLarge
from freehold.gateway.web.fetch import Fetcher, Place, Streams
from freehold.gateway.web.resolve import Resolver
from freehold.protocol.images import Image
from freehold.settings import ImageSettings
from tests.zoo.pictures import picture, png_that_claims, uri

PUBLIC = "93.184.216.34"
UNREACHABLE = "The image's address cannot be reached from here."
MOST = 100_000
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@dataclass
class World:
    """Names with their addresses, and one server behind every public one. What was connected to, and asked, is kept."""

    names: dict[str, list[list[str]]] = field(default_factory=dict)  # the answers to one lookup after the other
    connected: list[tuple[str, str, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    port: int = 0
    tls: ssl.SSLContext | None = None

    def fetcher(self, *hosts: str) -> Fetcher:
        return Fetcher(hosts, resolve=self.resolve, dial=self.dial, tls=lambda: self.tls or ssl.create_default_context())

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        answers = self.names.get(host, [[PUBLIC]])
        addresses = answers.pop(0) if len(answers) > 1 else answers[0]
        if not addresses:
            raise OSError("no address")
        return addresses

    async def dial(self, place: Place, address: str) -> Streams:
        self.connected.append((place.host, address, place.port))
        name = place.host if place.tls else None
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=place.tls, server_hostname=name)


@contextlib.asynccontextmanager
async def world(answer: bytes | Serve, tls: ssl.SSLContext | None = None) -> AsyncIterator[World]:
    """A server that gives this answer to whatever it is asked, or does what it is told."""
    made = World()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            made.asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
            if isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(reader, writer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made
        server.close()


def ok(body: bytes, *more: str) -> bytes:
    lines = ["HTTP/1.1 200 OK", f"Content-Length: {len(body)}", *more]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def to(location: str, status: int = 302) -> bytes:
    return f"HTTP/1.1 {status} Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode()


async def refusal(fetcher: Fetcher, url: str) -> str:
    with pytest.raises(NotFetched) as caught:
        async with asyncio.timeout(10):
            await fetcher.fetch(url, MOST)
    return str(caught.value)


async def test_a_public_picture_is_fetched_and_nothing_of_this_server_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with world(ok(b"bytes", "Set-Cookie: a=b")) as there:
        fetcher = there.fetcher()
        for _ in range(2):
            assert await fetcher.fetch("http://example.com/a%20b.png?c=d#e", MOST) == b"bytes"
    assert there.connected == [("example.com", PUBLIC, 80)] * 2
    head, *lines = there.asked[1].strip().split("\r\n")
    assert head == "GET /a%20b.png?c=d HTTP/1.1"
    assert {line.partition(":")[0] for line in lines} == {"Host", "User-Agent", "Accept", "Accept-Encoding", "Connection"}
    assert "Host: example.com" in lines


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nbyt\r\n2\r\nes\r\n0\r\nX-Trailer: 1\r\n\r\n",
        b"HTTP/1.0 200 OK\r\n\r\nbytes",
        b"HTTP/1.1 103 Early Hints\r\nContent-Length: 900000\r\n\r\n" + ok(b"bytes"),
        ok(b"bytes") + b"and more that nobody asked for",
        ok(b"bytes") + to("/elsewhere"),
    ],
)
async def test_whatever_frames_a_body_it_is_the_same(answer: bytes) -> None:
    async with world(answer) as there:
        assert await there.fetcher().fetch("http://example.com/", MOST) == b"bytes"


INSIDE = (
    *("127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
    *("100.127.255.255", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.255.255.255"),
    *("240.0.0.1", "255.255.255.255", "192.88.99.1", "::", "::1", "::127.0.0.1", "::ffff:127.0.0.1", "::ffff:10.0.0.1"),
    *("::ffff:169.254.169.254", "::ffff:0:127.0.0.1", "64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b:1::1"),
    *("fc00::1", "fd00:ec2::254", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2001:db8::1", "2002:7f00:1::"),
    *("2002:a9fe:a9fe::", "2001:0:4136:e378:8000:63bf:80ff:fffe", "100::1", "not an address"),
)


@pytest.mark.parametrize("address", INSIDE)
async def test_an_address_that_is_not_public_is_not_connected_to(address: str) -> None:
    async with world(ok(b"secret")) as there:
        there.names = {"inside.example": [[address]], "both.example": [[PUBLIC, address]], "again.example": [[address, PUBLIC]]}
        for name in there.names:
            assert await refusal(there.fetcher(), f"http://{name}/") == UNREACHABLE
    assert there.connected == []


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "localhost", "localhost.", "LOCALHOST"),
        *("[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::7f00:1]", "169.254.169.254", "2852039166"),
        *("0251.0376.0251.0376", "ip6-localhost", "nowhere.invalid", "nowhere.local"),
    ],
)
async def test_no_way_to_write_this_machine_leads_to_it(host: str) -> None:
    """By the system's own resolver."""
    async with world(ok(b"secret")) as there:
        fetcher = Fetcher(resolve=Resolver(), dial=there.dial)
        assert await refusal(fetcher, f"http://{host}/") == UNREACHABLE
    assert there.connected == []


@pytest.mark.parametrize(
    "url",
    [
        *("http://", "http:///x", "http://user:pass@example.com/", "http://user@example.com/", "ftp://example.com/"),
        *("http://exa mple.com/", "http://example.com/\r\nX: y", "http://example.com/\\..", "http://bücher.example/"),
        *("http://example.com:99999/", "http://example.com:22/", "http://[::1/", "http://-example.com/", "http://a%62/"),
        *("http://example.com/" + "a" * 9000, "http://[fe80::1%25eth0]/", "https://example.com:8443/", "http://a;b/"),
    ],
)
async def test_what_is_no_plain_address_is_not_even_looked_up(url: str) -> None:
    async with world(ok(b"bytes")) as there:
        assert "address" in (await refusal(there.fetcher(), url)) or "ports" in (await refusal(there.fetcher(), url))
    assert there.connected == []


async def test_a_name_is_looked_up_once_for_each_request_it_gets() -> None:
    """So one that stands for another address a moment later (DNS rebinding) is connected to as it was checked."""
    async with world(ok(b"bytes")) as there:
        there.names = {"rebinds.example": [[PUBLIC], ["127.0.0.1"]]}
        assert await there.fetcher().fetch("http://rebinds.example/", MOST) == b"bytes"
        assert await refusal(there.fetcher(), "http://rebinds.example/") == UNREACHABLE
    assert there.connected == [("rebinds.example", PUBLIC, 80)]


async def test_a_public_redirect_is_followed_and_looked_up_anew() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(to("//other.example/b.png", 307) if "/a.png" in there.asked[-1] else ok(b"bytes"))

    async with world(serve) as there:
        there.names = {"other.example": [["2606:4700::1111"]]}
        assert await there.fetcher().fetch("http://example.com/a.png", MOST) == b"bytes"
    assert there.connected == [("example.com", PUBLIC, 80), ("other.example", "2606:4700::1111", 80)]


@pytest.mark.parametrize(
    ("location", "said"),
    [
        ("http://inside.example/", UNREACHABLE),
        ("http://169.254.169.254/latest/meta-data", UNREACHABLE),
        ("http://[::ffff:127.0.0.1]/", UNREACHABLE),
        ("http://example.com:6379/", "ports 80 and 443"),
        ("file:///etc/passwd", "not one of http"),
        ("gopher://example.com/", "not one of http"),
        ("gopher://example.com:80/", "not one of http"),
        ("http://user:pass@example.com/", "password"),
        ("/again", "too often"),
        ("", "too often"),
        ("http://example.com/\u00e9", "not one"),
    ],
)
async def test_no_redirect_leads_where_an_address_may_not(location: str, said: str) -> None:
    async with world(to(location)) as there:
        there.names = {"inside.example": [["10.0.0.1"]], "169.254.169.254": [["169.254.169.254"]]}
        there.names["::ffff:127.0.0.1"] = [["::ffff:127.0.0.1"]]
        assert said in await refusal(there.fetcher(), "http://example.com/")
    assert {address for _, address, _ in there.connected} == {PUBLIC}
    assert len(there.connected) <= 4


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nroot:x:0:", "status 404"),
        (b"HTTP/1.1 206 Partial Content\r\nContent-Length: 1\r\n\r\nx", "status 206"),
        (ok(b"bytes", "Content-Encoding: gzip"), "encoding"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", UNREACHABLE),
        (b"", UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nshort", UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nbytes", UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nby", UNREACHABLE),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nX: " + b"a" * 200_000, "more than 100,000 bytes"),
        (b"HTTP/1.1 103 Early Hints\r\n\r\n" * 10_000, "more than 100,000 bytes"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n", "more than 100,000 bytes"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 300_000, "more than 100,000 bytes"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + b"3e8;\r\n" + b"x" * 1000 + b"\r\n", UNREACHABLE),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + (b"1;" + b"e" * 90 + b"\r\nx\r\n") * 9000, "more than"),
    ],
)
async def test_what_a_server_answers_is_not_repeated(answer: bytes, said: str) -> None:
    async with world(answer) as there:
        told = await refusal(there.fetcher(), "http://example.com/")
    assert said in told
    assert "root" not in told
    assert "SSH" not in told


async def test_a_body_without_end_is_left_at_its_limit() -> None:
    sent = 0

    async def flood(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        while True:
            writer.write(b"x" * 10_000)
            sent += 10_000
            await writer.drain()

    async with world(flood) as there:
        with pytest.raises(TooLarge):
            await there.fetcher().fetch("http://example.com/", MOST)
        await asyncio.sleep(0)
        assert sent < 100 * MOST  # what the system's buffers took beside


async def test_the_hosts_that_are_named_are_all_that_are_asked() -> None:
    async with world(ok(b"bytes")) as there:
        there.names = {"listed.example": [["10.0.0.1"]]}
        fetcher = there.fetcher("Example.com", "*.cdn.example:8080", "listed.example")
        for url in ("http://example.com/", "http://EXAMPLE.com./", "http://a.b.cdn.example:8080/"):
            assert await fetcher.fetch(url, MOST) == b"bytes"
        for url in (
            *("http://example.com:8080/", "http://www.example.com/", "http://cdn.example:8080/", "http://a.cdn.example/"),
            *("http://evilexample.com/", "http://xcdn.example:8080/", "http://example.com.evil.example/"),
        ):
            assert "images.hosts" in await refusal(fetcher, url)
        assert await refusal(fetcher, "http://listed.example/") == UNREACHABLE
    assert len(there.connected) == 3


async def test_a_name_that_is_looked_up_for_ever_holds_up_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    known, hang = socket.getaddrinfo, threading.Event()

    def slow(host: str, *args: Any, **options: Any) -> Any:
        if host == "hangs.example":
            hang.wait(30)
        return known(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    resolver = Resolver()
    try:
        for _ in range(8):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(resolver("hangs.example", 80), 0.05)
        assert await asyncio.wait_for(resolver("localhost", 80), 10)
        assert await asyncio.wait_for(asyncio.to_thread(lambda: 1), 10) == 1
    finally:
        hang.set()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="makes its certificate with openssl")
async def test_certificates_are_verified(tmp_path: Path) -> None:
    words = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=example.com -addext subjectAltName=DNS:example.com"
    keys = ["-keyout", str(tmp_path / "key"), "-out", str(tmp_path / "cert")]
    subprocess.run([*words.split(), *keys], check=True, capture_output=True)
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    own.load_cert_chain(tmp_path / "cert", tmp_path / "key")
    async with world(ok(b"bytes"), own) as there:
        assert await refusal(there.fetcher(), "https://example.com/") == UNREACHABLE  # nobody vouches for it
        there.tls = ssl.create_default_context(cafile=str(tmp_path / "cert"))
        assert await there.fetcher().fetch("https://example.com/", MOST) == b"bytes"
        assert await refusal(there.fetcher(), "https://other.example/") == UNREACHABLE
        assert await refusal(there.fetcher(), "https://93.184.216.34/") == UNREACHABLE
    async with world(to("http://example.com/"), own) as there:
        there.tls = ssl.create_default_context(cafile=str(tmp_path / "cert"))
        assert "not https" in await refusal(there.fetcher(), "https://example.com/")


# --- the images of a request


def services(there: World, fetches: int = 8, most: int = 2**20, **fields: Any) -> Any:
    settings = SimpleNamespace(images=ImageSettings(fetch=True, **fields), max_body_bytes=most)
    return SimpleNamespace(settings=settings, fetcher=there.fetcher(), fetches=asyncio.Semaphore(fetches))


def images(*urls: str) -> list[Image]:
    return [Image(f"images[{place}]", url) for place, url in enumerate(urls)]


async def unseen(given: Any, *urls: str) -> FreeholdError:
    with pytest.raises(FreeholdError) as caught:
        await seen(given, images(*urls))
    return caught.value


async def test_each_address_of_a_request_is_fetched_once() -> None:
    async with world(ok(picture("red"), "Content-Type: text/html")) as there:
        found = await seen(
            services(there), images("http://a.example/", uri(picture("blue")), "HTTP://b.example/", "http://a.example/")
        )
    assert found == {"http://a.example/": uri(picture("red")), "HTTP://b.example/": uri(picture("red"))}
    assert sorted(host for host, _, _ in there.connected) == ["a.example", "b.example"]


async def test_what_was_fetched_is_checked_like_what_was_sent() -> None:
    for body, code in (
        (b"<html>", "invalid_image_format"),
        (b"", "empty_image_file"),
        (png_that_claims(60_000, 60_000), "image_too_large"),
        (b"x" * 3000, "image_file_too_large"),
    ):
        async with world(ok(body)) as there:
            error = await unseen(services(there, bytes=2000), uri(picture()), "http://a.example/")
        assert (error.status, error.code, getattr(error, "param", None)) == (400, code, "images[1]")


async def test_too_many_images_are_refused_before_one_is_fetched() -> None:
    async with world(ok(picture())) as there:
        error = await unseen(services(there, count=2), *(f"http://a.example/{number}" for number in range(3)))
    assert error.code == "too_many_images"
    assert there.connected == []


async def test_images_together_are_no_more_than_a_body_may_be() -> None:
    async with world(ok(picture(size=(64, 64)))) as there:
        given = services(there, most=len(picture(size=(64, 64))) + 10)
        assert len(await seen(given, images("http://a.example/"))) == 1
        error = await unseen(given, "http://a.example/", "http://b.example/")
    assert (error.code, "max_body_bytes" in error.message) == ("image_file_too_large", True)


async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    while True:
        writer.write(b"x")
        await writer.drain()
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("serve", [silent, drip])
async def test_a_slow_server_is_left_in_time_and_its_connection_closed(serve: Serve) -> None:
    left = asyncio.Event()

    async def watched(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await serve(reader, writer)
        finally:
            left.set()

    async with world(watched) as there:
        while not there.asked:  # the time that it has includes the way there
            error = await unseen(services(there, fetch_timeout=0.3), "http://a.example/")
            assert (error.status, error.code, "images.fetch_timeout" in error.message) == (400, "invalid_image_url", True)
        await asyncio.wait_for(left.wait(), 10)


async def test_who_waits_for_others_fetches_is_told_to_come_back() -> None:
    async with world(silent) as there:
        given = services(there, fetches=1, fetch_timeout=0.3)
        first = asyncio.create_task(unseen(given, "http://a.example/"))
        while not (there.asked or first.done()):
            await asyncio.sleep(0.01)
        second = await unseen(given, "http://b.example/")
        assert {(await first).status, second.status} <= {400, 503}
        assert second.retry_after is not None or second.status == 400
        assert not given.fetches.locked()


async def test_one_failure_ends_the_other_fetches() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if "bad.example" in there.asked[-1]:
            writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        else:
            await reader.read()

    async with world(serve) as there:
        given = services(there, fetch_timeout=60)
        error = await unseen(given, "http://good.example/", "http://bad.example/")
        assert (error.code, getattr(error, "param", None)) == ("invalid_image_url", "images[1]")
        assert "404" in error.message
        assert not given.fetches.locked()
