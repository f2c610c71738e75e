"""`freehold recommend`: what to run on this machine, why, and how fast it will be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from freehold.cli.catalogue import size_of, this_machine
from freehold.cli.output import count_of, gibibytes, print_json, print_pairs, printable
from freehold.cli.session import Session, json_option, with_session
from freehold.routing.advice import TASKS
from freehold.store.catalogue.entry import Task

if TYPE_CHECKING:
    from freehold.hardware.plan import Plan
    from freehold.hardware.speed import Expected
    from freehold.routing.advice import Advice, Candidate, Here


@click.command(
    epilog="""\b
Examples:
  freehold recommend
  freehold recommend --task code
  freehold recommend --task embedding --json"""
)
@click.option("--task", type=click.Choice(TASKS), default="chat", show_default=True, help="What the model is for.")
@json_option
@with_session("used")
def recommend(session: Session, task: Task, as_json: bool) -> None:
    """Say which model to run on this machine, and why."""
    from freehold.routing.advice import recommend as choose
    from freehold.routing.cards import advice_card
    from freehold.store import catalogue

    here = this_machine(session, speeds=True)
    advice = choose(catalogue.all(session.settings.data_dir), task, here)
    if as_json:
        print_json(advice_card(advice))
        return
    installed = advice.pick is not None and session.store.has(advice.pick.name)
    _print(advice, here, installed)


def _print(advice: Advice, here: Here, installed: bool) -> None:
    if advice.pick is None:
        print(f"No model of the catalogue for {advice.task} fits this machine.")
    else:
        _print_pick(advice.pick, advice.task, here, installed)
    if advice.faster:
        print(f"\nFaster: {_line(advice.faster, advice.task)}")
    for candidate, why in advice.better:
        print(f"\nBetter, but not here: {_line(candidate, advice.task)}\n  {printable(why)}")
    print()
    for note in advice.notes:
        print(printable(note))


def _print_pick(pick: Candidate, task: Task, here: Here, installed: bool) -> None:
    from freehold.hardware.plan import Plan

    entry, plan = pick.entry, pick.outcome
    assert isinstance(plan, Plan)  # noqa: S101 - a pick fits
    print(f"For {task}, run {pick.name} ({pick.variant.quantization}) here.\n")
    print_pairs(
        {
            "what": f"{entry.title}. {entry.good_for}",
            "why": f"The best of the catalogue for {task} that fits with room for context and is quick enough.",
            "memory": memory(pick, plan, here),
            "context": f"{plan.context:,} tokens for each of {plan.slots} requests",
            "speed": speed(pick.speed, task),
            "download": size_of(entry),
            "license": entry.license,
            "digests": pick.variant.standing,
            "run it": " && ".join(_commands(pick, task, plan.context, installed)),
        }
    )
    for note in plan.notes:
        print(f"{'':10}{printable(note)}")


def _commands(pick: Candidate, task: Task, context: int, installed: bool) -> list[str]:
    """What to type; an embedding model is served by its name as soon as it is there."""
    pull = [] if installed else [f"freehold pull {pick.name}"]
    if task == "embedding":
        return pull or ["freehold up"]
    return [*pull, f"FREEHOLD_ENGINE_CONTEXT={context} freehold up --model {pick.name}"]


def memory(pick: Candidate, plan: Plan, here: Here) -> str:
    """What the plan takes on each device, and of how much."""
    free = {device.name: device.free_bytes for device in here.budget.devices}
    return "; ".join(
        f"{gibibytes(share.total)} of the {gibibytes(free[share.device])} free on {share.device}"
        f" (weights {gibibytes(share.weights)}, KV cache {gibibytes(share.kv)}, buffers {gibibytes(share.buffers)})"
        for share in plan.memory
    )


def speed(expected: Expected | None, task: Task) -> str:
    if expected is None:
        return ""
    how = "measured here by freehold tune" if expected.measured else "estimated"
    writes = "" if task == "embedding" else f"writes about {_rounded(expected.decode)} tokens/s, "
    return f"{writes}reads about {_rounded(expected.prefill)} tokens/s ({how})"


def _line(candidate: Candidate, task: Task) -> str:
    size = f"{count_of(candidate.entry.parameters)} parameters in {candidate.variant.quantization}"
    pace = f"; {speed(candidate.speed, task)}" if candidate.speed else ""
    return printable(f"{candidate.name}, {size}{pace}")


def _rounded(figure: float) -> str:
    """Two digits that count: more would be pretended."""
    if figure < 10:
        return f"{figure:.1f}"
    step = 10 ** (len(str(int(figure))) - 2)
    return f"{round(figure / step) * step:,}"
