"""A native build of llama.cpp: its own program, llama-server, takes the worker's place and is told the plan by its argv.

The options are those of llama.cpp's common/arg.cpp; they say the same as freehold.workers.llama says to the library.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

from freehold.workers.config import GUESSES, LlamaConfig


def run(config: LlamaConfig) -> NoReturn:
    """Serves the model until a signal ends the process.

    On Linux this process becomes llama-server: what binds it to its parent, and its namespace, hold over the exec. Elsewhere
    the pipe on stdin alone does that, and somebody has to watch it: this process stays, and waits.
    """
    socket = Path(config.socket)
    argv = [str(config.program), *arguments(config, socket.name)]
    os.chdir(socket.parent)  # a relative address: the engine splits --host at commas, and a socket's path has little room
    try:
        if sys.platform == "linux":
            os.execv(argv[0], argv)  # noqa: S606 - becoming that program is what this is for
        child = subprocess.Popen(argv, stdin=subprocess.DEVNULL)
    except OSError as error:
        sys.exit(f"the engine build's program cannot be started ({error.strerror}); make it again: freehold engine build")
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: child.send_signal(number))
    sys.exit(child.wait())


def arguments(config: LlamaConfig, address: str) -> list[str]:
    """The options of llama-server for that model and plan, to listen on the unix socket `address`, which ends in .sock."""
    given = [
        *("--model", config.weights, "--alias", config.name, "--host", address),
        *("--no-ui", "--metrics", "--jinja", "--offline", "--log-verbosity", "2"),
        *("--no-prefill-assistant", "--no-cache-idle-slots", "--no-context-shift", "--fit", "off"),
        *(("--slots", "--slot-save-path", config.kept) if config.kept else ("--no-slots",)),
        "--warmup" if config.warmup else "--no-warmup",
        # A stream holds a thread of the HTTP pool from first to last byte; the spare ones answer health checks.
        *("--threads-http", str(config.plan["slots"] * 2 + 4)),
        *_placed(config),
        *_knobs(config),
    ]
    files = (("--chat-template-file", config.chat_template), ("--mmproj", config.projector), ("--lora", config.adapter))
    for option, path in files:
        given += [option, path] if path else []
    if config.projector:  # as with the library: no player of the machine gets what is no image
        given += ["--video-ffmpeg-dir", "/nonexistent"]
    return given


def _placed(config: LlamaConfig) -> list[str]:
    """Context, slots, and what lies where."""
    plan = config.plan
    given = [
        *("--parallel", str(plan["slots"]), "--ctx-size", str(plan["context"] * plan["slots"])),
        *("--cache-type-k", plan["kv_type"], "--cache-type-v", plan["kv_type"]),
        *("--cache-ram", str(plan["prompt_cache_mib"]), "--n-gpu-layers", str(config.gpu_layers)),
        *("--ctx-checkpoints", str(plan["checkpoints"])),
    ]
    if plan["tensor_split"]:
        given += ["--tensor-split", ",".join(f"{share:g}" for share in plan["tensor_split"])]
    if plan["host_expert_layers"]:
        given += ["--n-cpu-moe", str(plan["host_expert_layers"])]
    return given


def _knobs(config: LlamaConfig) -> list[str]:
    """What changes the speed."""
    knobs = config.plan["knobs"]
    batch, ubatch = knobs["batch"], knobs["ubatch"]
    given = []
    if config.pools:
        batch = ubatch = config.pooled_batch
        given += ["--reranking" if config.task == "rerank" else "--embeddings"]
    given += [
        *("--threads", str(knobs["threads"]), "--threads-batch", str(knobs["threads_batch"])),
        *("--batch-size", str(batch), "--ubatch-size", str(ubatch)),
        *("--poll", str(knobs["poll"]), "--poll-batch", str(knobs["poll"])),
        *("--flash-attn", knobs["flash_attention"]),
    ]
    match knobs["speculative"]:
        case "draft" if config.draft:
            given += ["--spec-type", "draft-simple", "--spec-draft-model", config.draft]
        case "ngram-simple" | "ngram-mod" as name:
            given += ["--spec-type", name]
            for key, value in GUESSES[name].items():
                given += [f"--spec-{name}-{key.replace('_', '-')}", str(value)]
    return given
