"""What a llama.cpp worker is told, whatever build runs it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

# How far the engine guesses ahead by itself, under its own names: the tokens that must match what was there before, and those
# that are guessed at most (for one kind, at least, too). Its defaults guess 48 and 64: where a guess fails, all of them were
# read for nothing. Half as many keep almost all of the gain (docs/tuning.md).
GUESSES: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "ngram-simple": MappingProxyType({"size_n": 12, "size_m": 24}),
        "ngram-mod": MappingProxyType({"n_match": 16, "n_min": 4, "n_max": 32}),
    }
)


@dataclass(frozen=True)
class LlamaConfig:
    """What the engine is told. `plan` is the plan of freehold.hardware.plan as a table, its planner's own fields apart.

    Of the build that runs it: `program` is the llama-server of a native one, `site` the folder that another wheel was installed
    to, `folder` where either lies; all None for the build of the default install.
    `kept` is the folder for the KV cache of slots that are to be saved.
    """

    name: str
    socket: str
    weights: str
    task: str
    plan: Mapping[str, Any]
    sandbox: str = "auto"
    chat_template: str | None = None
    projector: str | None = None
    draft: str | None = None
    adapter: str | None = None
    program: str | None = None
    site: str | None = None
    folder: str | None = None
    memory_limit_mib: int = 0
    kept: str | None = None

    @property
    def warmup(self) -> bool:
        """Whether the engine makes a trial run of its own. The supervisor's first question is one, and does not clear the whole
        KV cache a second time; but only the engine's reserves a projector's memory at the load."""
        return self.projector is not None

    @property
    def pools(self) -> bool:
        """Whether it makes one vector or one score of a text."""
        return self.task in ("embedding", "rerank")

    @property
    def pooled_batch(self) -> int:
        """Tokens of a batch, logical and physical, of a model that makes one vector of a text: outputs are kept for a logical
        one. Pooling sees all tokens of a text at once, but where the last token's vector is taken: for that the engine waits
        (can_split in server-context.cpp)."""
        batch: int = self.plan["knobs"]["ubatch"] if self.plan["splits"] else max(512, self.plan["context"])
        return batch

    @property
    def gpu_layers(self) -> int:
        """As the engine counts them: to it the output is a block like others, the last one. Without it the first block of a
        model that is to lie on the GPU as a whole would stay on the host."""
        planned: int = self.plan["gpu_layers"]
        return planned + 1 if planned else 0
