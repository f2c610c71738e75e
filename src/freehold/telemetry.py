"""Metrics and logs: the only module that knows their names and format.

Names follow Prometheus' conventions: base units, `_total` for counters. Prompts, answers and keys never enter either.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_TOKEN_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56)


class Gauges(Protocol):
    """What is true right now: (metric name, help, labels, value) rows, read when a scrape comes."""

    def __call__(self) -> Iterable[tuple[str, str, Mapping[str, str], float]]: ...


class _Live(Collector):
    def __init__(self, gauges: Gauges):
        self._gauges = gauges

    def collect(self) -> Iterable[Metric]:
        families: dict[str, GaugeMetricFamily] = {}
        for name, text, labels, value in self._gauges():
            family = families.setdefault(name, GaugeMetricFamily(name, text, labels=tuple(labels)))
            family.add_metric(tuple(labels.values()), value)
        return families.values()

    def describe(self) -> Iterable[Metric]:
        return ()


class _Buckets:
    """How many durations fell into each of `_TOKEN_SECONDS`, and their sum: observed once a token, so in two operations."""

    __slots__ = ("counts", "total")

    def __init__(self) -> None:
        self.counts = [0] * (len(_TOKEN_SECONDS) + 1)
        self.total = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(_TOKEN_SECONDS, seconds)] += 1
        self.total += seconds


class InterToken(Collector):
    """A histogram for each model, at a tenth of the price of the library's own."""

    def __init__(self) -> None:
        self._models: dict[str, _Buckets] = {}

    def of(self, model: str) -> Callable[[float], None]:
        """What takes a model's durations, in seconds."""
        return self._models.setdefault(model, _Buckets()).observe

    def collect(self) -> Iterable[Metric]:
        family = HistogramMetricFamily(
            "freehold_inter_token_seconds", "Time between two pieces of a streamed answer.", labels=("model",)
        )
        bounds = [*map(floatToGoString, _TOKEN_SECONDS), "+Inf"]
        for model, buckets in self._models.items():
            family.add_metric((model,), list(zip(bounds, accumulate(buckets.counts), strict=True)), buckets.total)
        return (family,)


class Telemetry:
    """One server's metrics, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "freehold_requests_total", "Answers given.", ("route", "model", "status"), registry=self.registry
        )
        self.tokens = Counter("freehold_tokens_total", "Tokens, by kind.", ("model", "kind"), registry=self.registry)
        self.duration = self._seconds("freehold_request_seconds", "Time from a request to its last byte.", "route")
        self.first_token = self._seconds(
            "freehold_time_to_first_token_seconds", "Time from a request to the first byte of its streamed answer.", "model"
        )
        self.inter_token = InterToken()
        self.registry.register(self.inter_token)
        self.queue_wait = self._seconds("freehold_queue_wait_seconds", "Time spent waiting for a lease.", "model")
        self.retries = Counter(
            "freehold_retries_total",
            "Requests given to a second worker because the first died before it had answered.",
            ("model",),
            registry=self.registry,
        )
        self.outcomes = Counter(
            "freehold_generations_total", "Leased requests, by how they ended.", ("model", "outcome"), registry=self.registry
        )
        self.completions = Counter(
            "freehold_editor_completions_total", "What became of completions in editors.", ("event",), registry=self.registry
        )
        self.refused = Counter(
            "freehold_connections_refused_total",
            "Connections ended before they brought a request, by reason.",
            ("reason",),
            registry=self.registry,
        )

    def _seconds(self, name: str, meaning: str, label: str) -> Histogram:
        return Histogram(name, meaning, (label,), registry=self.registry, buckets=_SECONDS)

    def watch(self, gauges: Gauges) -> None:
        """Adds live gauges to every scrape."""
        self.registry.register(_Live(gauges))

    def scrape(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "event": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info and record.exc_info[0] is not None:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


_logger = logging.getLogger("freehold")


def log(event: str, *, level: int = logging.INFO, exc_info: bool = False, **fields: Any) -> None:
    """One structured line: an event's name and its fields."""
    if _logger.isEnabledFor(level):
        _logger.log(level, event, extra={"fields": fields}, exc_info=exc_info)


def configure_logging(level: str = "warning") -> None:
    """Sends Freehold's events to stderr as JSON lines, from `level` up."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonLines())
    _logger.handlers[:] = [handler]
    _logger.setLevel(level.upper())
    _logger.propagate = False
