"""The worker that draws with diffusers: one pipeline, loaded from safetensors alone.

ENVIRONMENT/bin/python -I start.py freehold.workers.images --parent PID --config JSON
"""

from __future__ import annotations

import fcntl
import os
import sys
import warnings
from pathlib import Path

from freehold.workers.serve import WorkerConfig, begin, serve


def main() -> None:
    config = begin("freehold.workers.images")
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "TOKENIZERS_PARALLELISM": "false"}
    if config.environment is not None:
        hold(Path(config.environment))
    warnings.filterwarnings("ignore")  # of libraries, about their own future
    run(config)


def run(config: WorkerConfig) -> None:
    """Loads the model and serves it. The libraries are imported after the process is confined."""
    from freehold.workers.images.draw import Painter
    from freehold.workers.images.folder import Unfit
    from freehold.workers.images.pipeline import Pipeline
    from freehold.workers.images.server import Server

    if config.folder is None:
        sys.exit("the model has no files")
    try:
        model = Pipeline(Path(config.folder), config.place, config.options, config.threads)
    except Unfit as error:
        sys.exit(f"the model is not loaded: {error}")
    server = Server(Painter(model))
    serve(config, server.routes(), server.ready)


def hold(folder: Path) -> None:
    """Holds a shared lock on the environment for as long as this process lives: it is not removed under it."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    os.set_inheritable(handle, False)
    fcntl.flock(handle, fcntl.LOCK_SH)


if __name__ == "__main__":
    main()
