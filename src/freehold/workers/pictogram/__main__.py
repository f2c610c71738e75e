"""The worker that draws pictograms.

python -m freehold.workers.pictogram --parent PID --config JSON
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from freehold.workers.serve import WorkerConfig, begin, serve


def main() -> None:
    config = begin("freehold.workers.pictogram")
    os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"), "1")
    run(config)


def run(config: WorkerConfig) -> None:
    """Loads the model and serves it. numpy is imported after the process is confined; a picture is one thread's work."""
    from freehold.workers.images.server import Server
    from freehold.workers.pictogram.artist import Pictograms
    from freehold.workers.pictogram.code import Code
    from freehold.workers.pictogram.network import Network
    from freehold.workers.pictogram.weights import Unfit, load
    from freehold.workers.pictogram.words import Reader

    if "weights" not in config.files or "encoder" not in config.files:
        sys.exit("the model lacks its weights or its text model")
    try:
        weights = load(Path(config.files["weights"]))
        network, code = Network(weights), Code(weights)
        reader = Reader(Path(config.files["encoder"]), f"{config.socket.removesuffix('.sock')}-text.sock", config.threads)
    except Unfit as error:
        sys.exit(f"the model is not loaded: {error}")
    server = Server(Pictograms(network, code, reader, config.options, config.threads))
    serve(config, server.routes(), server.ready)


if __name__ == "__main__":
    main()
