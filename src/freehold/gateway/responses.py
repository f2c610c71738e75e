"""OpenAI's Responses API."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from freehold.gateway.inference import answer
from freehold.gateway.services import Services
from freehold.protocol.requests.responses import ResponsesRequest
from freehold.protocol.responses.plan import responses_plan


async def create(services: Services, request: Request) -> Response:
    return await answer(services, request, ResponsesRequest, responses_plan)
