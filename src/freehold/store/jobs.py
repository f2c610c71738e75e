"""A pull in a process of its own, seen from the one that wants it: its progress, its end, its early end."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from freehold.errors import StoreError
from freehold.store.progress import Progress
from freehold.store.wire import Installed, Message, decode

_GRACE = 5.0  # seconds to tidy up, before the end is forced
_LONGEST_LINE = 1 << 16


class PullJob:
    """One pull of `reference` into a data folder, run once. `progress` is how far it is, None before it says so."""

    def __init__(
        self,
        data_dir: Path,
        reference: str,
        *,
        name: str | None = None,
        sha256: str | None = None,
        registry: str | None = None,
        projector: str | None = None,
    ):
        self.name = name
        self.progress: Progress | None = None
        options = [f"--data-dir={data_dir}"]
        options += [f"--name={name}"] if name is not None else []
        options += [f"--sha256={sha256}"] if sha256 is not None else []
        options += [f"--registry={registry}"] if registry is not None else []
        options += [f"--projector={projector}"] if projector is not None else []
        self._command = (sys.executable, "-P", "-m", "freehold.store", "pull", *options, "--", reference)

    def describe(self) -> str:
        """How far it is, for a sentence."""
        return self.progress.describe() if self.progress else "its download has not begun"

    async def run(self) -> str:
        """The installed model's name. Raises StoreError and its kinds. Cancelled, it ends the child and what that began."""
        last: Message | None = None
        async with _child(self._command) as process:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            async for line in process.stdout:
                message = decode(line.decode("utf-8", "replace"))
                if isinstance(message, Progress):
                    self.progress = message
                elif message is not None:
                    last = message
            await process.wait()
        if isinstance(last, Installed):
            return last.name
        if isinstance(last, StoreError):
            raise last
        raise StoreError("The pull ended without a reason.", "Try again; memory may have been short.")


@contextlib.asynccontextmanager
async def _child(command: tuple[str, ...]) -> AsyncIterator[asyncio.subprocess.Process]:
    """A child in a process group of its own, gone with all it started when the block is left."""
    process = await asyncio.create_subprocess_exec(
        *command,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
        limit=_LONGEST_LINE,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        await _ended(process)


async def _ended(process: asyncio.subprocess.Process) -> None:
    """Ends the child if it still runs: asks, then kills. A second cancellation does not leave it behind."""
    with contextlib.suppress(ProcessLookupError):
        if process.returncode is None:
            process.terminate()
            with contextlib.suppress(asyncio.TimeoutError):
                async with asyncio.timeout(_GRACE):
                    await process.wait()
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()
