"""Every cell of the table in docs/clients.md is a test that runs."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.libraries.conftest import Outcomes
from tests.libraries.table import FEATURES, HERE, JS, LIBRARIES, Library, feature_of

CELLS = [pytest.param(library, feature, id=f"{library.key}-{feature}") for library in LIBRARIES for feature in library.features]


@pytest.mark.parametrize(("library", "feature"), CELLS)
def test_a_library_works_unchanged(outcomes: Callable[[Library], Outcomes], library: Library, feature: str) -> None:
    found = outcomes(library)
    for name in (test for test in library.tests if feature_of(test) == feature):
        assert name in found, f"{name} did not run"
        assert found[name] is None, f"{name}: {found[name]}"


def test_every_test_is_about_a_feature_of_the_table() -> None:
    for library in LIBRARIES:
        assert library.tests, library.key
        assert set(library.features) <= FEATURES.keys(), library.key


def test_every_program_is_of_a_library() -> None:
    programs = {*HERE.glob("python/use_*.py"), *JS.glob("clients/*.test.mjs")}
    assert programs == {library.path for library in LIBRARIES}


def test_every_feature_is_tested_with_some_library() -> None:
    assert set(FEATURES) == {feature for library in LIBRARIES for feature in library.features}
