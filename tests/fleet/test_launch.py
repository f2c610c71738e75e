"""What a deployment becomes as a child process, and what is told of it."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

from freehold.fleet.engines import Deployment, launch
from freehold.fleet.process import Process
from freehold.hardware.plan import Plan


async def test_no_part_of_a_model_is_named_with_its_folder(tmp_path: Path) -> None:
    """The engine is given the first part, and finds (or misses) the others by itself."""
    first, second = (tmp_path / f"Big-Q4-{number:05d}-of-00002.gguf" for number in (1, 2))
    deployment = Deployment("m", "chat", "llama.cpp", Plan(context=64, slots=1), "auto", weights=first)
    told = f"print({f'error: loaded {first}, failed to open {second}'!r})"
    given = replace(launch(deployment, tmp_path / "s.sock"), argv=(sys.executable, "-c", told))
    process = await Process.spawn(given, tmp_path / "s.sock")
    async with asyncio.timeout(20):
        await process.exited()
    await process.stop(1.0)  # waits for the log, too
    assert process.last_words() == "error: loaded the model file, failed to open the model file-00002-of-00002.gguf"
