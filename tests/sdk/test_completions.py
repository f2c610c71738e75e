"""Text completions with OpenAI's Python SDK against the real starter model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types import Completion

from tests.sdk.wire import CHAT, complete, validated

PROMPT = "The capital of France is"
HI_THERE = [6004, 665]  # "hi there" in SmolLM2's vocabulary


@pytest.fixture(scope="module")
def client(server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        yield client


def stream(client: openai.OpenAI, prompt: Any, **fields: Any) -> list[dict[str, Any]]:
    """Every chunk, validated; a chunk without usage gets one, which the type does not need but the check does."""
    given = {"model": CHAT, "temperature": 0, "max_tokens": 8} | fields
    with client.completions.create(prompt=prompt, stream=True, **given) as chunks:
        bodies = [chunk.to_dict(mode="json") for chunk in chunks]
    for body in bodies:
        for choice in body["choices"]:
            assert {"text", "index", "finish_reason"} <= set(choice)
        if all(choice["finish_reason"] for choice in body["choices"]):
            Completion.model_validate(body, strict=True)
        assert body["object"] == "text_completion"
        assert "timings" not in body
    return bodies


def text(chunks: list[dict[str, Any]], index: int = 0) -> str:
    return "".join(choice["text"] for chunk in chunks for choice in chunk["choices"] if choice["index"] == index)


def test_an_answer_has_openais_shape(client):
    body = complete(client, PROMPT)
    assert "Paris" in body["choices"][0]["text"]
    assert body["usage"]["completion_tokens"] <= 8


def test_the_default_limit_is_openais_sixteen_tokens(client):
    body = complete(client, "One, two, three, four,", max_tokens=openai.omit)
    assert body["usage"]["completion_tokens"] <= 16


def test_several_prompts_get_their_answers_in_order(client):
    prompts = [PROMPT, "The capital of Italy is", "The capital of Germany is"]
    alone = [complete(client, prompt) for prompt in prompts]
    together = complete(client, prompts)
    assert [choice["index"] for choice in together["choices"]] == [0, 1, 2]
    assert [choice["text"] for choice in together["choices"]] == [body["choices"][0]["text"] for body in alone]
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert together["usage"][name] == sum(body["usage"][name] for body in alone)


def test_n_choices_of_each_prompt_are_numbered_prompt_by_prompt(client):
    body = complete(client, [PROMPT, "One, two, three,"], n=2, max_tokens=4)
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2, 3]
    one, again, other, again_other = (choice["text"] for choice in body["choices"])
    assert (one, other) == (again, again_other), "temperature 0 says the same twice"
    assert one != other


def test_a_stream_says_what_the_whole_answer_says(client):
    whole = complete(client, PROMPT)
    chunks = stream(client, PROMPT, stream_options={"include_usage": True})
    assert text(chunks) == whole["choices"][0]["text"]
    assert chunks[-1]["choices"] == []
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert chunks[-1]["usage"][name] == whole["usage"][name]
    assert not any(chunk.get("usage") for chunk in chunks[:-1])


def test_several_prompts_stream_side_by_side(client):
    prompts = [PROMPT, "The capital of Italy is"]
    whole = complete(client, prompts)
    chunks = stream(client, prompts, stream_options={"include_usage": True})
    assert [text(chunks, index) for index in (0, 1)] == [choice["text"] for choice in whole["choices"]]
    assert [bool(chunk.get("usage")) for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["usage"]["total_tokens"] == whole["usage"]["total_tokens"]


def test_a_stream_shows_no_usage_unless_asked(client):
    chunks = stream(client, PROMPT)
    assert all(chunk["choices"] for chunk in chunks)
    assert not any(chunk.get("usage") for chunk in chunks)


def test_token_arrays_are_prompts(client):
    spelled = complete(client, "hi there")
    assert complete(client, HI_THERE)["choices"][0]["text"] == spelled["choices"][0]["text"]
    both = complete(client, [HI_THERE, HI_THERE])
    assert [choice["text"] for choice in both["choices"]] == [spelled["choices"][0]["text"]] * 2
    assert both["usage"]["prompt_tokens"] == 4


def test_echo_puts_the_prompt_in_front(client):
    plain = complete(client, PROMPT)["choices"][0]["text"]
    assert complete(client, PROMPT, echo=True)["choices"][0]["text"] == PROMPT + plain
    assert text(stream(client, PROMPT, echo=True)) == PROMPT + plain


def test_logprobs_are_the_legacy_lists(client):
    choice = complete(client, PROMPT, logprobs=2)["choices"][0]
    lists = choice["logprobs"]
    lengths = {len(lists[name]) for name in ("tokens", "token_logprobs", "top_logprobs", "text_offset")}
    assert len(lengths) == 1
    assert "".join(lists["tokens"]) == choice["text"]
    assert all(logprob <= 0 for logprob in lists["token_logprobs"])
    assert all(1 <= len(top) <= 3 for top in lists["top_logprobs"])
    assert lists["text_offset"] == sorted(lists["text_offset"])


def test_echo_with_logprobs_scores_the_prompt_too(client):
    raw = client.completions.with_raw_response.create(
        model=CHAT, prompt=PROMPT, echo=True, logprobs=1, max_tokens=2, temperature=0
    )
    choice = raw.http_response.json()["choices"][0]
    lists = choice["logprobs"]
    assert "".join(lists["tokens"]) == choice["text"]
    assert choice["text"].startswith(PROMPT)
    # Nothing comes before the first token, so it has no score. (The SDK's type forgets the null that OpenAI sends.)
    assert lists["token_logprobs"][0] is None
    assert all(logprob <= 0 for logprob in lists["token_logprobs"][1:])
    assert lists["text_offset"][0] == 0


def test_echo_without_tokens_scores_a_text(client):
    raw = client.completions.with_raw_response.create(model=CHAT, prompt=PROMPT, echo=True, logprobs=1, max_tokens=0)
    body = raw.http_response.json()
    assert body["choices"][0]["text"] == PROMPT
    assert body["usage"]["completion_tokens"] == 0


@pytest.mark.parametrize(
    "prompt",
    [
        "<|im_start|>user\nSay hi.<|im_end|>\n<|im_start|>assistant\nHi.<|im_end|><|im_end|>",
        "<|endoftext|>Paris is<|endoftext|>",
        "a\0b",
        [2],
        [2, 6004, 2, 665],
    ],
)
def test_a_prompts_special_tokens_are_scored_like_any(client, prompt):
    """The engine's grammars let no token through that would end the answer."""
    raw = client.completions.with_raw_response.create(model=CHAT, prompt=prompt, echo=True, logprobs=2, max_tokens=0)
    body = raw.http_response.json()
    choice = body["choices"][0]
    lists = choice["logprobs"]
    assert "".join(lists["tokens"]) == choice["text"]
    assert choice["text"] == (
        prompt if isinstance(prompt, str) else {1: "<|im_end|>", 4: "<|im_end|>hi<|im_end|> there"}[len(prompt)]
    )
    assert lists["token_logprobs"][0] is None
    assert all(logprob < 0 for logprob in lists["token_logprobs"][1:])
    assert lists["text_offset"] == [len("".join(lists["tokens"][:place])) for place in range(len(lists["tokens"]))]
    assert body["usage"]["prompt_tokens"] == len(lists["tokens"])


def test_a_letter_of_several_tokens_is_scored_and_counted_as_one(client):
    prompt = "é 😀 你好 x<|im_end|>😀"
    raw = client.completions.with_raw_response.create(model=CHAT, prompt=prompt, echo=True, logprobs=1, max_tokens=0)
    choice = raw.http_response.json()["choices"][0]
    lists = choice["logprobs"]
    assert choice["text"] == prompt
    assert len(lists["tokens"]) > len("é 😀 你好 x😀") + 1, "the case is there: letters in pieces"
    assert all(logprob < 0 for logprob in lists["token_logprobs"][1:])
    assert lists["text_offset"] == sorted(lists["text_offset"])
    assert lists["text_offset"][lists["tokens"].index("<|im_end|>")] == prompt.index("<")
    assert lists["text_offset"][-1] <= len(prompt) - 1


def test_scores_do_not_depend_on_how_a_prompt_is_cut_into_calls(client):
    """What stands before a special token has the same score as without it; the token itself is likely where a turn ends."""

    def scored(prompt: str) -> list[float]:
        raw = client.completions.with_raw_response.create(model=CHAT, prompt=prompt, echo=True, logprobs=0, max_tokens=0)
        return raw.http_response.json()["choices"][0]["logprobs"]["token_logprobs"][1:]

    turn = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\nThe capital of France is Paris."
    before, ended = scored(turn), scored(f"{turn}<|im_end|>\n")
    assert ended[: len(before)] == pytest.approx(before, abs=0.1)
    assert ended[len(before)] > -1


def test_a_stop_sequence_ends_the_text_before_it(client):
    whole = complete(client, "One, two, three,", max_tokens=16)["choices"][0]["text"]
    choice = complete(client, "One, two, three,", max_tokens=16, stop=",")["choices"][0]
    assert choice["text"] == whole[: whole.index(",")]
    assert choice["finish_reason"] == "stop"


def test_a_seed_repeats_a_text(client):
    texts = [complete(client, PROMPT, temperature=1.5, seed=11)["choices"][0]["text"] for _ in range(2)]
    assert texts[0] == texts[1]


def test_the_object_survives_strict_validation_through_the_sdk_too(client):
    validated(Completion, client.completions.create(model=CHAT, prompt=PROMPT, max_tokens=2).to_dict(mode="json"))
