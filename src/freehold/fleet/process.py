"""One child process, from spawn to reaping: its log, its death, and the death of everything it started."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import json
import os
import signal
from collections.abc import Mapping
from pathlib import Path

from freehold.fleet.endings import telling
from freehold.fleet.engines import Launch
from freehold.fleet.vitals import oom_kills

_LOG_LINES = 60
_LINE_LIMIT = 2**16


class Process:
    """A running child in a process group of its own. Its stdin is a pipe that closes with this process, so it dies too."""

    def __init__(self, child: asyncio.subprocess.Process, launch: Launch, socket: Path):
        self._child = child
        self._launch = launch
        self.socket = socket
        self.pid = child.pid
        self.oom_kills_before = oom_kills()
        self.confinement: Mapping[str, str | None] = {"network": "shared", "reason": "the worker did not say"}
        self._lines: collections.deque[str] = collections.deque(maxlen=_LOG_LINES)
        self._pump = asyncio.create_task(self._read_log(), name=f"log of {child.pid}")

    @classmethod
    async def spawn(cls, launch: Launch, socket: Path) -> Process:
        """Starts the child. Raises OSError when the program cannot be executed."""
        child = await asyncio.create_subprocess_exec(
            *launch.argv,
            env=dict(launch.env),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            start_new_session=True,
            limit=_LINE_LIMIT,
        )
        return cls(child, launch, socket)

    async def exited(self) -> int:
        """Waits for the end and returns the exit status, or minus the number of the signal that killed it."""
        return await self._child.wait()

    @property
    def log(self) -> list[str]:
        """The last lines of what it said."""
        return list(self._lines)

    @property
    def alive(self) -> bool:
        return self._child.returncode is None

    def last_words(self, lines: int = 4) -> str:
        """The last telling lines of the engine's log, one line, without what is private to this machine."""
        text = "; ".join(telling(self._lines)[-lines:])
        for secret, shown in self._launch.private:
            text = text.replace(secret, shown)
        return text[:600]

    async def stop(self, grace: float) -> None:
        """SIGTERM, then after `grace` seconds SIGKILL, to the whole group; returns when it is reaped and its socket gone."""
        if self.alive:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):  # not wait_for, which loses a cancellation that comes with the result
                    await self._child.wait()
        self._signal(signal.SIGKILL)  # also what the child itself left running
        await self._child.wait()
        if self._child.stdin is not None:
            self._child.stdin.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1.0):
                await self._pump
        self.socket.unlink(missing_ok=True)

    def _signal(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, number)

    async def _read_log(self) -> None:
        stream = self._child.stdout
        if stream is None:
            return
        while True:
            try:
                line = await stream.readline()
            except ValueError:  # a line over the limit: drop it, go on
                continue
            if not line:
                return
            self._note(line.decode("utf-8", "replace").rstrip())

    def _note(self, line: str) -> None:
        if line.startswith('{"confinement":'):
            with contextlib.suppress(ValueError, KeyError, TypeError):
                self.confinement = dict(json.loads(line)["confinement"])
                return
        self._lines.append(line)
