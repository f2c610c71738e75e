"""Whether a silent worker is busy or stuck.

A llama.cpp worker is asked for its list of adapters, which its main loop answers between two batches; /health and /metrics are
answered by other threads, whatever the main loop does (measured: 20 ms, beside 82 s for the list). So an answer proves that
the loop turns, and silence may only mean that a batch takes long. How long it may take is read from work, not from the clock:
a batch costs about the same processor time however many others want the processor. The worker's first answer shows what a token
costs; what was asked of it bounds the tokens that a batch can have.
"""

from __future__ import annotations

from dataclasses import dataclass

_MARGIN = 2.0  # times the cost of a batch: the machine may clock down, memory may be contended
_TEMPLATE = 64  # tokens that a request may have beside its own text
_BYTES_A_TOKEN = 2  # at the least; most texts have 4
_ATTENTION_DOUBLES = 8192  # tokens of context after which a token costs a small model about twice as much
_STILL = 0.05  # share of a processor below which a process computes nothing
_SPINNING = 0.25  # share of a processor, over the least silence, that a process stuck in a loop spends at least


@dataclass(frozen=True)
class Pace:
    """`token_seconds` is the time that a token of a prompt takes, on `threads` processors; on a GPU they only wait. `patience`
    multiplies what is allowed: it grows when a model is found stuck again and again."""

    token_seconds: float
    threads: int
    on_gpu: bool
    patience: float = 1.0


@dataclass(frozen=True)
class Work:
    """What a worker may be busy with: `requests` with together `size` bytes of body, read `batch` tokens at a time, in slots of
    `context` tokens."""

    requests: int
    size: int
    batch: int
    context: int

    def longest(self, pace: Pace) -> float:
        """Seconds that the longest batch may take on an idle machine."""
        tokens = self.requests * _TEMPLATE + self.size / _BYTES_A_TOKEN
        reach = min(tokens, self.context * max(self.requests, 1), 2 * self.context)
        return min(tokens, self.batch) * pace.token_seconds * (1 + reach / _ATTENTION_DOUBLES) * _MARGIN * pace.patience


@dataclass(frozen=True)
class Silence:
    """`seconds` without an answer, and what the process did meanwhile: processor time spent, or None when the system does not
    tell; `still` when no thread of it ran or could; `stopped` when a signal holds it."""

    seconds: float
    cpu: float | None
    still: bool
    stopped: bool


def stuck(silence: Silence, work: Work, pace: Pace, least: float) -> str | None:
    """Why the worker is stuck, or None while it may be busy. Below `least` seconds it always may be."""
    if silence.seconds < least:
        return None
    if silence.stopped:
        return "it was stopped"
    longest = work.longest(pace)
    if silence.cpu is None:
        return "it stopped answering" if silence.seconds >= least + 2 * longest else None
    if silence.still and silence.cpu < _STILL * silence.seconds:
        waits = longest if pace.on_gpu else 0.0
        return "it stopped answering and does nothing" if silence.seconds >= least + waits else None
    if silence.cpu >= _SPINNING * least + longest * pace.threads:
        return f"it stopped answering while it computed for {silence.cpu:.0f} s, more than its work can take"
    return None
