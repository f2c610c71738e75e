"""How a model is run on this machine: what `fit` decides and `tune` measures, carried to the worker unchanged."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

KvType = Literal["f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0"]
FlashAttention = Literal["auto", "on", "off"]
Speculative = Literal["none", "draft", "ngram-simple", "ngram-mod"]

HOST = "host"
PREBUILT = "prebuilt"


@dataclass(frozen=True)
class Knobs:
    """What changes a model's speed, never its memory by much nor its answers: the field of `freehold tune`.

    `threads` generate, `threads_batch` read prompts; `batch` and `ubatch` are tokens read at once, logically and physically;
    `poll` (0 to 100) is how long waiting threads spin; `build` names the engine's build (`freehold engine list`).
    """

    threads: int = 1
    threads_batch: int = 1
    batch: int = 2048
    ubatch: int = 512
    poll: int = 0
    flash_attention: FlashAttention = "auto"
    speculative: Speculative = "none"
    build: str = PREBUILT


@dataclass(frozen=True)
class Share:
    """Bytes that a model takes on one device ("host", "cuda:0", …). `weights` on the host may be mapped file pages."""

    device: str
    weights: int
    kv: int
    buffers: int

    @property
    def total(self) -> int:
        return self.weights + self.kv + self.buffers


@dataclass(frozen=True)
class Place:
    """Where an engine in Python has its weights: on "cpu" or "cuda:0", "mps"; as `dtype`, torch's name of a number format; with
    `offload` they stay in the host's memory, and come to the GPU part by part when they are used."""

    device: str = "cpu"
    dtype: str = "float32"
    offload: bool = False


@dataclass(frozen=True)
class Plan:
    """A model's place: `context` tokens for each of `slots` requests, their KV cache in `kv_type`, and what lies where.

    `gpu_layers` of the model's blocks are on GPUs, shared out by `tensor_split` (one weight a GPU, empty for a single one); the
    experts of the first `host_expert_layers` blocks stay in the host's memory. `prompt_cache_mib` is the host memory that
    prompts may keep their KV in after they have left their slot; `checkpoints` are the copies that a slot keeps of windows and
    states, so that a prompt which begins like the last one need not be read anew. `memory` sums to what the worker is expected
    to use; `notes` say what was cut from the wish, and why; `tuned` is the day that the knobs were measured on, empty for the
    defaults; `place` is for engines that have no layers to share out. A model that makes one vector of a text and
    `splits` reads the text in physical batches, any other in one.
    """

    context: int
    slots: int
    kv_type: KvType = "f16"
    knobs: Knobs = field(default_factory=Knobs)
    gpu_layers: int = 0
    tensor_split: tuple[float, ...] = ()
    host_expert_layers: int = 0
    prompt_cache_mib: int = 0
    memory: tuple[Share, ...] = ()
    notes: tuple[str, ...] = ()
    tuned: str = ""
    checkpoints: int = 4
    splits: bool = False
    place: Place | None = None

    def on(self, device: str) -> int:
        """Bytes planned on that device."""
        return sum(share.total for share in self.memory if share.device == device)
