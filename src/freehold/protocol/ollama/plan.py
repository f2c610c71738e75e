"""Ollama's requests as plans."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

from freehold.protocol.chat import chat_plan
from freehold.protocol.embeddings import embedding_plan
from freehold.protocol.fim.plan import FillPlan, openai_plan
from freehold.protocol.framing import LINES
from freehold.protocol.ollama.joiner import AnswerJoiner, EmbedJoiner, Said, as_message, as_response
from freehold.protocol.ollama.translate import chat_of, embedding_of, prompt_of, raw_of, thinking
from freehold.protocol.plan import Echoed, Plan
from freehold.protocol.requests.ollama import AnsweredRequest, ChatBody, EmbedBody, EmbeddingsBody, GenerateBody
from freehold.protocol.values import Target


def chat_lines_plan(body: ChatBody, target: Target) -> Plan:
    """All of these raise InvalidRequest for what the model cannot do."""
    return _answered(chat_plan(chat_of(body, target), target, thinking(body, target)), body, as_message)


def generate_plan(body: GenerateBody, target: Target) -> Plan:
    if body.raw or body.suffix:
        return _answered(openai_plan(raw_of(body, target), target), body, as_response)
    return _answered(chat_plan(prompt_of(body, target), target, thinking(body, target)), body, as_response)


def embed_plan(body: EmbedBody | EmbeddingsBody, target: Target) -> Plan:
    plan, began = embedding_plan(embedding_of(body), target), time.monotonic()

    def joiner(echoed: Sequence[Echoed]) -> EmbedJoiner:
        return EmbedJoiner(plan.joiner(echoed), body.model, isinstance(body, EmbeddingsBody), began)

    return replace(plan, joiner=joiner)


def _answered(plan: Plan, body: AnsweredRequest, said: Said) -> Plan:
    began = time.monotonic()
    if isinstance(plan, FillPlan):
        finish = plan.finish
        return replace(plan, relay=False, finish=lambda filled: _answered(finish(filled), body, said), framing=LINES)

    def joiner(echoed: Sequence[Echoed]) -> AnswerJoiner:
        return AnswerJoiner(plan.joiner(echoed), body.model, said, began)

    return replace(plan, relay=False, joiner=joiner, framing=LINES)
