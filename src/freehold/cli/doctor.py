"""`freehold doctor`: what this machine is, what is in the way, and what to do about it."""

from __future__ import annotations

import concurrent.futures
import os
import platform
import shutil
import socket
import sys
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import click

from freehold.cli.client import NoServer, ServerError
from freehold.cli.output import gibibytes, print_json, printable
from freehold.cli.session import Session, json_option, with_session
from freehold.errors import FreeholdError
from freehold.store.disk import free_bytes, megabytes

if TYPE_CHECKING:
    from freehold.hardware.gpu import Gpu
    from freehold.hardware.probe import Machine

Status = Literal["ok", "note", "problem"]
_MARKS = {"ok": "ok", "note": "note", "problem": "PROBLEM"}
_LITTLE_MEMORY = 2**30  # bytes; the starter models and the server hold about half of that
_LITTLE_DISK = 10**9  # bytes; the starter models' pulls need about half of that
_REGISTRY_SECONDS = 10.0


@dataclass(frozen=True)
class Finding:
    """A "note" is worth knowing, a "problem" is in the way; both say what would change it."""

    name: str
    status: Status
    detail: str
    remedy: str = ""


@click.command(
    epilog="""\b
Examples:
  freehold doctor
  freehold doctor --json"""
)
@json_option
@with_session()
def doctor(session: Session, as_json: bool) -> int:
    """Check this machine and say what to mend."""
    findings = examine(session)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    else:
        width = max(len(finding.name) for finding in findings)
        for finding in findings:
            print(f"{_MARKS[finding.status]:8}{finding.name:{width}}  {printable(finding.detail)}")
            if finding.remedy:
                print(f"{'':8}{'':{width}}  → {printable(finding.remedy)}")
    return int(any(finding.status == "problem" for finding in findings))


def examine(session: Session) -> list[Finding]:
    """All findings, the slow ones beside each other. Never fails."""
    with concurrent.futures.ThreadPoolExecutor() as pool:
        registry = pool.submit(_registry)
        findings = [_python(), *_machine(session), _engine(session), _disk(session), _models(session)]
        elsewhere = [pool.submit(_external, session, name) for name, own in session.settings.models.items() if own.engine]
        return [*findings, *(each.result() for each in elsewhere), _port(session), registry.result()]


def _python() -> Finding:
    return Finding("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _machine(session: Session) -> list[Finding]:
    from freehold.hardware.probe import probe

    machine = probe()
    return [_processor(machine), _memory(machine), gpu_finding(machine, _backend(session, machine)), _network(machine)]


def _processor(machine: Machine) -> Finding:
    cpu = machine.cpu
    sets = ", ".join(cpu.instruction_sets) or "none that matter"
    threads = f"{cpu.fast_cores} engine thread{'s' if cpu.fast_cores > 1 else ''}"
    detail = f"{cpu.model}: {cpu.usable} of {cpu.logical_cpus} CPUs usable, {cpu.physical_cores} cores, {threads}; {sets}"
    if machine.system == "Linux" and machine.architecture == "x86_64" and "AVX2" not in cpu.instruction_sets:
        return Finding("processor", "problem", detail, "The prebuilt engine needs AVX2; a processor from 2013 or later has it.")
    return Finding("processor", "ok", detail)


def _memory(machine: Machine) -> Finding:
    memory = machine.memory
    where = ", in Windows (WSL), which holds back the rest" if machine.wsl else ""
    detail = f"{gibibytes(memory.available)} available of {gibibytes(memory.total)}{where}"
    if 0 < memory.available < _LITTLE_MEMORY:
        return Finding("memory", "problem", detail, "Close other programs: the starter models need about half a GiB.")
    return Finding("memory", "ok", detail)


def _backend(session: Session, machine: Machine) -> str:
    """What the engine's build computes on; "cpu" where there is none, which is told as a finding of its own."""
    from freehold.fleet import builds

    try:
        return builds.chosen(session.settings.data_dir, session.settings.engine.build, lambda: machine).build.backend
    except FreeholdError:
        return "cpu"


def gpu_finding(machine: Machine, backend: str) -> Finding:
    """The GPUs, and whether a build for `backend` uses them; where it does not, what would."""
    from freehold.fleet import builds

    possible = builds.backends(machine)
    if not machine.gpus:
        broken = machine.gpu_remedy is not None
        detail = f"none: {machine.gpu_reason}; models run on the CPU"
        return Finding("gpu", "note" if broken else "ok", detail, machine.gpu_remedy or "")
    seen = "; ".join(_shown(gpu) for gpu in machine.gpus)
    if backend in possible:
        trouble = f"; {machine.gpu_reason}" if machine.gpu_reason else ""
        return Finding("gpu", "note" if trouble else "ok", f"{seen}: used{trouble}", machine.gpu_remedy or "")
    best = next(kind for kind in ("cuda", "rocm", "metal", "vulkan") if kind in possible)
    remedy = f"A build of the engine for it: freehold engine install {best}" if best != "metal" else ""
    remedy = f"{machine.gpu_remedy} {remedy}" if machine.gpu_remedy else remedy
    return Finding("gpu", "note", f"{seen}: seen, and not used: the engine's build runs on the CPU", remedy)


def _shown(gpu: Gpu) -> str:
    size = gibibytes(gpu.memory_bytes) + (" shared with the host" if gpu.unified else "")
    return ", ".join(part for part in (gpu.name, size, gpu.driver, gpu.compute) if part)


def _network(machine: Machine) -> Finding:
    namespaces = machine.namespaces
    if namespaces.supported:
        return Finding("sandbox", "ok", "models run without a network, in a namespace of their own")
    return Finding("sandbox", "note", f"models share this machine's network: {namespaces.reason}", namespaces.remedy or "")


def _engine(session: Session) -> Finding:
    from freehold.fleet import builds

    settings = session.settings
    try:
        choice = builds.chosen(settings.data_dir, settings.engine.build)
    except FreeholdError as error:
        return Finding("engine", "problem", str(error))
    detail = f"{choice.build.name} ({choice.build.version}): {choice.reason}"
    return Finding("engine", "ok", detail)


def _disk(session: Session) -> Finding:
    folder = session.settings.data_dir
    try:
        free = free_bytes(folder)
        nearest = next(place for place in (folder, *folder.parents) if place.exists())
        writable = os.access(nearest, os.W_OK | os.X_OK)
    except OSError as error:
        return Finding("disk", "problem", f"{folder}: {error.strerror}", "Choose another folder: --data-dir.")
    detail = f"{megabytes(free)} free at {folder}"
    if not writable:
        return Finding("disk", "problem", f"{folder} cannot be written", "Choose another folder: --data-dir.")
    if free < _LITTLE_DISK:
        return Finding("disk", "problem", detail, "Make room, or choose another folder: --data-dir.")
    return Finding("disk", "ok", detail)


def _models(session: Session) -> Finding:
    try:
        names = [manifest.name for manifest in session.store.list()]
        problems = session.store.problems()
    except FreeholdError as error:
        return Finding("models", "problem", str(error))
    if problems:
        return Finding("models", "problem", problems[0].message, problems[0].remedy)
    if not names:
        return Finding("models", "ok", "none installed yet; `freehold up` pulls the starter models")
    return Finding("models", "ok", ", ".join(names))


def _external(session: Session, name: str) -> Finding:
    """Whether the engine of another maker that has a model is there; where a command starts it, whether the program is."""
    import asyncio

    from freehold.fleet import builds, environments, vllm
    from freehold.fleet.elsewhere import Elsewhere
    from freehold.fleet.endings import Ended
    from freehold.fleet.remote import remote_of

    own = session.settings.models[name]
    remote = remote_of(own)
    try:
        if remote.address is not None:
            model = asyncio.run(Elsewhere(remote, name, own.context or 0, "").connected(remote.address)).model
            context = f", {model.context:,} tokens" if model.context else ""
            return Finding("elsewhere", "ok", f"{name}: {model.kind or 'an engine'} at {remote.shown}{context}")
        if own.folder is not None:
            made = environments.get(builds.folder(session.settings.data_dir), "vllm")
            vllm.check(own.folder)
            return Finding("elsewhere", "ok", f"{name}: {made.version}, started when it is asked for")
    except Ended as ended:
        status: Status = "problem" if ended.ending.lasting else "note"
        return Finding("elsewhere", status, f"{name}: {ended.ending.reason}", "docs/external.md tells more.")
    except FreeholdError as error:
        return Finding("elsewhere", "problem", f"{name}: {error}")
    program = remote.command[0]
    if shutil.which(program) is None:
        return Finding("elsewhere", "problem", f"{name}: the program {program} is not there", "Write down its whole path.")
    return Finding("elsewhere", "ok", f"{name}: {program}, started when it is asked for")


def _port(session: Session) -> Finding:
    settings = session.settings
    try:
        version = session.client.version()
    except NoServer:
        return _bindable(settings.host, settings.port)
    except (ServerError, FreeholdError) as error:
        if isinstance(error, ServerError) and error.code:
            return Finding("port", "ok", f"Freehold is serving at {session.client.base}, and wants a key")
        remedy = f"Stop that program, or choose another port: --port {settings.port + 1}."
        return Finding("port", "problem", f"another program answers at {session.client.base}", remedy)
    return Finding("port", "ok", f"Freehold {version['version']} is serving at {session.client.base}")


def _bindable(host: str, port: int) -> Finding:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as trial:
        trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            trial.bind((host, port))
        except OSError as error:
            return Finding("port", "problem", f"{host}:{port}: {error.strerror}", "Choose another: --port or --host.")
    return Finding("port", "ok", f"{host}:{port} is free")


def _registry() -> Finding:
    from freehold.store.sources.pypi import reachable
    from freehold.store.starter import STARTERS

    reason = reachable(next(iter(STARTERS.values())).requirement, _REGISTRY_SECONDS)
    if reason is None:
        return Finding("registry", "ok", "the package registry offers the starter models")
    remedy = "Check the network, and the mirror, proxy and certificates of pip: python3 -m pip config list"
    return Finding("registry", "note", f"starter models cannot be pulled: {reason}", remedy)
