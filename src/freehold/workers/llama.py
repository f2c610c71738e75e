"""The llama.cpp worker: one model, served by llama.cpp's own HTTP server on a unix socket.

    python -m freehold.workers.llama --parent PID --config JSON

The token loop, the batching and the HTTP are C++; Python only fills in the parameters and waits. The first line on stdout
says how the worker is confined; what the engine logs goes to stdout and stderr.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from freehold.workers.confine import Confinement, die_with_parent, first_to_go, leave_the_network, no_core_dumps


@dataclass(frozen=True)
class LlamaConfig:
    """What the engine is told. `context` is tokens a slot; `threads` are for generation and prompts alike."""

    name: str
    socket: str
    weights: str
    task: str
    slots: int
    context: int
    threads: int
    sandbox: str = "auto"
    chat_template: str | None = None


def main() -> None:
    parser = argparse.ArgumentParser(prog="freehold.workers.llama")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--config", required=True)
    arguments = parser.parse_args()
    config = LlamaConfig(**json.loads(arguments.config))

    first_to_go()
    # The namespace must come before the first thread, so before the watch on stdin.
    confinement = Confinement("shared", "switched off") if config.sandbox == "off" else leave_the_network()
    no_core_dumps()
    die_with_parent(arguments.parent)
    print(json.dumps({"confinement": asdict(confinement)}), flush=True)  # noqa: T201
    if config.sandbox == "require" and confinement.network != "none":
        sys.exit(f"the sandbox is required, and this system refuses it: {confinement.reason}")
    serve(config)


def serve(config: LlamaConfig) -> None:
    """Loads the model and serves it until a signal ends the process."""
    import xllamacpp

    Path(config.socket).unlink(missing_ok=True)  # a stale socket file makes the bind fail
    params = xllamacpp.CommonParams()
    params.model.path = config.weights
    params.model_alias = {config.name}
    params.hostnames = [config.socket]
    params.port = 0
    params.ui = False
    params.endpoint_slots = False
    params.verbosity = 2
    params.n_parallel = config.slots
    params.n_ctx = config.context * config.slots
    # A stream holds a thread of the HTTP pool from first to last byte; the spare ones answer health checks.
    params.n_threads_http = config.slots * 2 + 4
    for threads in (params.cpuparams, params.cpuparams_batch):
        threads.n_threads = config.threads
        threads.poll = 0  # waiting threads sleep: spinning ones lose whole time slices once another process wants a core
    params.prefill_assistant = False
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.fit_params = False  # what was planned is what is loaded: no silent change of the context
    if config.chat_template:
        params.chat_template = Path(config.chat_template).read_text(encoding="utf-8")
    if config.task == "embedding":
        params.embedding = True
        # A text must fit one physical batch: pooling sees all its tokens at once.
        params.n_batch = params.n_ubatch = max(512, config.context)
    try:
        server = xllamacpp.Server(params)
    except RuntimeError:
        sys.exit("the engine did not start; its own lines above say why")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server


if __name__ == "__main__":
    main()
