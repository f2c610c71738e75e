"""Runs the worker (freehold.workers.serve)."""

from __future__ import annotations

import sys
from pathlib import Path

from freehold.workers.serve import begin, serve


def main() -> None:
    config = begin("freehold.workers.diarization")
    from freehold.workers.diarization.http import Endpoints
    from freehold.workers.diarization.telling import Task

    named = config.options.get("files")
    if config.folder is None or not isinstance(named, dict) or not {"segmentation", "embedding"} <= named.keys():
        sys.exit("the model lacks its files")
    files = {role: str(Path(config.folder) / str(named[role])) for role in ("segmentation", "embedding")}
    if absent := [role for role, path in files.items() if not Path(path).is_file()]:
        sys.exit(f"the model's {', '.join(absent)} is not there")
    task = Task(
        files["segmentation"],
        files["embedding"],
        threads=config.threads,
        seconds=float(config.options.get("max_seconds", 8 * 3600)),
        threshold=float(config.options.get("threshold", 0.5)),
    )
    endpoints = Endpoints(task)
    serve(config, endpoints.routes, endpoints.ready)


if __name__ == "__main__":
    main()
