"""OpenAI's Responses API: made, stored, gone on from, retrieved, cancelled and deleted."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response

from freehold.errors import InvalidRequest, NotFound
from freehold.gateway.background import Run
from freehold.gateway.http import Json
from freehold.gateway.inference import answered, received
from freehold.gateway.kept import OWNER, KeptAnswer, asked_id, page_asked
from freehold.gateway.messages import CountedPrompt
from freehold.gateway.services import Services
from freehold.gateway.stream import Told
from freehold.protocol.framing import NAMED_EVENTS
from freehold.protocol.plan import Joiner, Plan
from freehold.protocol.requests.common import Parsed
from freehold.protocol.requests.responses import ResponsesRequest
from freehold.protocol.requests.responses_items import ItemReference, Known
from freehold.protocol.responses.joiner import ResponsesJoiner
from freehold.protocol.responses.plan import own_items, plan_of, shortened
from freehold.protocol.responses.records import known, record
from freehold.protocol.values import Target
from freehold.state.paging import page_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from freehold.state.database import Database


async def create(services: Services, request: Request) -> Response:
    return await created(services, request, await received(services, request, ResponsesRequest))


async def created(
    services: Services, request: Request, parsed: Parsed[ResponsesRequest], recent: Recent | None = None
) -> Response:
    """The answer to a request. `recent` is the response that came before it on the same socket."""
    asked = await _recall(services, parsed.value, recent)
    if parsed.value.background:
        return await _begin(services, request, parsed, asked)
    return await _answer(services, request, parsed, asked, recent)


async def count_tokens(services: Services, request: Request) -> Response:
    """How many tokens a request's prompt has, those of all that it goes on from among them."""
    parsed = await received(services, request, ResponsesRequest)
    asked = await _recall(services, parsed.value, None)

    def planner(value: ResponsesRequest, target: Target) -> Plan:
        return plan_of(_counting(value), asked.context, target, asked.identity, asked.created)

    return await answered(services, request, parsed, planner, made=_Counted)


class _Counted(CountedPrompt):
    kind: ClassVar[dict[str, str]] = {"object": "response.input_tokens"}


async def compact(services: Services, request: Request) -> Response:
    """Refused as what is not there: a 405 would speak of a response called "compact", and SDKs try a 501 again."""
    raise NotFound("This server compacts no conversations; set 'truncation' to \"auto\" instead.", code="unknown_url")


async def get(services: Services, request: Request) -> Response:
    identity, query = asked_id(request, "response"), request.query_params
    response = await services.state.run(lambda db, c: db.responses.load(c, OWNER, identity))
    if query.get("stream", "false") != "true":
        return Json(response)
    after = query.get("starting_after", "-1")
    if not after.removeprefix("-").isdecimal() or len(after) > 9:
        raise InvalidRequest("Invalid 'starting_after': expected a sequence number.", param="starting_after")
    return _followed(services, services.background.find(OWNER, identity), int(after) + 1)


async def delete(services: Services, request: Request) -> Response:
    identity = asked_id(request, "response")
    await services.state.run(lambda db, c: db.responses.load(c, OWNER, identity))
    await services.background.drop(identity)
    await services.state.run(lambda db, c: db.responses.remove(c, OWNER, identity), erase=True)
    return Json({"id": identity, "object": "response", "deleted": True})


async def cancel(services: Services, request: Request) -> Response:
    identity = asked_id(request, "response")
    response = await services.state.run(lambda db, c: db.responses.load(c, OWNER, identity))
    if not response["background"]:
        raise InvalidRequest("Only a response that is made in the background can be cancelled.", code="invalid_value")
    await services.background.cancel(identity)
    ending = {"status": "cancelled"}
    return Json(await services.state.run(lambda db, c: db.responses.end(c, OWNER, identity, ending)))


async def input_items(services: Services, request: Request) -> Response:
    identity, page = asked_id(request, "response"), page_asked(request)
    given = await services.state.run(lambda db, c: db.responses.given(c, OWNER, identity))
    return Json(page_of(given, page))


@dataclass
class Recent:
    """The last response of a socket, with all that led to it: it can be gone on from there even when it is not stored."""

    identity: str = ""
    said: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class _Asked:
    """What the model is to read, the request's own items last; those and the earlier ones as they are stored."""

    identity: str
    created: int
    context: Sequence[Known]
    own: Sequence[dict[str, Any]]
    earlier: Sequence[dict[str, Any]]


async def _recall(services: Services, request: ResponsesRequest, recent: Recent | None) -> _Asked:
    """Looks up all that a request goes on from. Raises NotFound, InvalidRequest."""
    own = own_items(request)
    references = {item.id for item in own if isinstance(item, ItemReference)}
    previous, conversation = request.previous_response_id, request.conversation
    here = recent is not None and previous is not None and recent.identity == previous

    def look(db: Database, c: Connection) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
        earlier = db.responses.history(c, OWNER, previous) if previous is not None and not here else []
        if conversation is not None:
            earlier = db.conversations.listed(c, OWNER, conversation.id)
        return earlier, db.responses.find_items(c, OWNER, references)

    stored = references or conversation or (previous and not here)
    earlier, found = await services.state.run(look) if stored else ([], {})
    if recent is not None and here:
        earlier = list(recent.said)
    records = [found[item.id] if isinstance(item, ItemReference) else record(item) for item in own]
    plain = known(records) if references else own
    context = [*known(earlier), *plain]
    return _Asked(f"resp_{secrets.token_hex(24)}", int(time.time()), context, records, earlier)


def _counting(request: ResponsesRequest) -> ResponsesRequest:
    """The same prompt, of which no more than a token is answered."""
    return request.model_copy(update={"stream": None, "max_output_tokens": 1})


async def _answer(
    services: Services, request: Request, parsed: Parsed[ResponsesRequest], asked: _Asked, recent: Recent | None = None
) -> Response:
    wanted = parsed.value
    targets: list[Target] = []

    def planner(value: ResponsesRequest, target: Target) -> Plan:
        targets.append(target)
        return plan_of(value, asked.context, target, asked.identity, asked.created)

    def shorter(left_out: int) -> tuple[Plan, Plan]:
        context = shortened(asked.context, left_out)
        whole = plan_of(wanted, context, targets[-1], asked.identity, asked.created)
        return whole, plan_of(_counting(wanted), context, targets[-1], asked.identity, asked.created)

    async def keep(joiner: Joiner, _: Mapping[str, Any] | None) -> None:
        if not isinstance(joiner, ResponsesJoiner):
            return
        if wanted.store is not False or wanted.conversation is not None:
            await _store(services, wanted, asked, joiner.response)
        if recent is not None:
            recent.identity = asked.identity
            recent.said = [*asked.earlier, *asked.own, *joiner.response["output"]]

    cut = wanted.truncation == "auto"
    made = partial(KeptAnswer, keep=keep, shorter=shorter if cut else None, longest=len(asked.context) - 1)
    return await answered(services, request, parsed, planner, made=made)


async def _store(services: Services, wanted: ResponsesRequest, asked: _Asked, response: Mapping[str, Any]) -> None:
    conversation = wanted.conversation.id if wanted.conversation else None
    previous, stored = wanted.previous_response_id, wanted.store is not False

    def write(db: Database, c: Connection) -> None:
        kept = db.responses.Kept(OWNER, asked.own, previous, conversation, stored)
        db.responses.save(c, kept, response)

    await services.state.run(write)


async def _begin(services: Services, request: Request, parsed: Parsed[ResponsesRequest], asked: _Asked) -> Response:
    """Stores the response as queued, and has it made whether its client stays or not."""
    wanted = parsed.value
    followed = Parsed(wanted.model_copy(update={"stream": True}), parsed.ignored)
    answer = await _answer(services, request, followed, asked)
    queued = answer.first() | {"status": "queued"} if isinstance(answer, KeptAnswer) else {}
    await _store(services, wanted, asked, queued)
    scope = {name: value for name, value in request.scope.items() if name != "state"}
    run = services.background.begin(OWNER, asked.identity, scope, answer)
    return _followed(services, run, 0) if wanted.stream else Json(queued)


def _followed(services: Services, run: Run, place: int) -> Response:
    """The events of a background response from a place on, those to come included."""

    async def pieces() -> AsyncGenerator[bytes, None]:
        begun = place
        yield b""
        while begun < len(run.frames) or not run.done:
            if frames := run.frames[begun:]:
                begun += len(frames)
                yield b"".join(frames)
            else:
                await run.more()

    return Told(pieces(), services.settings.timeouts.write, NAMED_EVENTS.content_type)
