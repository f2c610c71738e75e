"""What to run on this machine, and why: the catalogue's models, planned for its memory and ordered by quality. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from freehold.hardware import canvas
from freehold.hardware.budget import Budget
from freehold.hardware.fit import Misfit, Plan, Want, plan
from freehold.hardware.plan import HOST, Knobs, Share
from freehold.hardware.speed import Expected, Rates, expected
from freehold.store.catalogue.entry import Entry, Task, Variant
from freehold.store.catalogue.shapes import drawing_options, folder_memory, published_shape

GIB = 2**30
CONTEXT = 8192  # tokens: room for a conversation, a file of code, some pages
EMBEDDING_CONTEXT = 2048
TASKS: tuple[Task, ...] = ("chat", "code", "fim", "vision", "embedding")  # those that are ordered by quality and served

# Tokens a second below which a model is a burden to its user: of what it writes (reading speed; an editor's patience), and for
# embeddings of what it reads (a page in some seconds).
_BEARABLE: Mapping[str, float] = MappingProxyType({"chat": 8, "code": 8, "fim": 15, "vision": 8, "embedding": 150})
# What a quantisation costs or gains in quality, in points of `Entry.quality`: from the perplexities in llama.cpp's own tables.
_POINTS: Mapping[str, float] = MappingProxyType(
    {
        "Q8_0": 0.6,
        "F16": 0.6,
        "BF16": 0.6,
        "Q6_K": 0.4,
        "Q5_K_M": 0.3,
        "Q4_0": -0.7,
        "Q3_K_L": -2,
        "Q3_K_M": -3,
        "Q3_K_S": -4,
        "Q2_K": -8,
    }
)
_TAUGHT_QUANTIZED = ("qat", "_q4_0-it")  # weights that were trained to be cut to 4 bits lose nothing by it
# Licences that allow no business use: such models are never the first choice, though each stands in the catalogue.
NOT_FOR_BUSINESS = frozenset(
    {"CC-BY-NC-4.0", "Mistral AI Non-Production License", "Qwen Research License", "FLUX.1 [dev] Non-Commercial License"}
)


@dataclass(frozen=True)
class Here:
    """The machine as far as a choice depends on it. Without `rates` no speed is estimated. `notes` are said with every
    recommendation; `measured` finds what `freehold tune` stored for a file's sha256."""

    budget: Budget
    rates: Rates | None = None
    notes: tuple[str, ...] = ()
    measured: Callable[[str], Expected | None] = lambda digest: None


@dataclass(frozen=True)
class Candidate:
    """A variant on this machine: its plan or why there is none, and its speed where it has a plan. `points` order them."""

    entry: Entry
    variant: Variant
    points: float
    outcome: Plan | Misfit
    speed: Expected | None

    @property
    def fits(self) -> bool:
        return isinstance(self.outcome, Plan)

    @property
    def name(self) -> str:
        """What to pull, and what it is called then."""
        return replace(self.entry, chosen=self.variant.quantization).installed_name


@dataclass(frozen=True)
class Advice:
    """`pick` is None when nothing of the catalogue fits. `faster` trades quality for speed; `better` would be the next ones up,
    each with the reason why it is not the pick."""

    task: Task
    pick: Candidate | None
    faster: Candidate | None
    better: tuple[tuple[Candidate, str], ...]
    notes: tuple[str, ...]


def assess(entry: Entry, variant: Variant, here: Here, points: float = 0.0) -> Candidate | None:
    """How a variant would run here; None when its size is not known."""
    if entry.engine != "llama.cpp":
        return _of_folder(entry, variant, here, points)
    shape = published_shape(entry, variant)
    if shape is None:
        return None
    least = 256 if shape.encoder else 2048
    wanted = EMBEDDING_CONTEXT if "embedding" in entry.tasks else CONTEXT
    outcome = plan(shape, here.budget, Want(context=wanted, least_context=least))
    speed = None
    if isinstance(outcome, Plan):
        used = (entry.active or entry.parameters) / entry.parameters
        weights = variant.of_role("weights")
        digest = weights[0].sha256 if weights else None
        speed = here.measured(digest) if digest else None
        if speed is None and here.rates is not None:
            speed = expected(shape, outcome, here.rates, used)
    return Candidate(entry, variant, points, outcome, speed)


def _of_folder(entry: Entry, variant: Variant, here: Here, points: float) -> Candidate | None:
    """A model that runs as it is, on the host, with no tokens to make room for."""
    size = entry.size(variant)
    if size is None:
        return None
    picture = canvas.Canvas.of(drawing_options(entry, variant))
    if picture is not None:
        return Candidate(entry, variant, points, canvas.plan(picture, here.budget, Knobs()), None)
    needed, free = folder_memory(size.bytes), here.budget.host.free_bytes
    outcome: Plan | Misfit = Plan(context=0, slots=4, memory=(Share(HOST, needed, 0, 0),))
    if needed > free:
        reason = f"It needs {needed / GIB:.1f} GiB, and there is {free / GIB:.1f} GiB on host free."
        outcome = Misfit(needed, {device.name: device.free_bytes for device in here.budget.devices}, reason)
    return Candidate(entry, variant, points, outcome, None)


def recommend(entries: Iterable[Entry], task: Task, here: Here) -> Advice:
    """The best model for a task that fits here with room for context and is fast enough; where none is, the fastest."""
    options = sorted(_options(entries, task), key=lambda option: -option.points)
    roomy = _roomy(options, here)
    slow: list[Candidate] = []
    for candidate in roomy:  # best first, and planned only as far as need be
        if _is_bearable(candidate, task):
            quick = (item for item in roomy if _pace(item, task) >= 2 * _pace(candidate, task))
            faster = next((item for item in quick if item.entry.name != candidate.entry.name), None)
            return Advice(task, candidate, faster, tuple(_better(options, candidate, task, here)), here.notes)
        slow.append(candidate)
    pick = max(slow, key=lambda item: _pace(item, task), default=None)
    return Advice(task, pick, None, tuple(_better(options, pick, task, here)), here.notes)


@dataclass(frozen=True)
class _Option:
    entry: Entry
    variant: Variant
    points: float

    @property
    def size(self) -> int:
        size = self.entry.size(self.variant)
        return size.bytes if size else 0


def _options(entries: Iterable[Entry], task: Task) -> Iterator[_Option]:
    for entry in entries:
        if task in entry.quality and entry.served and entry.license not in NOT_FOR_BUSINESS:
            for variant in entry.variants:
                if entry.size(variant) is not None:
                    yield _Option(entry, variant, entry.quality[task] + _points(variant))


def _roomy(options: Iterable[_Option], here: Here) -> Iterator[Candidate]:
    """Those that fit with room for context, in their order."""
    free = sum(device.free_bytes for device in here.budget.devices)
    for option in options:
        candidate = _assessed(option, here) if option.size <= free else None
        if candidate is not None and has_room(candidate):
            yield candidate


def _assessed(option: _Option, here: Here) -> Candidate | None:
    return assess(option.entry, option.variant, here, option.points)


def _points(variant: Variant) -> float:
    name = variant.files[0].name.lower()
    if variant.quantization == "Q4_0" and any(word in variant.files[0].reference.lower() + name for word in _TAUGHT_QUANTIZED):
        return 0.1
    return _POINTS.get(variant.quantization, 0.0)


def has_room(item: Candidate) -> bool:
    """Whether its plan leaves the context that a task wants."""
    wanted = min(EMBEDDING_CONTEXT if "embedding" in item.entry.tasks else CONTEXT, item.entry.context or CONTEXT)
    return isinstance(item.outcome, Plan) and item.outcome.context >= wanted


def _pace(item: Candidate, task: Task) -> float:
    """Tokens a second that its user waits for."""
    if item.speed is None:
        return 0.0
    return item.speed.prefill if task == "embedding" else item.speed.decode


def _is_bearable(item: Candidate, task: Task) -> bool:
    return _pace(item, task) >= _BEARABLE[task]


def _better(options: Iterable[_Option], pick: Candidate | None, task: Task, here: Here) -> Iterator[tuple[Candidate, str]]:
    """The two smallest of the models that are better, each in its smallest file, and what keeps them from being the pick.
    Without a pick: the smallest of all."""
    smallest: dict[str, _Option] = {}
    for option in sorted(options, key=lambda option: option.size):
        if pick is None or option.entry.quality[task] > pick.entry.quality[task]:
            smallest.setdefault(option.entry.name, option)
    for option in list(smallest.values())[: 2 if pick else 1]:
        candidate = _assessed(option, here)
        if candidate is not None:
            yield candidate, _reason(candidate, task)


def _reason(item: Candidate, task: Task) -> str:
    if isinstance(item.outcome, Misfit):
        return item.outcome.reason
    if not has_room(item):
        return f"It fits with {item.outcome.context:,} tokens of context only."
    does = "read" if task == "embedding" else "write"
    return f"It fits, but would {does} about {_pace(item, task):.0f} tokens/s; less than {_BEARABLE[task]:.0f} is tiresome."


def memory_of(item: Candidate) -> int:
    """Bytes its plan takes, on all devices."""
    return sum(share.total for share in item.outcome.memory) if isinstance(item.outcome, Plan) else item.outcome.needed_bytes
