"""A stream's events put together again, as the whole answer that they are a stream of."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from freehold.errors import ContextLengthExceeded, EngineBadResponse, FreeholdError
from freehold.protocol import sse
from freehold.protocol.assemble import Assembly

USAGE = {"prompt_tokens": 3, "completion_tokens": 5, "total_tokens": 8}
CHAT = {"id": "chatcmpl-1", "created": 7, "model": "m", "system_fingerprint": "f", "object": "chat.completion.chunk"}
TEXT = CHAT | {"object": "text_completion"}


def chat(*deltas: dict[str, Any], finish: str = "stop", **more: Any) -> list[dict[str, Any]]:
    """The chunks of a chat: one for each delta, then the finish, then the usage."""
    choices = [{"index": 0, "delta": delta, "finish_reason": None, **more} for delta in deltas]
    choices.append({"index": 0, "delta": {}, "finish_reason": finish})
    return [*(CHAT | {"choices": [choice]} for choice in choices), CHAT | {"choices": [], "usage": USAGE}]


def assembled(chunks: list[Any], seed: int = 0) -> dict[str, Any]:
    """The answer, from bytes that are cut anywhere."""
    chance, assembly = random.Random(seed), Assembly("messages", "grammar")
    data = b"".join(map(sse.encode, chunks)) + b":\n\n" + sse.DONE
    while data:
        assert not assembly.complete
        size = chance.choice((1, 7, 400))
        assembly.feed(data[:size])
        data = data[size:]
    assert assembly.complete
    return assembly.answer()


@pytest.mark.parametrize("seed", range(5))
def test_a_chat_is_its_deltas_together(seed: int) -> None:
    answer = assembled(chat({"role": "assistant", "content": None}, {"content": "Grü"}, {"content": "ße\n"}), seed)
    assert answer == CHAT | {
        "object": "chat.completion",
        "choices": [{"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Grüße\n"}}],
        "usage": USAGE,
    }


def test_an_answer_without_a_word_is_empty_and_not_missing() -> None:
    (choice,) = assembled(chat({"role": "assistant", "content": None}, finish="length"))["choices"]
    assert (choice["message"], choice["finish_reason"]) == ({"role": "assistant", "content": ""}, "length")


def test_thoughts_are_kept_apart() -> None:
    deltas = ({"reasoning_content": "hm"}, {"reasoning_content": ", yes"}, {"content": "Yes"}, {"content": "."})
    (choice,) = assembled(chat(*deltas))["choices"]
    assert choice["message"] == {"role": "assistant", "content": "Yes.", "reasoning_content": "hm, yes"}


def test_calls_are_told_apart_by_their_index_and_arguments_add_up() -> None:
    def part(index: int, **function: str) -> dict[str, Any]:
        return {"index": index, "function": function}

    deltas = [
        [part(0, name="get", arguments="") | {"id": "a", "type": "function"}],
        [part(0, name="get_weather") | {"id": "a"}],  # a name that was still growing comes again
        [part(0, arguments='{"city"'), part(1, name="light", arguments='{"on"') | {"id": "b", "type": "function"}],
        [part(1, arguments=":true}")],
        [part(0, arguments=':"Rome"}')],
    ]
    (choice,) = assembled(chat(*({"tool_calls": delta} for delta in deltas), finish="tool_calls"))["choices"]
    assert choice["message"]["tool_calls"] == [
        {"type": "function", "id": "a", "function": {"name": "get_weather", "arguments": '{"city":"Rome"}'}},
        {"type": "function", "id": "b", "function": {"name": "light", "arguments": '{"on":true}'}},
    ]
    assert (choice["finish_reason"], choice["message"]["content"]) == ("tool_calls", "")


def test_log_probabilities_follow_each_other() -> None:
    tokens = [{"token": token, "logprob": -1.0, "bytes": [1], "top_logprobs": []} for token in "ab"]
    chunks = [chat({"content": "ab"}, logprobs={"content": tokens, "refusal": None})[0], *chat({"content": "ab"})]
    (choice,) = assembled(chunks)["choices"]
    assert choice["logprobs"] == {"content": tokens, "refusal": []}


def test_a_completion_is_its_texts_together() -> None:
    choices = [
        {"index": 0, "text": " a", "logprobs": {"content": [{"token": " a", "logprob": -1.5}]}, "finish_reason": None},
        {"index": 0, "text": "", "logprobs": {"content": [{"token": "", "logprob": -2.0}]}, "finish_reason": None},
        {"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"},
    ]
    chunks = [TEXT | {"choices": [choice]} for choice in choices]
    chunks[-1] |= {"usage": USAGE}
    together = {"content": [{"token": " a", "logprob": -1.5}, {"token": "", "logprob": -2.0}]}
    assert assembled(chunks) == TEXT | {
        "choices": [{"index": 0, "text": " a", "logprobs": together, "finish_reason": "stop"}],
        "usage": USAGE,
    }


def test_an_error_event_is_what_the_engine_means_by_it() -> None:
    long = {"code": 400, "message": "too long", "type": "exceed_context_size_error", "n_prompt_tokens": 9, "n_ctx": 8}
    with pytest.raises(ContextLengthExceeded) as caught:
        assembled([*chat({"content": "a"})[:1], {"error": long}])
    assert (caught.value.status, caught.value.param) == (400, "messages")
    broken = {"code": 500, "message": "Compute error.", "type": "server_error"}
    for event in ({"error": broken}, broken, {"error": "no object"}):
        with pytest.raises(EngineBadResponse) as worse:
            assembled([*chat({"content": "a"})[:1], event])
        assert worse.value.status == 502


@pytest.mark.parametrize(
    "event",
    [b"[]", b"7", b"null", b"{", b"\xff", b"[" * 5000, b'{"choices":7}', b'{"choices":[7]}', b'{"choices":[{"delta":7}]}',
     b'{"choices":[{"delta":{"tool_calls":[{}]}}]}', b'{"choices":[{"text":7,"finish_reason":"stop"}]}', b'{"choices":[{}]}',
     b'{"choices":[{"delta":{"content":{}},"finish_reason":"stop"}]}', b'{"choices":[{"text":"","logprobs":[7]}]}'],
)  # fmt: skip
def test_what_is_no_chunk_is_a_bad_response(event: bytes) -> None:
    assembly = Assembly("messages", "grammar")
    with pytest.raises(EngineBadResponse):
        assembly.feed(b"data: " + event + b"\n\n" + sse.DONE)
        assembly.answer()


def test_an_end_that_the_engine_held_back_is_known_to_lack() -> None:
    def lacks(told: int | None, finish: str) -> bool:
        assembly, (first, *rest) = Assembly("messages", "grammar"), chat({"content": "a"}, finish=finish)
        timings = {} if told is None else {"timings": {"predicted_n": told}}
        for chunk in (first | timings, *rest):
            assembly.feed(sse.encode(chunk))
        assert ("timings" in assembly.answer()) == (told is not None)
        return assembly.lacks

    made = USAGE["completion_tokens"]
    assert lacks(made - 1, "length")
    assert not lacks(made, "length")
    assert not lacks(made - 1, "stop"), "the end of a text has no piece of its own"
    assert not lacks(None, "length")
    assembly = Assembly("messages", "grammar")
    for chunk in chat({"role": "assistant", "content": None}, finish="length"):
        assembly.feed(sse.encode(chunk | {"timings": {"predicted_n": made}}))
    assert assembly.lacks, "nothing was said"


@pytest.mark.parametrize("chunks", [[], chat()[-1:], chat({"content": "a"})[:1]])
def test_an_end_before_the_end_is_an_error(chunks: list[Any]) -> None:
    with pytest.raises(FreeholdError):
        assembled(json.loads(json.dumps(chunks)))
