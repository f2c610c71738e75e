"""What OpenAI's SDK stores, goes on from, lists and deletes, against a server on the fake engine; SQLite and PostgreSQL."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types.chat import ChatCompletion
from openai.types.conversations import Conversation
from openai.types.responses import Response

from tests.conftest import Server, fake_model, serving, until
from tests.sdk.test_responses import connect, events_of
from tests.state.servers import DATABASES, database


@pytest.fixture(scope="module", params=DATABASES)
def stored(request, tmp_path_factory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("stored")
    fake_model(data, context_limit=4096)
    with database(request.param) as url, serving(data, env={"FREEHOLD_DEFAULT_CHAT": "fake", **url}) as server:
        yield server


@pytest.fixture(scope="module")
def client(stored) -> Iterator[openai.OpenAI]:
    with connect(stored) as client:
        yield client


def say(client: openai.OpenAI, text: Any, **fields: Any) -> Response:
    made = client.responses.with_raw_response.create(model="fake", input=text, **fields)
    return Response.model_validate_json(made.http_response.content)


def shown(items: Any) -> list[str]:
    return [part.text for item in items for part in item.content]


def test_a_response_is_kept_as_it_was_told_and_can_be_deleted(client):
    made = say(client, "one two three", metadata={"for": "test"}, instructions="Be brief.")
    assert client.responses.retrieve(made.id).model_dump() == made.model_dump()
    assert client.responses.delete(made.id) is None
    for gone in (client.responses.retrieve, client.responses.delete, client.responses.input_items.list):
        with pytest.raises(openai.NotFoundError):
            gone(made.id)


def test_what_is_streamed_is_kept_before_its_end_is_told(client):
    with client.responses.create(model="fake", input="one two three", stream=True) as events:
        last = list(events)[-1]
    assert last.type == "response.completed"
    assert client.responses.retrieve(last.response.id).output_text == last.response.output_text == "one two three"


def test_what_is_not_to_be_stored_is_not(client):
    made = say(client, "secret", store=False)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_a_response_goes_on_from_another(client):
    first = say(client, "alpha beta")
    second = say(client, "gamma", previous_response_id=first.id)
    third = say(client, [{"role": "user", "content": "delta"}], previous_response_id=second.id)
    assert third.previous_response_id == second.id
    assert first.usage.input_tokens < second.usage.input_tokens < third.usage.input_tokens
    read = list(client.responses.input_items.list(third.id, order="asc", limit=2))
    assert shown(read) == ["alpha beta", "alpha beta", "gamma", "gamma", "delta"]
    assert shown(client.responses.input_items.list(third.id, limit=2).data) == ["delta", "gamma"]
    client.responses.delete(second.id)
    with pytest.raises(openai.BadRequestError, match="was deleted"):
        say(client, "x", previous_response_id=third.id)
    with pytest.raises(openai.BadRequestError, match="not found"):
        say(client, "x", previous_response_id="resp_none")


def test_an_item_is_referred_to_by_its_id(client):
    first = say(client, "alpha beta")
    both = say(client, [{"type": "item_reference", "id": first.output[0].id}, {"role": "user", "content": "gamma"}])
    assert shown(client.responses.input_items.list(both.id, order="asc")) == ["alpha beta", "gamma"]
    with pytest.raises(openai.NotFoundError, match="msg_none"):
        say(client, [{"type": "item_reference", "id": "msg_none"}])


def test_a_conversation_grows_with_each_response(client):
    begun = client.conversations.create(items=[{"role": "user", "content": "alpha"}], metadata={"topic": "letters"})
    assert isinstance(begun, Conversation)
    answered = say(client, "beta", conversation=begun.id)
    assert answered.conversation is not None and answered.conversation.id == begun.id
    say(client, "gamma", conversation={"id": begun.id}, store=False)
    items = list(client.conversations.items.list(begun.id, order="asc", limit=2))
    assert shown(items) == ["alpha", "beta", "beta", "gamma", "gamma"]
    added = client.conversations.items.create(begun.id, items=[{"role": "user", "content": "delta"}])
    assert client.conversations.items.retrieve(added.data[0].id, conversation_id=begun.id).content[0].text == "delta"
    client.conversations.items.delete(items[0].id, conversation_id=begun.id)
    assert shown(client.conversations.items.list(begun.id, order="asc"))[:2] == ["beta", "beta"]
    assert client.conversations.update(begun.id, metadata={"topic": "greek"}).metadata == {"topic": "greek"}
    assert client.conversations.retrieve(begun.id).metadata == {"topic": "greek"}
    assert client.conversations.delete(begun.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.conversations.items.list(begun.id)
    with pytest.raises(openai.NotFoundError):
        say(client, "x", conversation=begun.id)
    assert client.responses.retrieve(answered.id).output_text == "beta"


def test_a_response_in_the_background_is_polled(client):
    made = say(client, '[[fake:{"tokens": 20, "token_delay_s": 0.02}]] a b c', background=True)
    assert made.status == "queued"
    done = until(lambda: (now := client.responses.retrieve(made.id)).status == "completed" and now)
    assert len(done.output_text.split()) == 20
    assert done.background and done.usage is not None
    events = list(client.responses.retrieve(made.id, stream=True, starting_after=2))
    assert [event.sequence_number for event in events[:2]] == [3, 4]
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == done.output_text


def test_a_background_response_outlives_the_client_of_its_stream(client):
    text = '[[fake:{"tokens": 30, "token_delay_s": 0.02}]] a b c'
    with client.responses.create(model="fake", input=text, background=True, stream=True) as events:
        identity = next(iter(events)).response.id
        seen = [next(iter(events)).type for _ in range(2)]
    assert seen == ["response.queued", "response.in_progress"]
    assert client.responses.retrieve(identity).status == "in_progress"
    rest = list(client.responses.retrieve(identity, stream=True, starting_after=2))
    assert rest[0].sequence_number == 3
    assert until(lambda: client.responses.retrieve(identity).status == "completed")


def test_a_background_response_is_cancelled_and_only_such(client):
    made = say(client, '[[fake:{"tokens": 500, "token_delay_s": 0.05}]] a', background=True)
    until(lambda: client.responses.retrieve(made.id).status == "in_progress")
    assert client.responses.cancel(made.id).status == "cancelled"
    assert client.responses.cancel(made.id).status == "cancelled"
    assert client.responses.retrieve(made.id).status == "cancelled"
    assert list(client.responses.retrieve(made.id, stream=True))[-1].type == "error"
    with pytest.raises(openai.BadRequestError, match="cancelled"):
        say(client, "x", previous_response_id=made.id)
    with pytest.raises(openai.BadRequestError, match="background"):
        client.responses.cancel(say(client, "x").id)
    with pytest.raises(openai.BadRequestError, match="must be stored"):
        say(client, "x", background=True, store=False)


def test_a_background_response_that_fails_says_why(client, stored):
    for text in ('[[fake:{"tokens": 9, "die_at_token": 3}]] one two', "word " * 20_000):
        made = say(client, text, background=True)
        failed = until(lambda made=made: (now := client.responses.retrieve(made.id)).status == "failed" and now)
        assert failed.error is not None and failed.error.message
        assert list(client.responses.retrieve(made.id, stream=True))[-1].type in ("error", "response.failed")


def test_an_unfinished_background_response_is_deleted_for_good(client):
    made = say(client, '[[fake:{"tokens": 500, "token_delay_s": 0.05}]] a', background=True)
    client.responses.delete(made.id)
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve(made.id)


def test_the_oldest_items_are_left_out_where_that_is_asked_for(client, stored):
    items = [{"role": "user", "content": f"{number} " + "x" * 800} for number in range(10)]
    with pytest.raises(openai.BadRequestError) as caught:
        say(client, [*items, {"role": "user", "content": "last"}])
    assert caught.value.code == "context_length_exceeded"
    for streamed in (False, True):
        body = {"model": "fake", "input": [*items, {"role": "user", "content": "last"}], "truncation": "auto"}
        status, _, answer = stored.post("/v1/responses", body | {"stream": streamed})
        response = events_of(answer)[-1]["response"] if streamed else answer
        assert (status, response["truncation"]) == (200, "auto")
        assert 1000 < response["usage"]["input_tokens"] < 3100
        assert response["output"][0]["content"][0]["text"] == "last"


def chat(client: openai.OpenAI, text: str, **fields: Any) -> ChatCompletion:
    messages: Any = [{"role": "user", "content": text}]
    made: ChatCompletion = client.chat.completions.create(model="fake", messages=messages, store=True, **fields)
    return made


def test_a_chat_completion_is_stored_listed_relabelled_and_deleted(client):
    first = chat(client, "one two", metadata={"kind": "test", "n": "1"})
    second = chat(client, "three", metadata={"kind": "test", "n": "2"})
    chat(client, "four", metadata={"kind": "other"})
    stored = client.chat.completions.retrieve(first.id)
    assert stored.choices[0].message.content == first.choices[0].message.content == "one two"
    listed = list(client.chat.completions.list(metadata={"kind": "test"}, limit=1))
    assert {item.id for item in listed} == {first.id, second.id}
    assert [item.id for item in client.chat.completions.list(metadata={"kind": "test", "n": "2"})] == [second.id]
    changed = client.chat.completions.update(first.id, metadata={"kind": "new"})
    assert changed.metadata == {"kind": "new"}  # type: ignore[attr-defined]
    (message,) = client.chat.completions.messages.list(first.id)
    assert (message.role, message.content) == ("user", "one two")
    assert client.chat.completions.delete(first.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.chat.completions.retrieve(first.id)


def test_labels_that_a_database_takes_for_one_are_one(client):
    made = client.chat.completions.create(
        model="fake", messages=[{"role": "user", "content": "hello"}], store=True, metadata={"a\u0000": "1", "a\ufffd": "2"}
    )
    assert client.chat.completions.retrieve(made.id).metadata == {"a\ufffd": "2"}


def test_a_streamed_chat_is_stored_whole(client):
    with chat(client, "one two three", stream=True, n=2, metadata={"kind": "streamed"}) as chunks:
        identity = {chunk.id for chunk in chunks}.pop()
    stored = client.chat.completions.retrieve(identity)
    assert [choice.message.content for choice in stored.choices] == ["one two three"] * 2
    assert stored.usage is not None and stored.usage.completion_tokens > 0


@pytest.mark.parametrize(
    ("path", "param"),
    [
        ("/v1/responses/{id}/input_items?limit=0", "limit"),
        ("/v1/responses/{id}/input_items?order=up", "order"),
        ("/v1/responses/{id}/input_items?after=none", "after"),
        ("/v1/responses/{id}?stream=true&starting_after=x", "starting_after"),
        ("/v1/responses/{id}?stream=true", "stream"),
        ("/v1/responses/%00", None),
        ("/v1/conversations/%ff%fe", None),
    ],
)
def test_what_is_asked_wrongly_is_told(client, stored, path, param):
    status, _, body = stored.get(path.replace("{id}", say(client, "x").id))
    assert (status, body["error"]["param"]) == (404 if param in (None, "stream") else 400, param)


def test_any_text_is_kept_as_it_is(client, stored):
    text = "null \u0000, half \ufffd, snow ☃, 𝄞"
    made = say(client, text, metadata={"a\u0000": "b\u0000"})
    assert client.responses.retrieve(made.id).metadata == {"a\u0000": "b\u0000"}
    (item,) = client.responses.input_items.list(made.id)
    assert item.content[0].text == text
    status, _, body = stored.post(
        "/v1/conversations", {"metadata": {"x": "y"}, "items": [{"type": "item_reference", "id": "a"}]}
    )
    assert (status, body["error"]["param"]) == (400, "items[0].type")
    assert json.dumps(body)


SOCKET = pytest.mark.filterwarnings(r"ignore:connect\(\) must be used:DeprecationWarning")  # the SDK's own way to connect


@SOCKET
def test_responses_are_made_over_a_websocket(client, stored):
    with client.responses.connect() as connection:

        def talk(**fields: Any) -> Any:
            connection.response.create(model="fake", **fields)
            return next(event for event in connection if event.type in ("response.completed", "error"))

        first = talk(input="alpha beta", store=False, stream_id="lane_1")
        assert first.response.output_text == "alpha beta"
        assert first.to_dict()["stream_id"] == "lane_1"
        second = talk(input="gamma", previous_response_id=first.response.id)
        assert second.response.usage.input_tokens > first.response.usage.input_tokens
        assert client.responses.retrieve(second.response.id).output_text == "gamma"
        for wrong, param in (({"input": 5}, "input"), ({"input": "x", "background": True}, "background")):
            failed = talk(**wrong)
            assert (failed.type, failed.param) == ("error", param)
        assert talk(input="x", previous_response_id=first.response.id).code == "previous_response_not_found"
        assert talk(input="delta").response.output_text == "delta"
    assert stored.get("/v1/responses")[0] == 426


@SOCKET
def test_who_leaves_a_socket_ends_what_is_made_for_it(client, stored):
    with client.responses.connect() as connection:
        connection.response.create(model="fake", input='[[fake:{"tokens": 5000, "token_delay_s": 0.05}]] a b')
        assert next(iter(connection)).type == "response.created"
        assert stored.metric("freehold_leases", model="fake") == 1
    until(lambda: stored.metric("freehold_leases", model="fake") == 0)
