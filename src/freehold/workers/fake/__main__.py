"""The fake engine as a program: binds, plays the load, serves until it is killed."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import stat
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from freehold.workers.fake.engine import Engine
from freehold.workers.fake.options import Options, parse


def main() -> None:
    parser = argparse.ArgumentParser(prog="freehold.workers.fake")
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--socket", type=Path, help="unix socket to listen on; a stale one is replaced")
    where.add_argument("--tcp", type=int, help="port of 127.0.0.1 to listen on")
    parser.add_argument("--options", default="{}", help="JSON object, see freehold.workers.fake.options")
    parser.add_argument("--watch-stdin", action="store_true", help="exit when stdin ends")
    arguments = parser.parse_args()
    try:
        options = parse(arguments.options)
    except (ValueError, TypeError) as error:
        parser.error(str(error))

    # The default dispositions end the process at once, without a word.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.signal(signal.SIGTERM, signal.SIG_IGN if options.ignore_sigterm else signal.SIG_DFL)
    if arguments.watch_stdin:
        threading.Thread(target=_exit_with_stdin, name="parent-watch", daemon=True).start()
    confinement = {"network": "shared", "reason": "the fake engine does not leave it"}
    print(json.dumps({"confinement": confinement}), flush=True)  # noqa: T201
    listener = _tcp(arguments.tcp) if arguments.socket is None else _unix(arguments.socket)
    asyncio.Runner(loop_factory=_loop_factory()).run(serve(options, listener))


async def serve(options: Options, listener: socket.socket) -> None:
    """Serves for ever; before `load_delay_s` is over, answers 503 like an engine that loads."""
    engine = Engine(options)
    loop = asyncio.get_running_loop()
    if listener.family == socket.AF_UNIX:
        server = await loop.create_unix_server(engine.connection, sock=listener, backlog=1024)
    else:
        server = await loop.create_server(engine.connection, sock=listener, backlog=1024)
    async with server:
        await asyncio.sleep(options.load_delay_s)
        if _dies_now(options):
            print("fake: loading the model", f"fake: error: {options.last_words}", sep="\n", file=sys.stderr, flush=True)  # noqa: T201
            os._exit(3)
        engine.ready = not options.never_ready
        await server.serve_forever()


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop
    except ImportError:  # not on every platform
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _dies_now(options: Options) -> bool:
    """Whether this start fails: always, or the first `die_at_load_times` starts."""
    if options.counter_file is None:
        return options.die_at_load
    with Path(options.counter_file).open("a+", encoding="ascii") as file:
        file.write("start\n")
        file.flush()
        file.seek(0)
        starts = len(file.readlines())
    return options.die_at_load or starts <= options.die_at_load_times


def _unix(path: Path) -> socket.socket:
    with contextlib.suppress(FileNotFoundError):
        if stat.S_ISSOCK(path.stat().st_mode):
            path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    mask = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(mask)
    return listener


def _tcp(port: int) -> socket.socket:
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    return listener


def _exit_with_stdin() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 1024):
            pass
    os._exit(0)


if __name__ == "__main__":
    main()
