"""Damaged model files: none may cost more than its own worker."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path

from freehold.store.store import Store
from soak.judge import Judged
from tests.conftest import fake_model, serving
from tests.zoo import corpus
from tests.zoo.mutations import mutations
from tests.zoo.test_zoo import ENGINE


def damaged_files(*, quick: bool, data_dir: Path | None) -> Judged:
    """Small model files with something changed, each refused by the reader or asked a question by way of a real worker."""
    report = Judged("Damaged model files")
    count = 15 if quick else 1200
    with tempfile.TemporaryDirectory(prefix="fh-soak-") as name:
        data, goods, folder = (Path(name, part) for part in ("data", "goods", "files"))
        for made in (data, goods, folder):
            made.mkdir()
        fake_model(data)
        with serving(data, env=ENGINE, ready=False) as server:
            outcomes = [corpus.run(mutation, server, Store(data), folder) for mutation in mutations(goods, count)]
            report.exactly("ends of the server", int(server.process.poll() is not None), 0, "")
            report.exactly("requests of another model that fail", int(server.chat("hello", model="fake")[0] != 200), 0, "")
    kinds = Counter(outcome.kind for outcome in outcomes)
    report.at_least("files", len(outcomes), count, "")
    for kind in ("refused", "failed", "served"):
        report.add(f"of these {kind}", kinds[kind], "")
    report.at_most("longest wait for a reason", max(outcome.seconds for outcome in outcomes), corpus.LONGEST, "s")
    report.exactly("failures without a reason", sum(o.kind == "failed" and len(o.reason) < 20 for o in outcomes), 0, "")
    report.samples["failed"] = {outcome.name: outcome.reason for outcome in outcomes if outcome.kind == "failed"}
    return report
