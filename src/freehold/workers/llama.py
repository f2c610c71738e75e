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
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from freehold.workers import native
from freehold.workers.config import GUESSES, LlamaConfig
from freehold.workers.confine import bound_memory, confine, hold

_LAST_WORDS = 0.3  # seconds for the engine's log, which a thread writes that nobody can wait for; it knows the reason
_FLASH_ATTENTION: Mapping[str, str] = MappingProxyType(
    {
        "auto": "LLAMA_FLASH_ATTN_TYPE_AUTO",
        "on": "LLAMA_FLASH_ATTN_TYPE_ENABLED",
        "off": "LLAMA_FLASH_ATTN_TYPE_DISABLED",
    }
)
_SPECULATIVE: Mapping[str, str] = MappingProxyType(
    {
        "draft": "COMMON_SPECULATIVE_TYPE_DRAFT_SIMPLE",
        "ngram-simple": "COMMON_SPECULATIVE_TYPE_NGRAM_SIMPLE",
        "ngram-mod": "COMMON_SPECULATIVE_TYPE_NGRAM_MOD",
    }
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="freehold.workers.llama")
    parser.add_argument("--parent", type=int, required=True)
    parser.add_argument("--config", required=True)
    arguments = parser.parse_args()
    config = LlamaConfig(**json.loads(arguments.config))

    confine(arguments.parent, config.sandbox)
    bound_memory(config.memory_limit_mib)
    if config.folder is not None:
        hold(Path(config.folder))
    Path(config.socket).unlink(missing_ok=True)  # a stale socket file makes the bind fail
    if config.program is not None:
        native.run(config)
    serve(config)


def serve(config: LlamaConfig) -> None:
    """Loads the model and serves it until a signal ends the process."""
    if config.site is not None:
        sys.path.insert(0, config.site)
    import xllamacpp

    if config.site is not None and not Path(xllamacpp.__file__).is_relative_to(config.site):
        sys.exit("the engine build has no xllamacpp in it; install it again")
    params = xllamacpp.CommonParams()
    params.model.path = config.weights
    params.model_alias = {config.name}
    params.hostnames = [config.socket]
    params.port = 0
    params.ui = False
    params.endpoint_slots = config.kept is not None  # how many tokens each holds; neither prompts nor answers
    params.slot_save_path = f"{config.kept}/" if config.kept else ""
    params.verbosity = 2
    # A stream holds a thread of the HTTP pool from first to last byte; the spare ones answer health checks.
    params.n_threads_http = config.plan["slots"] * 2 + 4
    params.endpoint_metrics = True
    params.prefill_assistant = False
    params.cache_idle_slots = False
    params.warmup = config.warmup
    params.fit_params = False  # what was planned is what is loaded: no silent change of the context
    _bring(params, config)
    _follow(params, config)
    try:
        server = xllamacpp.Server(params)
    except RuntimeError:
        time.sleep(_LAST_WORDS)
        sys.exit("the engine did not start; its own lines above say why")
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    del server


def _bring(params: Any, config: LlamaConfig) -> None:
    """Sets the files that come beside the weights."""
    import xllamacpp

    if config.chat_template:
        params.chat_template = Path(config.chat_template).read_text(encoding="utf-8")
    if config.projector:
        params.mmproj.path = config.projector
        # What it cannot decode as an image it would hand to a video player of the machine, if there is one.
        params.video_ffmpeg_bin_dir = "/nonexistent"
    if config.adapter:
        adapter = xllamacpp.CommonAdapterLoraInfo()
        adapter.path, adapter.scale = config.adapter, 1.0
        params.lora_adapters = [adapter]


def _follow(params: Any, config: LlamaConfig) -> None:
    """Sets what the plan says."""
    import xllamacpp

    plan, knobs = config.plan, config.plan["knobs"]
    params.n_parallel = plan["slots"]
    params.n_ctx = plan["context"] * plan["slots"]
    params.cache_type_k = params.cache_type_v = getattr(xllamacpp.ggml_type, f"GGML_TYPE_{plan['kv_type'].upper()}")
    params.cache_ram_mib = plan["prompt_cache_mib"]
    params.n_ctx_checkpoints = plan["checkpoints"]
    params.n_gpu_layers = config.gpu_layers
    if plan["tensor_split"]:
        params.tensor_split = [*plan["tensor_split"], *[0.0] * (len(params.tensor_split) - len(plan["tensor_split"]))]
    if plan["host_expert_layers"]:
        layers = "|".join(map(str, range(plan["host_expert_layers"])))
        params.tensor_buft_overrides = rf"blk\.({layers})\.ffn_(up|down|gate|gate_up)_(ch|)exps=CPU"
    params.n_batch, params.n_ubatch = knobs["batch"], knobs["ubatch"]
    for cpu, threads in ((params.cpuparams, knobs["threads"]), (params.cpuparams_batch, knobs["threads_batch"])):
        cpu.n_threads = threads
        cpu.poll = knobs["poll"]  # 0: waiting threads sleep; spinning ones lose whole time slices once others want a core
    params.flash_attn_type = getattr(xllamacpp.llama_flash_attn_type, _FLASH_ATTENTION[knobs["flash_attention"]])
    if knobs["speculative"] != "none":
        params.speculative.types = [getattr(xllamacpp.common_speculative_type, _SPECULATIVE[knobs["speculative"]])]
        for name, value in GUESSES.get(knobs["speculative"], {}).items():
            setattr(getattr(params.speculative, knobs["speculative"].replace("-", "_")), name, value)
    if config.draft and knobs["speculative"] == "draft":
        params.speculative.draft.mparams.path = config.draft
    if config.pools:
        params.embedding = True
        params.n_batch = params.n_ubatch = config.pooled_batch
    if config.task == "rerank":
        params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK


if __name__ == "__main__":
    main()
