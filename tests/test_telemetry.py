"""The histogram that is observed once a token says what Prometheus' own would say."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from freehold.telemetry import _TOKEN_SECONDS, Telemetry


@given(st.lists(st.one_of(st.sampled_from(_TOKEN_SECONDS), st.floats(0, 10)), max_size=50))
def test_it_equals_the_librarys(durations: list[float]) -> None:
    ours, theirs = Telemetry(), CollectorRegistry()
    reference = Histogram("freehold_inter_token_seconds", "x", ("model",), registry=theirs, buckets=_TOKEN_SECONDS)
    for seconds in durations:
        ours.inter_token.of("m")(seconds)
        reference.labels("m").observe(seconds)

    def samples(text: str) -> list[str]:
        return sorted(re.findall(r"^freehold_inter_token_seconds_(?:bucket|count|sum)\S+ \S+$", text, re.MULTILINE))

    assert samples(ours.scrape().decode()) == samples(generate_latest(theirs).decode())
