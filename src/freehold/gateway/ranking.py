"""POST /v1/rerank, /rerank and /v2/rerank: documents in the order in which they answer a query."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from freehold.gateway.inference import answer
from freehold.gateway.services import Services
from freehold.protocol.requests.rerank import CohereRequest, RerankRequest
from freehold.protocol.rerank import rerank_plan


async def rerank(services: Services, request: Request) -> Response:
    return await answer(services, request, RerankRequest, rerank_plan)


async def rerank_cohere(services: Services, request: Request) -> Response:
    return await answer(services, request, CohereRequest, rerank_plan)
