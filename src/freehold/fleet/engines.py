"""Kinds of engine: what a deployment becomes as a child process. A worker is anything that speaks OpenAI's API on a socket."""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from freehold.errors import StoreError
from freehold.external import Address
from freehold.fleet import builds, environments, vllm
from freehold.fleet.builds import Build
from freehold.fleet.environments import Environment
from freehold.fleet.remote import UNTOLD, Remote
from freehold.hardware.plan import Place, Plan
from freehold.store.integrity import Pin
from freehold.store.manifest import Role, Task

# The worker of ours that runs an engine's models, by what they are for.
_OURS: Mapping[tuple[str, str], str] = MappingProxyType(
    {
        ("sherpa-onnx", "transcription"): "freehold.workers.transcription",
        ("sherpa-onnx", "diarization"): "freehold.workers.diarization",
        ("sherpa-onnx", "speech"): "freehold.workers.speech",
        ("espeak-ng", "speech"): "freehold.workers.speech",
        ("diffusers", "image"): "freehold.workers.images",
        ("pictogram", "image"): "freehold.workers.pictogram",
    }
)

_KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "PYTHONPATH", "VIRTUAL_ENV")
# Which GPUs a process may see, and where its drivers are.
_GPUS = (
    *("CUDA_VISIBLE_DEVICES", "CUDA_DEVICE_ORDER", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HSA_OVERRIDE_GFX_VERSION"),
    *("GGML_VK_VISIBLE_DEVICES", "VK_DRIVER_FILES", "VK_ICD_FILENAMES"),
)

_PART = re.compile(r"-[0-9]{5}-of-[0-9]{5}\.gguf$")  # llama_split_path in llama.cpp

# How often a waiting thread of GNU's OpenMP looks again before it sleeps, without polling and for each point of it: llama.cpp
# built with OpenMP does not poll by itself. Its own default of 50 points is libgomp's default, too.
_SPINS, _SPINS_A_POINT = 300, 6_000


@dataclass(frozen=True)
class Deployment:
    """A model as it is to be run: its files, and the plan of its place on this machine.

    `files` has each file of a model by its role, and `folder` the parts of one that is a folder. `weights` is the GGUF file, or
    the first of several parts that lie beside each other; `projector` (mmproj) turns images into tokens; `draft` is a small
    model that guesses ahead; `adapter` (LoRA) changes the weights. `builds` is the folder that the plan's build is looked for
    in; `pins` are all its files, as they must be. `remote` is the engine of another maker that has the model.
    """

    name: str
    task: Task
    engine: str
    plan: Plan
    sandbox: str
    weights: Path | None = None
    chat_template: Path | None = None
    projector: Path | None = None
    draft: Path | None = None
    adapter: Path | None = None
    builds: Path | None = None
    pins: tuple[Pin, ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[Role, Path] = field(default_factory=dict)
    folder: Path | None = None
    remote: Remote | None = None

    @property
    def slots(self) -> int:
        return self.plan.slots

    @property
    def context(self) -> int:
        """Tokens a request."""
        return self.plan.context


@dataclass(frozen=True)
class Launch:
    """A child to start: its argv, its environment, and the words of its log that are private to this machine."""

    argv: tuple[str, ...]
    env: Mapping[str, str]
    private: tuple[tuple[str, str], ...] = ()


def launch(
    deployment: Deployment,
    socket: Path,
    memory_limit_mib: int = 0,
    *,
    build: Build | None = None,
    kept: Path | None = None,
    environment: Environment | None = None,
) -> Launch:
    """The child process for a deployment that shall listen on `socket`, and get no more memory than that, where it is not 0.

    It runs on the build that the plan names, or on `build`; in its engine's environment, or in `environment`. `kept` is the
    folder where it may leave the KV cache of slots.

    Raises StoreError, NotInstalled for a missing build.
    """
    match deployment.engine:
        case "llama.cpp":
            build = build or builds.get(deployment.builds, deployment.plan.knobs.build)
            return _llama(deployment, socket, memory_limit_mib, build, kept)
        case "fake":
            options = json.dumps({"alias": deployment.name, "n_ctx": deployment.context, **deployment.options})
            argv = ("freehold.workers.fake", "--socket", str(socket), "--options", options, "--watch-stdin")
            return Launch((sys.executable, "-m", *argv), _environment())
        case other if (program := _OURS.get((other, deployment.task))) is not None:
            return _python(deployment, socket, memory_limit_mib, program, environment)
        case other:
            raise StoreError(f"The model {deployment.name} names the engine {other!r}, which this version does not have.")


def launch_command(deployment: Deployment, remote: Remote, address: Address) -> Launch:
    """Another maker's engine, that shall listen at that address. It is not confined; it ends with this process, as workers do.

    It gets what any worker gets of the environment, the variable with its key, and what is set for it. Raises StoreError,
    NotInstalled for vLLM without its environment."""
    home = environments.get(deployment.builds, "vllm") if remote.folder is not None else None
    if home is not None and remote.folder is not None:
        vllm.check(remote.folder)
        context = 0 if deployment.context == UNTOLD else deployment.context
        serve = vllm.Serve(remote.folder, deployment.name, deployment.task, context, deployment.slots, remote.args)
        own = vllm.environment(home.folder, remote.device, os.environ.get("PATH", os.defpath))
        remote = replace(remote, command=vllm.argv(home.python, serve), env={**own, **remote.env})
    port, path = str(address.port), str(address.socket)
    words = [word.replace("{port}", port).replace("{socket}", path) for word in remote.command]
    key = {remote.key_env: os.environ[remote.key_env]} if remote.key_env in os.environ else {}
    argv = (sys.executable, "-P", "-m", "freehold.workers.own", str(home.folder) if home else "", *words)
    private = [(str(address.socket), "the socket"), *((value, "***") for value in key.values() if value)]
    if home is not None:
        private.append((str(home.folder), "the engine"))
    return Launch(argv, _environment() | key | dict(remote.env), tuple(private))


def check_installed(deployment: Deployment) -> None:
    """Raises NotInstalled when the deployment's engine has an environment of its own, and that is not there."""
    if deployment.engine in environments.NAMES:
        environments.get(deployment.builds, deployment.engine)


def pulse(deployment: Deployment) -> str:
    """The path that only a worker whose main loop turns answers (see freehold.fleet.pulse)."""
    return "/health" if (deployment.engine, deployment.task) in _OURS else "/lora-adapters"


def question(deployment: Deployment, tokens: int) -> tuple[str, dict[str, Any]]:
    """(path, body) of a small real request of at least so many tokens: readiness is a real answer, not a health page."""
    if (deployment.engine, deployment.task) in _OURS:
        return "/ready", {}
    words = " ".join(["ready"] * tokens)
    if deployment.task == "embedding":
        return "/v1/embeddings", {"input": words}
    if deployment.task == "rerank":
        return "/v1/rerank", {"query": "ready", "documents": [words]}
    if deployment.task == "decision":
        return "/v1/systemone", {"state": words, "questions": {"ready": {"type": "noul", "instructions": "Is it ready?"}}}
    return "/v1/completions", {"prompt": words, "max_tokens": 1, "temperature": 0, "cache_prompt": False}


def _llama(deployment: Deployment, socket: Path, memory_limit_mib: int, build: Build, kept: Path | None) -> Launch:
    if deployment.weights is None:
        raise StoreError(
            f"The model {deployment.name} has no weights.", f"Remove it and pull it again: freehold rm {deployment.name}"
        )
    config = {
        "name": deployment.name,
        "socket": str(socket),
        "weights": str(deployment.weights),
        "task": deployment.task,
        "sandbox": deployment.sandbox,
        "chat_template": _text(deployment.chat_template),
        "projector": _text(deployment.projector),
        "draft": _text(deployment.draft),
        "adapter": _text(deployment.adapter),
        "plan": _told(deployment.plan),
        "program": _text(build.program),
        "site": _text(build.site),
        "folder": _text(build.folder),
        "memory_limit_mib": memory_limit_mib,
        "kept": _text(kept),
    }
    argv = (sys.executable, "-m", "freehold.workers.llama", "--parent", str(os.getpid()), "--config", json.dumps(config))
    # The engine's threads meet at a barrier thousands of times a token. A thread that spins there while another process has
    # its partner's core burns whole time slices: two processes that wake each other up made answers 50 times slower. A short
    # spin costs nothing on an idle machine and sleeps soon on a busy one (docs/tuning.md has the figures).
    # A debugger that takes the engine's last breath for a trace tells nobody anything, and takes seconds.
    spins = _SPINS + _SPINS_A_POINT * deployment.plan.knobs.poll
    env = _environment() | {"GOMP_SPINCOUNT": str(spins), "GGML_NO_BACKTRACE": "1"}
    private = [
        (deployment.weights, "the model file"),
        (_before_parts(deployment.weights), "the model file"),
        (deployment.projector, "the projector"),
        (deployment.draft, "the draft model"),
        (deployment.adapter, "the adapter"),
        (socket, "the socket"),
        (build.folder, "the engine"),
    ]
    return Launch(argv, env, tuple((str(path), shown) for path, shown in private if path is not None))


def _before_parts(first: Path) -> Path | None:
    """What the paths of all parts of a model begin with, where it has several: the engine finds the others by their names."""
    stem, found = _PART.subn("", str(first))
    return Path(stem) if found else None


def _python(
    deployment: Deployment, socket: Path, memory_limit_mib: int, program: str, environment: Environment | None
) -> Launch:
    """A worker of ours (freehold.workers.serve), in the engine's own environment where it has one."""
    files = {role: str(path) for role, path in deployment.files.items()}
    config = {
        "name": deployment.name,
        "socket": str(socket),
        "sandbox": deployment.sandbox,
        "engine": deployment.engine,
        "files": files,
        "folder": _text(deployment.folder),
        "options": dict(deployment.options),
        "threads": deployment.plan.knobs.threads,
        "slots": deployment.slots,
        "memory_limit_mib": memory_limit_mib,
    }
    private = [(path, "the model file") for path in (*files.values(), _text(deployment.folder)) if path is not None]
    private.append((str(socket), "the socket"))
    start: tuple[str, ...] = (sys.executable, "-m", program)
    if deployment.engine in environments.NAMES:
        home = environment or environments.get(deployment.builds, deployment.engine)
        start = environments.argv(home.python, program)
        config |= {"environment": str(home.folder), "place": asdict(deployment.plan.place or Place())}
        private.append((str(home.folder), "the engine"))
    argv = (*start, "--parent", str(os.getpid()), "--config", json.dumps(config))
    # GPUs are numbered as their driver numbers them, which is how they were planned with; CUDA would put the fastest first.
    return Launch(argv, {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} | _environment(), tuple(private))


def _told(plan: Plan) -> dict[str, Any]:
    """A plan without what only its planner needs."""
    return {name: value for name, value in asdict(plan).items() if name not in {"memory", "notes", "tuned", "place"}}


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _environment() -> dict[str, str]:
    """A child gets what a program needs to run and nothing of ours: no keys, no tokens."""
    return {name: os.environ[name] for name in (*_KEPT, *_GPUS) if name in os.environ} | {"PYTHONUNBUFFERED": "1"}
