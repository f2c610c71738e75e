"""Embeddings: a request to engine calls, and their answers back."""

from __future__ import annotations

import array
import base64
import math
import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from freehold.errors import EngineBadResponse, InvalidRequest
from freehold.protocol.plan import Echoed, OpenAIJoiner, Plan, encode
from freehold.protocol.requests.embedding import EmbeddingRequest
from freehold.protocol.values import Target, Usage

_BATCH = 64  # inputs a call: small enough that others get their turn between two


def embedding_plan(request: EmbeddingRequest, target: Target) -> Plan:
    """Raises InvalidRequest for what this model cannot do."""
    if "embeddings" not in target.capabilities:
        raise InvalidRequest(f"The model {target.name!r} does not make embeddings.", param="model", code="invalid_value")
    for prompt in request.input:
        for token in prompt if isinstance(prompt, list) else ():
            if token >= target.vocab_size:
                raise InvalidRequest(
                    f"Invalid 'input': {token} is not a token of this model, which has {target.vocab_size}.",
                    param="input",
                    code="invalid_value",
                )
    # An engine elsewhere knows itself what its model can be cut to.
    asked = {"dimensions": request.dimensions} if target.external and request.dimensions else {}
    size = None if asked else _size(request, target)
    bodies = tuple(
        encode({"input": request.input[start : start + _BATCH], "encoding_format": "base64", **asked})
        for start in range(0, len(request.input), _BATCH)
    )

    def joiner(echoed: Sequence[Echoed]) -> EmbeddingJoiner:
        return EmbeddingJoiner(
            target.name, len(request.input), request.encoding_format == "base64", size, asked.get("dimensions")
        )

    return Plan(
        path="/v1/embeddings",
        bodies=bodies,
        concurrency=1,
        stream=False,
        include_usage=False,
        relay=False,
        param="input",
        joiner=joiner,
    )


def _size(request: EmbeddingRequest, target: Target) -> int | None:
    """The length to cut vectors to, None for their own."""
    wanted = request.dimensions
    if wanted is None or wanted == target.embedding_length:
        return None
    if wanted in target.dimensions:
        return wanted
    fine = ", ".join(map(str, (*target.dimensions, target.embedding_length)))
    raise InvalidRequest(
        f"The model {target.name!r} was not trained to be cut to {wanted} dimensions. It has: {fine}.",
        param="dimensions",
        code="invalid_value",
    )


def decoded(encoded: str | Sequence[float]) -> array.array[float]:
    """A vector from the base64 of its little-endian 32-bit floats, or from numbers. Raises EngineBadResponse for what is
    neither."""
    try:
        if not isinstance(encoded, str):
            return array.array("f", encoded)
        vector = array.array("f", base64.b64decode(encoded, validate=True))
    except (ValueError, TypeError, OverflowError):
        raise EngineBadResponse("The model's engine gave something that is no vector.") from None
    if sys.byteorder == "big":
        vector.byteswap()
    return vector


class EmbeddingJoiner(OpenAIJoiner):
    """Vectors in the order of the inputs, `count` of them. They are cut to `size`; `length` is what they must have already."""

    def __init__(self, model: str, count: int, as_base64: bool, size: int | None, length: int | None = None):
        self._model = model
        self._count = count
        self._length = length
        self._as_base64 = as_base64
        self._size = size
        self._identity = f"embd-{secrets.token_hex(12)}"  # OpenAI has none; Mistral's clients do not do without
        self._usage = Usage()

    @property
    def usage(self) -> Usage:
        return self._usage

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        rows: list[dict[str, Any]] = []
        for answer in answers:
            self._usage += Usage.from_engine(answer.get("usage") or {})
            for item in sorted(answer["data"], key=lambda item: item["index"]):
                rows.append({"object": "embedding", "index": len(rows), "embedding": self._vector(item["embedding"])})
        if len(rows) != self._count:
            raise EngineBadResponse("The model's engine gave another number of vectors than it was asked for.")
        tokens = self._usage.prompt_tokens
        return {
            "id": self._identity,
            "object": "list",
            "data": rows,
            "model": self._model,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }

    def _vector(self, encoded: str | list[float]) -> str | list[float]:
        if self._as_base64 and self._size is None and self._length is None and isinstance(encoded, str):
            return encoded
        vector = decoded(encoded)
        if self._length is not None and len(vector) != self._length:
            raise EngineBadResponse(f"The model's engine gave vectors of {len(vector)} numbers, not of {self._length}.")
        if self._size is not None:
            vector = vector[: self._size]
            length = math.sqrt(sum(x * x for x in vector)) or 1.0
            vector = array.array("f", (x / length for x in vector))
        if not all(map(math.isfinite, vector)):
            raise EngineBadResponse("The model's engine gave a vector that is not finite.")
        if self._as_base64:
            if sys.byteorder == "big":
                vector.byteswap()
            return base64.b64encode(vector.tobytes()).decode()
        return vector.tolist()
