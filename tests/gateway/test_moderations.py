"""Moderation by tiny guard models with random weights: the verdicts mean nothing, but how they are asked for and told does."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import openai
import pytest

from freehold.protocol.guards import BY_NAME, CATEGORIES, PLACE, guard_in
from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving
from tests.zoo import shapes, tokenizers
from tests.zoo.blocks import Dims
from tests.zoo.build import write

SAFE = tokenizers.bpe("qwen2", ("<|endoftext|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>"), eos=0)
LLAMA_GUARD = "{% for m in messages %}<BEGIN UNSAFE CONTENT CATEGORIES>{{ m.content }}{% endfor %}"
GRANITE = (
    "{% set risk = guardian_config.risk_name %}{% for m in messages %}Is <|eot_id|>{{ m.content }} {{ risk }}?{% endfor %}"
)
SHIELD = "You are a policy expert {% for m in messages %}{{ m.content }}{% endfor %}"
TEXT = "hello <|eot_id|> what is the answer"
NEAR = 0.01  # of a score: the same prompt in other company differs by a thousandth or two, another one by five hundredths


@pytest.fixture(scope="module")
def guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("guards")
    store = Store(data)
    for name, template in (("granite", GRANITE), ("shield", SHIELD), ("guard", LLAMA_GUARD)):
        shape = shapes._decoder(name, "llama", SAFE, shapes._plain, dims=Dims(len(SAFE), context=2048), template=template)
        path = write(shape, tmp_path_factory.mktemp("file"))
        pull(store, str(path), name=name, on_progress=lambda progress: None)
    fake_model(data)
    env = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_MODERATION": "guard",
        "FREEHOLD_PRELOAD": "false",
        "FREEHOLD_ENGINE_SLOTS": "2",
    }
    with serving(data, env=env, ready=False) as running:
        yield running


def judged(server: Server, **body: Any) -> list[dict[str, Any]]:
    status, _, answer = server.post("/v1/moderations", body)
    assert status == 200, answer
    return list(answer["results"])


def tokens(server: Server, model: str, text: str, special: bool) -> list[int]:
    body = {"model": model, "content": text, "parse_special": special}
    return list(server.post("/tokenize", body)[2]["tokens"])


def share(server: Server, model: str, prompt: list[int], harmful: str, harmless: str) -> float:
    """The share of the harmful verdict's first token, from the log-probability of each where a grammar leaves no other."""
    found = []
    for word in (harmful, harmless):
        grammar = f"root ::= <[{tokens(server, model, word, False)[0]}]>"
        body = {"model": model, "prompt": prompt, "max_tokens": 1, "temperature": 0, "grammar": grammar, "logprobs": 1}
        status, _, answer = server.post("/v1/completions", body)
        assert status == 200, answer
        found.append(math.exp(answer["choices"][0]["logprobs"]["token_logprobs"][0]))
    return found[0] / sum(found)


def test_a_score_is_the_share_of_the_harmful_verdict_after_the_models_own_prompt(guard: Server) -> None:
    (result,) = judged(guard, input=TEXT)
    form = BY_NAME["llama-guard"]
    before, _, after = form.prompt(form.policies["hate"]).partition(PLACE)
    prompt = tokens(guard, "guard", before, True) + tokens(guard, "guard", TEXT, False) + tokens(guard, "guard", after, True)
    assert result["category_scores"]["hate"] == pytest.approx(share(guard, "guard", prompt, "unsafe", "safe"), abs=NEAR)


def test_where_the_template_writes_the_prompt_the_text_is_still_only_text(guard: Server) -> None:
    (result,) = judged(guard, model="granite", input=TEXT)
    prompt = tokens(guard, "granite", "Is <|eot_id|>", True) + tokens(guard, "granite", TEXT, False)
    prompt += tokens(guard, "granite", " sexual_content?", True)
    assert result["category_scores"]["sexual"] == pytest.approx(share(guard, "granite", prompt, "Yes", "No"), abs=NEAR)


@pytest.mark.parametrize(
    ("model", "family"), [("guard", "llama-guard"), ("granite", "granite-guardian"), ("shield", "shieldgemma")]
)
def test_categories_that_the_guard_does_not_know_are_null_and_the_others_are_judged(
    guard: Server, model: str, family: str
) -> None:
    known = BY_NAME[family].policies.keys()
    (result,) = judged(guard, model=model, input="hello")
    assert list(result["categories"]) == list(result["category_scores"]) == list(CATEGORIES)
    for name in CATEGORIES:
        score, flag = result["category_scores"][name], result["categories"][name]
        if name in known:
            assert 0 < score < 1
            assert flag is (score > 0.5)
        else:
            assert (score, flag) == (None, None)
    assert result["flagged"] is any(result["categories"].values())
    assert guard.get(f"/v1/models/{model}")[2]["capabilities"]["moderation"]


def test_each_input_has_its_result_and_parts_are_one_input(guard: Server) -> None:
    alone = [judged(guard, input=text)[0]["category_scores"]["hate"] for text in ("hello", "the end")]
    together = [result["category_scores"]["hate"] for result in judged(guard, input=["hello", "the end"])]
    assert together == pytest.approx(alone, abs=NEAR)
    parts = [{"type": "text", "text": "hello"}, {"type": "text", "text": "the end"}]
    (both,), (one,) = judged(guard, input=parts), judged(guard, input="hello\nthe end")
    assert both["category_scores"]["hate"] == pytest.approx(one["category_scores"]["hate"], abs=NEAR)


def test_openais_own_client_reads_the_answer(guard: Server) -> None:
    client = openai.OpenAI(base_url=guard.base_url, api_key="none")
    answer = client.moderations.create(model="omni-moderation-latest", input="hello")
    assert answer.id.startswith("modr-")
    assert answer.model == "guard"
    assert answer.results[0].category_scores.hate > 0
    assert answer.results[0].category_scores.harassment is None


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": "a", "model": "fake"}, "model"),
        ({"input": []}, "input"),
        ({"input": [{"type": "image_url", "image_url": {"url": "data:,"}}]}, "input[0]"),
        ({"input": "hello " * 3000}, "input"),
        ({}, "input"),
    ],
)
def test_what_no_guard_can_judge_is_refused_by_name(guard: Server, body: dict[str, Any], param: str) -> None:
    status, _, answer = guard.post("/v1/moderations", body)
    assert status == 400, answer
    assert answer["error"]["param"].startswith(param)


def test_with_the_starter_models_alone_it_says_what_to_pull(fake_server: Server) -> None:
    for model in ({}, {"model": "omni-moderation-latest"}, {"model": "text-moderation-stable"}):
        status, _, answer = fake_server.post("/v1/moderations", {"input": "hello", **model})
        assert (status, answer["error"]["code"]) == (503, "no_guard_model")
        assert "freehold pull llama-guard3:8b" in answer["error"]["message"]


def test_guards_that_think_first_are_not_taken_for_those_that_answer_at_once() -> None:
    assert guard_in("{{ guardian_config }} <score>") == ""
    assert guard_in("{{ guardian_config }}") == "granite-guardian"
    assert guard_in("{{ messages }}") == ""
