"""A stand-in for llama.cpp that is really compiled: a cmake project whose llama-server answers the smoke test, or fails it."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from freehold.fleet import builds
from tests.cli.parts import Result, environment
from tests.store.parts import only

Member = tuple[tarfile.TarInfo, bytes]

CMAKE = """
cmake_minimum_required(VERSION 3.14)
project(tiny C)
if(NOT GGML_NATIVE OR NOT CMAKE_BUILD_TYPE STREQUAL "Release" OR BUILD_SHARED_LIBS OR LLAMA_OPENSSL OR LLAMA_BUILD_UI)
  message(FATAL_ERROR "configured otherwise")
endif()
add_executable(llama-server server.c)
set_target_properties(llama-server PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/bin)
if(GGML_CUDA)
  execute_process(COMMAND ${CMAKE_CUDA_COMPILER} --version COMMAND_ERROR_IS_FATAL ANY)
  target_compile_definitions(llama-server PRIVATE DEVICE="CUDA0")
endif()
if(NOT "$ENV{TINY_TRACE}" STREQUAL "")
  add_custom_command(OUTPUT slow COMMAND echo x >> $ENV{TINY_TRACE} COMMAND touch slow)
  add_custom_command(OUTPUT gate COMMAND sh ${CMAKE_SOURCE_DIR}/gate.sh $ENV{TINY_TRACE}.open COMMAND touch gate DEPENDS slow)
  add_custom_target(waiting DEPENDS gate)
  add_dependencies(llama-server waiting)
endif()
"""

GATE = b'while [ ! -e "$1" ]; do sleep 0.05; done'  # holds a compilation until the test lets it go on

# As much of llama-server as the smoke test and the supervisor ask for: one answer a connection, on a unix socket.
SERVER = r"""
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "fault.h"
#ifndef DEVICE
#define DEVICE "(none)"
#endif
int main(int argc, char **argv) {
    const char *host = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--list-devices")) { printf("Available devices:\n  %s: a GPU\n", DEVICE); return 0; }
        if (!strcmp(argv[i], "--host") && i + 1 < argc) host = argv[i + 1];
    }
    if (FAULT == 1 || !host) { fprintf(stderr, "0.1 E main: error: this engine is broken\n"); return 3; }
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strncpy(address.sun_path, host, sizeof address.sun_path - 1);
    int listener = socket(AF_UNIX, SOCK_STREAM, 0);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) return 4;
    for (;;) {
        static char request[65536];
        int client = accept(listener, 0, 0);
        ssize_t got = 0, more;
        char *end = 0, *length;
        while (!end && (more = read(client, request + got, sizeof request - 1 - got)) > 0) {
            request[got += more] = 0;
            end = strstr(request, "\r\n\r\n");
        }
        length = end ? strstr(request, "Content-Length: ") : 0;
        long whole = length ? end + 4 - request + atol(length + 16) : 0;
        while (got < whole && (more = read(client, request + got, 1024)) > 0) got += more;
        const char *body = "{\"tokens\": [" TOKENS "], \"choices\": []}";
        if (!strncmp(request, "GET /metrics", 12)) body = FAULT == 3 ? "nothing" : "llamacpp:requests 1\n";
        if (!strncmp(request, "GET /metrics", 12) && FAULT == 4) abort();
        dprintf(client, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n%s", strlen(body), body);
        close(client);
    }
}
"""
DEAD, WRONG, NO_METRICS, ABORTS, DOES_NOT_COMPILE = 1, 2, 3, 4, 5

# The command line, with the pinned sources, tools and machine exchanged for what the test has.
_PROGRAM = """
import sys
from pathlib import Path
from freehold.fleet import builds
builds.SOURCES, builds.SOURCES_SHA256 = {requirement!r}, {sha256!r}
if {gpus!r}:
    builds.backends = lambda machine: frozenset({gpus!r})
from freehold.builder import make, tools
from freehold.store import disk
if {lock!r}:
    tools.LOCK = Path({lock!r})
if {free!r} is not None:
    disk.free_bytes = lambda folder: {free!r}
if {largest_file!r}:
    import resource
    resource.setrlimit(resource.RLIMIT_FSIZE, ({largest_file!r}, {largest_file!r}))
from freehold.cli.main import main
main()
"""


def server_files(tokens: list[int], fault: int = 0) -> dict[str, bytes]:
    told = [7, *tokens[1:]] if fault == WRONG else tokens
    header = f'#define FAULT {fault}\n#define TOKENS "{", ".join(map(str, told))}"\n'
    if fault == DOES_NOT_COMPILE:
        header = '#error "this does not compile"\n'
    return {"CMakeLists.txt": CMAKE.encode(), "server.c": SERVER.encode(), "fault.h": header.encode(), "gate.sh": GATE}


def compiled(folder: Path, tokens: list[int], fault: int = 0) -> Path:
    """The stand-in's llama-server, compiled without cmake."""
    (folder / "bin").mkdir(parents=True)
    for name, data in server_files(tokens, fault).items():
        (folder / name).write_bytes(data)
    subprocess.run(["cc", "-o", folder / "bin" / "llama-server", folder / "server.c"], check=True, cwd=folder)
    return folder


@dataclass
class Registry:
    """A package index with the stand-in's source archive, and what the command line is told of it."""

    root: Path
    url: str
    requirement: str = "tiny-engine==1.0"
    sha256: str = ""
    env: dict[str, str] = field(default_factory=dict)

    def publish(
        self, files: Mapping[str, bytes], others: Mapping[str, bytes] | None = None, more: Sequence[Member] = ()
    ) -> None:
        """Puts an archive with these files below vendor/llama.cpp on the index, and pins it."""
        name = self.requirement.replace("-", "_").replace("==", "-")
        inner = {f"{name}/vendor/llama.cpp/{path}": data for path, data in files.items()}
        project = b'[build-system]\nrequires = ["scikit-build-core"]\nbuild-backend = "scikit_build_core.build"\n'
        inner |= {f"{name}/pyproject.toml": project, f"{name}/PKG-INFO": b"", **(others or {})}
        archive = self.root / f"{name}.tar.gz"
        write_tar(archive, [*(tar_file(path, data) for path, data in inner.items()), *more])
        self.sha256 = hashlib.sha256(archive.read_bytes()).hexdigest()
        self.page("tiny-engine", archive)

    def page(self, package: str, *files: Path) -> None:
        page = self.root / "simple" / package / "index.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("".join(f'<a href="/{file.relative_to(self.root)}">{file.name}</a>' for file in files))

    def program(self, **changes: Any) -> list[str]:
        given: dict[str, Any] = {"gpus": (), "lock": "", "free": None, "largest_file": 0} | changes
        return [sys.executable, "-c", _PROGRAM.format(requirement=self.requirement, sha256=self.sha256, **given)]

    def environment(self, home: Path, env: Mapping[str, str] | None = None) -> dict[str, str]:
        told = {"FREEHOLD_DATA_DIR": str(home / "data"), **only(f"{self.url}/simple"), **self.env, **(env or {})}
        return environment(home, told)

    def freehold(self, home: Path, *arguments: str, env: Mapping[str, str] | None = None, **changes: Any) -> Result:
        """Runs `freehold ARGUMENTS` with the stand-in pinned; the data folder is home/data."""
        done = subprocess.run(
            [*self.program(**changes), *arguments],
            check=False,
            env=self.environment(home, env),
            cwd=home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Result(done.returncode, done.stdout, done.stderr)


def tar_file(name: str, data: bytes = b"", **fields: Any) -> Member:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    for key, value in fields.items():
        setattr(member, key, value)
    return member, data


def write_tar(path: Path, members: Sequence[Member]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for member, data in members:
            tar.addfile(member, io.BytesIO(data))
    return path


def names(home: Path) -> list[str]:
    """The builds below home/data, without the prebuilt one."""
    return [build.name for build in builds.installed(builds.folder(home / "data"))][1:]


def processes(word: str) -> Iterator[int]:
    """Processes that have this word in their command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal() and int(entry.name) != os.getpid():
            try:
                line = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if word.encode() in line:
                yield int(entry.name)
