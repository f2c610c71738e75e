"""The embedding model gives the vectors of its authors' own implementation, after conversion and through the whole server."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path

import openai

from tests.sdk.wire import EMBEDDING_MODEL, cosine

REFERENCE = Path(__file__).parents[1] / "data" / "embeddings-reference.json"


def test_every_reference_text_has_its_reference_vector(server):
    reference = json.loads(REFERENCE.read_text(encoding="utf-8"))
    expected = [list(struct.unpack("<384f", base64.b64decode(vector))) for vector in reference["vectors"]]
    with openai.OpenAI(base_url=server.base_url, api_key="none", max_retries=0) as client:
        answer = client.embeddings.create(model=EMBEDDING_MODEL, input=reference["texts"])
    found = [item.embedding for item in answer.data]
    assert len(found) == len(expected) >= 50
    agreement = {text: cosine(*pair) for text, pair in zip(reference["texts"], zip(found, expected, strict=True), strict=True)}
    assert {text: value for text, value in agreement.items() if value < 0.9999} == {}
