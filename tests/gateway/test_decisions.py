"""Decisions by tiny models with random weights through the real engine, asked by OpenAI's own client and as System One is."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import openai
import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving
from tests.zoo import shapes, tokenizers
from tests.zoo.build import Shape, write

# What llama.cpp gives a decision model's template: the state, one question and its options with their labels.
TEMPLATE = (
    "{{ state if state is string else state | tojson }}\n{{ type }}: {{ instructions }}\n"
    "{% for option in options %}{{ option.label }} {{ option.key }} {{ option.description }}\n{% endfor %}Answer:"
)
STATE = "I was charged twice for the same order."
QUESTIONS: dict[str, Any] = {
    "topic": {"type": "choice", "instructions": "What is it about?", "criteria": {"billing": "Payments", "bug": None}},
    "urgent": {"type": "noul", "instructions": "It is urgent."},
    "mood": {"type": "score", "instructions": "How angry?", "criteria": ["calm", "cross", "furious"]},
}


def decider(kind: str) -> Shape:
    shape = shapes._decoder(kind, "llama", tokenizers.bpe("qwen2"), shapes._plain)
    keys = {**shape.keys, "context_length": 1024, "decision.type": kind}
    return replace(shape, keys=keys, general={"tokenizer.chat_template.systemone": TEMPLATE})


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("decisions")
    for kind in ("nimble", "openjev"):
        path = write(decider(kind), tmp_path_factory.mktemp("file"))
        pull(Store(data), str(path), name=kind, on_progress=lambda progress: None)
    fake_model(data)
    env = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake",
        "FREEHOLD_PRELOAD": "false",
        "FREEHOLD_ENGINE_SLOTS": "2",
    }
    with serving(data, env=env, ready=False) as running:
        yield running


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as made:
        yield made


def systemone(server: Server, **fields: Any) -> dict[str, Any]:
    status, _, answer = server.post("/v1/systemone", {"model": "nimble", "state": STATE, "questions": QUESTIONS} | fields)
    assert status == 200, answer
    return dict(answer)


def test_every_kind_of_question_has_its_probabilities(server: Server) -> None:
    answer = systemone(server)
    assert (answer["model"], list(answer["answers"])) == ("nimble", list(QUESTIONS))
    topic, urgent, mood = answer["answers"].values()
    assert sum(topic["probabilities"].values()) == pytest.approx(1)
    assert topic["choice"] == max(topic["probabilities"], key=topic["probabilities"].get)
    assert 0 < urgent["noul"] < 1
    assert mood["score"] == pytest.approx(sum(int(level) * share for level, share in mood["probabilities"].items()))
    assert (answer["usage"]["input_tokens"] > len(STATE), answer["usage"]["output_tokens"]) == (True, 0)
    other = systemone(server, model="openjev", state=[{"role": "user", "content": STATE}])
    assert other["answers"]["topic"]["probabilities"] != topic["probabilities"]


def test_openais_client_gets_the_same_answers_in_its_order(server: Server, client: openai.OpenAI) -> None:
    questions: Any = [
        {"type": "predicate", "instructions": "It is urgent.", "name": "urgent"},
        {
            "type": "choice",
            "instructions": [{"type": "input_text", "text": "What is it about?"}],
            "choices": [{"value": "billing", "description": "Payments"}, {"value": "bug"}],
        },
        {"type": "choice", "instructions": "Is it?", "choices": [{"value": True}, {"value": "maybe"}], "name": "is"},
        {
            "type": "score",
            "instructions": "How angry?",
            "levels": [{"label": "calm"}, {"label": "cross", "description": "raises the voice"}, {"label": "furious"}],
        },
    ]
    decision = client.decisions.create(model="openjev", input=STATE, questions=questions)
    assert decision.model == "openjev"
    urgent, topic, yes, mood = decision.answers
    assert (urgent.type, urgent.name) == ("predicate", "urgent")
    assert (topic.type, topic.name, [each.value for each in topic.probabilities]) == ("choice", None, ["billing", "bug"])
    assert [each.value for each in yes.probabilities] == [True, "maybe"]
    assert yes.choice in (True, "maybe")
    assert [(each.value, each.label) for each in mood.probabilities] == [(0, "calm"), (1, "cross"), (2, "furious")]
    assert decision.usage.total_tokens == decision.usage.input_tokens > 0
    same = systemone(
        server, model="openjev", questions={"urgent": {"type": "noul", "instructions": "It is urgent."}}
    )  # this model is shown one question at a time
    assert same["answers"]["urgent"]["noul"] == pytest.approx(urgent.probability, abs=1e-3)
    messages: Any = [
        {"role": "user", "content": [{"type": "input_text", "text": STATE}, {"type": "input_json", "data": {"order": 7}}]},
        {"type": "function_call", "call_id": "1", "name": "look", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "1", "output": [{"type": "input_text", "text": "found"}]},
    ]
    longer = client.decisions.create(model="gpt-6-luna", input=messages, questions=questions[:1])
    assert longer.model in ("nimble", "openjev")
    assert longer.usage.input_tokens > len(STATE) + 20


def test_special_tokens_in_a_users_text_are_letters(server: Server) -> None:
    question = {"urgent": {"type": "noul", "instructions": "x"}}

    def tokens(state: Any, **fields: Any) -> int:
        return int(systemone(server, model="openjev", state=state, questions=question, **fields)["usage"]["input_tokens"])

    longer = len("<¦im_end¦>".encode())  # of one letter a byte
    assert tokens("x<|im_end|>") - tokens("x") == longer
    assert tokens([{"content": "<|im_end|>"}]) - tokens([{"content": ""}]) == longer
    options = {"a": {"type": "choice", "instructions": "x", "criteria": {"<|im_end|>": None, "b": None}}}
    status, _, answer = server.post("/v1/systemone", {"model": "nimble", "state": "x", "questions": options})
    assert (status, answer["error"]["param"]) == (400, "questions")


def test_models_say_that_they_decide(server: Server) -> None:
    cards = {card["id"]: card for card in server.get("/v1/models")[2]["data"]}
    assert (cards["nimble"]["task"], cards["nimble"]["capabilities"]["decision"]) == ("decision", True)
    assert cards["nimble"]["capabilities"]["chat"] is False
    assert cards["fake"]["capabilities"]["decision"] is False


PICTURE = [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}]


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/v1/systemone", {"model": "fake"}, "model"),
        ("/v1/systemone", {"questions": {}}, "questions"),
        ("/v1/systemone", {"questions": {"a": {"type": "guess", "instructions": "x"}}}, "questions.a.type"),
        (
            "/v1/systemone",
            {"questions": {"a": {"type": "choice", "instructions": "x", "criteria": {}}}},
            "questions.a.criteria",
        ),
        ("/v1/systemone", {"questions": {"a": {"type": "noul", "instructions": None}}}, "questions.a.instructions"),
        ("/v1/systemone", {"questions": {"<|im_end|>": {"type": "noul", "instructions": "x"}}}, "questions"),
        ("/v1/systemone", {"state": 7}, "state"),
        ("/v1/systemone", {"images": ["x"]}, "images"),
        ("/v1/systemone", {"state": "x" * 5000}, "state"),
        ("/v1/systemone", {"stream": True}, "stream"),
        ("/v1/decisions", {"input": PICTURE}, "input[0].content[0]"),
        ("/v1/decisions", {"questions": [{"type": "noul", "instructions": "x"}]}, "questions[0].type"),
        (
            "/v1/decisions",
            {"questions": [{"type": "choice", "instructions": "x", "choices": [{"value": True}, {"value": "true"}]}]},
            "questions[0].choices",
        ),
    ],
)
def test_what_cannot_be_answered_is_refused_by_its_name(server: Server, path: str, fields: dict[str, Any], param: str) -> None:
    asked: dict[str, Any] = {"state": STATE, "questions": QUESTIONS}
    if path == "/v1/decisions":
        asked = {"input": STATE, "questions": [{"type": "predicate", "instructions": "x"}]}
    status, _, answer = server.post(path, {"model": "nimble", **asked, **fields})
    assert (status, answer["error"]["param"]) == (400, param), answer


def test_without_a_decision_model_openais_name_is_a_503_that_says_so(fake_server: Server) -> None:
    asked = {"model": "gpt-6-luna", "input": STATE, "questions": [{"type": "predicate", "instructions": "x"}]}
    status, _, answer = fake_server.post("/v1/decisions", asked)
    assert (status, answer["error"]["code"]) == (503, "no_decision_model")
