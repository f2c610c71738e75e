"""`freehold models`, `recommend`, and `show` for what is not installed: as a person uses them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.parts import Result, assert_one_line, run
from tests.conftest import Server

OWN = """
[[entries]]
name = "ours:60m"
license = "Proprietary"
parameters = 60_000_000
context = 4096
tasks = ["chat"]
good_for = "Answers our customers."
quality = { chat = 100 }

[[entries.variants]]
quantization = "Q8_0"
files = [{ role = "weights", reference = "hf:our/model-GGUF/model-Q8_0.gguf" }]
"""
UNSERVED = OWN.replace('tasks = ["chat"]', 'tasks = ["speech-to-text"]\nengine = "whisper.cpp"').replace(
    "quality = { chat = 100 }", ""
)


def here(folder: Path, *arguments: str) -> Result:
    return run(folder, *arguments, "--data-dir", folder / "data", env={"FREEHOLD_URL": ""})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path


def as_json(result: Result) -> Any:
    assert result.code == 0, result
    return json.loads(result.out)


def test_models_are_listed_with_what_they_are_good_for_and_whether_they_fit(folder: Path) -> None:
    shown = run(folder, "models", "llama3.1").out.splitlines()
    assert shown[0].split("  ")[0] == "NAME"
    row = next(line for line in shown if line.startswith("llama3.1:8b "))
    assert re.search(r"8\.0B\s+~4\.9 GB\s+131,072\s+chat, tools\s+Llama 3\.1 Community License\s+pinned\s+(yes|no)", row)
    assert any("freehold recommend" in line for line in shown)


def test_models_are_filtered_by_words_task_and_memory(folder: Path) -> None:
    found = as_json(run(folder, "models", "coder", "--task", "fim", "--json"))
    assert {"qwen2.5-coder:7b", "qwen3-coder:30b-a3b"} <= {row["name"] for row in found}
    assert all("fim" in row["tasks"] for row in found)
    fitting = as_json(run(folder, "models", "--fits", "--json"))
    assert 0 < len(fitting) < 159
    assert all(row["fits"]["fits"] for row in fitting)
    assert "kimi-k2.6" not in {row["name"] for row in fitting}, "no machine that runs these tests has a terabyte"
    assert run(folder, "models", "no such model").out.startswith("No model of the catalogue")


def test_models_that_nothing_serves_are_marked(folder: Path) -> None:
    (folder / "data" / "catalogue.toml").write_text(UNSERVED)
    rows = here(folder, "models", "ours").out.splitlines()
    assert "not served" in next(row for row in rows if row.startswith("ours:60m"))
    shown = here(folder, "show", "ours:60m").out
    assert "whisper.cpp" in shown
    assert "freehold pull" not in shown


def test_a_model_that_hears_is_shown_with_its_memory_and_no_tokens(folder: Path) -> None:
    shown = here(folder, "show", "parakeet").out
    assert re.search(r"^fits here +yes: about 1\.\d GiB$", shown, re.MULTILINE)
    rows = here(folder, "models", "whisper:small").out.splitlines()
    assert re.search(r" yes +Good transcription", rows[-1] if "whisper" in rows[-1] else rows[1])


def test_a_task_that_there_is_not_is_refused_with_those_that_there_are(folder: Path) -> None:
    for command in ("models", "recommend"):
        assert_one_line(run(folder, command, "--task", "chess"), 2, "chess", "embedding")


def test_a_recommendation_says_what_to_run_why_how_fast_and_what_would_be_better(folder: Path) -> None:
    text = here(folder, "recommend").out
    first, *_ = text.splitlines()
    name = re.match(r"For chat, run (\S+) \(\w+\) here\.", first)
    assert name
    for label in ("what", "why", "memory", "context", "speed", "license", "digests", "run it"):
        assert re.search(rf"^{label} +\S", text, re.MULTILINE), label
    assert f"freehold pull {name[1]} && FREEHOLD_ENGINE_CONTEXT=8192 freehold up --model {name[1]}" in text
    assert re.search(r"writes about [\d.,]+ tokens/s, reads about [\d.,]+ tokens/s \(estimated\)", text)
    assert "Speeds are estimates" in text
    assert as_json(here(folder, "show", name[1], "--json"))["installed"] is False


@pytest.mark.parametrize("task", ["code", "fim", "vision", "embedding"])
def test_a_recommendation_as_json_has_the_plan_and_the_alternatives(folder: Path, task: str) -> None:
    advice = as_json(here(folder, "recommend", "--task", task, "--json"))
    assert advice["task"] == task
    assert advice["notes"]
    assert advice["pick"]["fits"]["fits"]
    assert advice["pick"]["fits"]["memory"][0]["weights"] > 0
    assert advice["pick"]["fits"]["speed"]["decode"] > 0
    assert all(row["why_not"] for row in advice["better"])


def test_show_tells_of_a_model_of_the_catalogue_that_it_is_not_installed(folder: Path) -> None:
    text = here(folder, "show", "QWEN3:8b:q8_0").out
    for line in (
        r"name +qwen3:8b",
        r"installed +no",
        r"format +Q8_0",
        r"license +Apache-2\.0",
        r"install it +freehold pull qwen3:8b-q8_0",
    ):
        assert re.search(rf"^{line}$", text, re.MULTILINE), line
    assert re.search(r"^fits here +(yes|no)", text, re.MULTILINE)
    assert_one_line(here(folder, "show", "no-such-model"), 1, "not installed")


def test_a_users_own_entries_are_listed_shown_and_recommended(folder: Path) -> None:
    (folder / "data" / "catalogue.toml").write_text(OWN)
    assert "Answers our customers." in here(folder, "models", "customers").out
    assert re.search(r"license +Proprietary", here(folder, "show", "ours:60m").out)
    assert as_json(here(folder, "recommend", "--json"))["pick"]["name"] == "ours:60m", "small and, its user says, the best"


def test_a_users_catalogue_that_is_wrong_is_one_line_that_says_what(folder: Path) -> None:
    (folder / "data" / "catalogue.toml").write_text(OWN.replace("license", "licence"))
    for arguments in (("models",), ("recommend",), ("show", "qwen3")):
        assert_one_line(here(folder, *arguments), 1, "catalogue.toml", "ours:60m", "licence")


def test_the_server_lists_the_catalogue_for_consoles(fake_server: Server) -> None:
    everything = listed(fake_server, "")
    assert len(everything) >= 150
    assert everything[0]["fits"] is None
    found = listed(fake_server, "?search=qwen3+4b&task=chat&fits=any")
    assert {"qwen3:4b", "qwen3:4b-instruct-2507"} <= {row["name"] for row in found}
    assert all(row["fits"]["fits"] in (True, False) for row in found)
    assert all(row["fits"]["fits"] for row in listed(fake_server, "?search=qwen3&fits=true"))


def listed(server: Server, query: str) -> Any:
    status, _, body = server.get(f"/api/catalogue{query}")
    assert status == 200
    return body["models"]


@pytest.mark.parametrize(
    ("query", "param"),
    [("task=chess", "task"), ("fits=yes", "fits"), ("sort=size", "sort"), ("search=" + "x" * 201, "search")],
)
def test_a_wrong_question_about_the_catalogue_is_a_400_that_names_its_parameter(
    fake_server: Server, query: str, param: str
) -> None:
    status, _, body = fake_server.get(f"/api/catalogue?{query}")
    assert status == 400
    assert body["error"]["param"] == param
