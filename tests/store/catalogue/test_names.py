"""Models of the catalogue are found by the names that people type."""

from __future__ import annotations

import pytest

from freehold.store import catalogue
from freehold.store.starter import STARTERS


@pytest.mark.parametrize("typed", ["qwen3:4b", "Qwen3:4B", " qwen3:4b ", "qwen3:4b:latest", "qwen3:4b:q4_k_m", "qwen3"])
def test_a_name_is_found_however_it_is_typed(typed: str) -> None:
    found = catalogue.find(typed)
    assert found
    assert (found.name, found.chosen, found.installed_name) == ("qwen3:4b", "Q4_K_M", "qwen3:4b")


@pytest.mark.parametrize("typed", ["llama3.1:8b:q8_0", "llama3.1:8b-q8_0", "LLAMA3.1:8B-Q8_0", "llama3.1:q8_0"])
def test_a_quantization_at_the_end_of_a_name_is_chosen(typed: str) -> None:
    found = catalogue.find(typed)
    assert found
    assert (found.name, found.variant.quantization, found.installed_name) == ("llama3.1:8b", "Q8_0", "llama3.1:8b-q8_0")


@pytest.mark.parametrize("typed", ["", "qwen3:4c", "qwen3:4b:q9_9", "../qwen3:4b", "x" * 1000, ":", "-"])
def test_what_is_no_name_of_the_catalogue_is_not_found(typed: str) -> None:
    assert catalogue.find(typed) is None


def test_what_is_near_a_mistyped_name_is_told() -> None:
    assert "qwen3:4b" in catalogue.near("qwen3:5b")
    assert "llama3.1:8b" in catalogue.near("lama3.1:8b")
    assert catalogue.near("zzzzzz") == ()


def test_every_name_and_alias_leads_to_its_own_entry() -> None:
    for entry in catalogue.all():
        for name in (entry.name, *entry.aliases):
            found = catalogue.find(name)
            assert found is not None
            assert found.name == entry.name, name


def test_the_starter_models_are_entries_with_the_same_pins() -> None:
    for starter in STARTERS.values():
        entry = catalogue.find(starter.name)
        assert entry
        members = starter.members[:1] if starter.convert == "bert" else starter.members
        for member, file in zip(members, entry.variant.files, strict=True):
            assert file.reference == f"{starter.source}:{member.path}"
            assert (file.sha256, file.size) == (member.sha256, member.size)
        assert all(starter.options[name] == value for name, value in entry.variant.options.items())
        assert entry.verified
