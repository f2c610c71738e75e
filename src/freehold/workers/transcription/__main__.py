"""Runs the worker (freehold.workers.serve)."""

from __future__ import annotations

import asyncio
import ctypes
import sys
from pathlib import Path

from freehold.workers.serve import begin, serve

_M_ARENA_MAX = -8  # glibc's malloc.h; other C libraries pass over it
_LONGEST = 8 * 3600  # seconds of audio in a request


def main() -> None:
    config = begin("freehold.workers.transcription")
    if sys.platform == "linux":
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)  # each thread would keep what it once needed
    from freehold.workers.transcription import families
    from freehold.workers.transcription.http import Endpoints
    from freehold.workers.transcription.recognise import Recogniser

    if config.folder is None:
        sys.exit("the model has no files")
    try:
        model = families.load(Path(config.folder), config.options, config.threads)
    except (ValueError, RuntimeError) as error:
        sys.exit(f"the model cannot be loaded: {error}")
    # One thread a piece, and a piece for each thread, where the engine allows it: pieces need nothing of each other.
    recogniser = Recogniser(model, config.threads)

    async def ready() -> None:
        await asyncio.to_thread(recogniser.warm)

    serve(config, Endpoints(recogniser, float(config.options.get("max_seconds", _LONGEST))).routes, ready)
    recogniser.close()


if __name__ == "__main__":
    main()
