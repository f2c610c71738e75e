"""vLLM as an engine that is started here: what its program is told. Its options are those of vllm/entrypoints/cli/serve.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from freehold.errors import StoreError
from freehold.store.manifest import Task

# Nothing is fetched, and nothing told to anybody: the folder has all that there is.
QUIET: Mapping[str, str] = MappingProxyType(
    {
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
    }
)


@dataclass(frozen=True)
class Serve:
    """A model for vLLM: a folder of Hugging Face's form, for what, the tokens of a request (0: as the model says), the requests
    at a time, and arguments of the user's."""

    folder: Path
    name: str
    task: Task
    context: int
    slots: int
    args: tuple[str, ...] = ()


def argv(python: Path, serve: Serve) -> tuple[str, ...]:
    """The program, by an environment's Python; `{socket}` stands for where it listens. Weights that are pickles are not loaded,
    and no code that comes with a model is run, unless the user's arguments say so."""
    return (
        *(str(python), "-I", "-m", "vllm.entrypoints.cli.main", "serve", str(serve.folder)),
        *("--uds", "{socket}", "--served-model-name", serve.name, "--load-format", "safetensors"),
        *("--max-num-seqs", str(serve.slots)),
        *(("--max-model-len", str(serve.context)) if serve.context else ()),
        *(("--runner", "pooling") if serve.task == "embedding" else ()),
        *serve.args,
    )


def environment(home: Path, device: str, path: str) -> dict[str, str]:
    """What it gets besides: the tools of its environment on the PATH, and the GPU that was named for it."""
    gpu = {"CUDA_VISIBLE_DEVICES": device.removeprefix("cuda:")} if device.startswith("cuda:") else {}
    return {**QUIET, "CUDA_DEVICE_ORDER": "PCI_BUS_ID", **gpu, "PATH": f"{home / 'venv' / 'bin'}:{path}"}


def check(folder: Path) -> None:
    """Raises StoreError for a folder that has no model in it that vLLM loads here."""
    if not (folder / "config.json").is_file() or not any(folder.glob("*.safetensors")):
        raise StoreError(
            "Its folder has no model of Hugging Face's form: config.json, and weights in *.safetensors.",
            "Mend the setting `folder`.",
        )
