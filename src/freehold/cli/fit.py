"""`freehold fit`: how a model would run on this machine, or why it does not fit, in figures."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, get_args

import click

from freehold.cli.catalogue import served_budget
from freehold.cli.output import print_json, print_pairs, print_table, printable
from freehold.cli.session import Session, json_option, with_session
from freehold.errors import NotInstalled
from freehold.hardware.plan import KvType
from freehold.store.disk import megabytes

if TYPE_CHECKING:
    from freehold.hardware.fit import Misfit, Plan
    from freehold.settings import Settings
    from freehold.store.catalogue import Entry
    from freehold.store.manifest import Engine, Manifest, Task

DOES_NOT_FIT = 1  # the exit code
_KV_TYPES = ("auto", *(name for name in get_args(KvType) if name != "f32"))


@click.command(
    epilog="""\b
Examples:
  freehold fit smollm2:135m
  freehold fit qwen3:4b --context 16384 --slots 2
  freehold fit smollm2:135m --kv-type q8_0 --json"""
)
@click.argument("model")
@click.option("--context", type=click.IntRange(128, 16_777_216), help="Tokens of context for each request.")
@click.option("--slots", type=click.IntRange(1, 256), help="Requests at the same time.")
@click.option("--kv-type", type=click.Choice(_KV_TYPES), help="Type of the KV cache.")
@json_option
@with_session("used")
def fit(session: Session, model: str, context: int | None, slots: int | None, kv_type: str | None, as_json: bool) -> int:
    """Say whether a model, installed or of the catalogue, fits this machine, and how it would run."""
    from freehold.hardware.fit import Misfit
    from freehold.hardware.probe import probe
    from freehold.routing.planner import Home, Planner

    home = Home.of(probe(), session.settings).within(served_budget(session))
    wishes = {"context": context, "slots": slots, "kv_type": kv_type}
    name, found = _planned(session, model, wishes, lambda settings: Planner(settings, home))
    if as_json:
        print_json({"model": name, "fits": not isinstance(found, Misfit), **_plain(found)})
    elif isinstance(found, Misfit):
        print(f"{name} does not fit. {printable(found.reason)}")
    else:
        _print(name, found)
    return DOES_NOT_FIT if isinstance(found, Misfit) else 0


def _planned(session: Session, model: str, wishes: dict[str, Any], planner: Any) -> tuple[str, Plan | Misfit]:
    """The model's real name, and its plan. Raises NotInstalled for what is neither here nor in the catalogue."""
    from freehold.store import catalogue
    from freehold.store.catalogue.shapes import drawing_options, folder_memory, published_shape

    try:
        manifest = session.manifest(model)
    except NotInstalled:
        entry = catalogue.find(model, session.settings.data_dir)
        if entry is not None and entry.served and entry.engine != "llama.cpp" and (size := entry.size()) is not None:
            options = drawing_options(entry) or {"memory_bytes": folder_memory(size.bytes)}
            return entry.name, planner(session.settings).plan(_as_installed(entry, options))
        shape = published_shape(entry) if entry is not None and entry.served else None
        if entry is None or shape is None:
            raise
        return entry.name, planner(_wished(session.settings, entry.name, wishes)).plan_shape(entry.name, shape)
    return manifest.name, planner(_wished(session.settings, manifest.name, wishes)).plan(manifest)


def _as_installed(entry: Entry, options: dict[str, Any]) -> Manifest:
    """What a model of another engine than llama.cpp will be once it is here, as far as its plan depends on it."""
    from freehold.store.manifest import Manifest

    task: Task = "image" if "image" in entry.tasks else "transcription" if "speech-to-text" in entry.tasks else "speech"
    engine: Engine = "diffusers" if task == "image" else "sherpa-onnx"
    return Manifest(entry.name, task, engine, (), entry.url, entry.license, created=0, options=options)


def _wished(settings: Settings, name: str, wishes: dict[str, Any]) -> Settings:
    """The settings, with the wishes as the model's own."""
    from freehold.settings import ModelSettings

    own = settings.models.get(name, ModelSettings())
    given = {key: value for key, value in wishes.items() if value is not None}
    return settings.model_copy(update={"models": {**settings.models, name: own.model_copy(update=given)}})


def _plain(found: Plan | Misfit) -> dict[str, Any]:
    plain = asdict(found)
    if "memory" in plain:
        plain["memory"] = [{**share, "total": sum(share[part] for part in _PARTS)} for share in plain["memory"]]
    return plain


_PARTS = ("weights", "kv", "buffers")


def _print(name: str, found: Plan) -> None:
    knobs = found.knobs
    room = f", {found.context:,} tokens each" if found.context else ""
    print(f"{name} fits: {found.slots} request{'s' if found.slots > 1 else ''} at a time{room}.\n")
    rows = [(share.device, *(megabytes(getattr(share, part)) for part in (*_PARTS, "total"))) for share in found.memory]
    print_table(("DEVICE", "WEIGHTS", "KV CACHE", "BUFFERS", "TOTAL"), rows)
    print()
    if found.place is not None:
        parted = ", its parts one by one when they are used" if found.place.offload else ""
        print_pairs({"drawn on": f"{found.place.device} in {found.place.dtype}{parted}", "threads": str(knobs.threads)})
        return
    print_pairs(
        {
            "KV cache": found.kv_type,
            "GPU layers": str(found.gpu_layers),
            "experts on host": f"of {found.host_expert_layers} blocks" if found.host_expert_layers else "",
            "threads": str(knobs.threads)
            if knobs.threads == knobs.threads_batch
            else f"{knobs.threads} ({knobs.threads_batch} for prompts)",
            "engine": knobs.build,
            "tuned": f"on {found.tuned}" if found.tuned else "",
        }
    )
    for note in found.notes:
        print(f"note: {printable(note)}")
