"""Ranking documents by a query, as Jina's and Cohere's clients ask for it."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import Discriminator, Field, Tag, model_validator

from freehold.errors import InvalidRequest
from freehold.protocol.requests.common import NO_BRANCH, USERS, Honoured, Part, Refused, Request

MAX_DOCUMENTS = 2048
Text = Annotated[str, Field(min_length=1, max_length=4_000_000)]
_UNCUT = "No document is cut short: one that does not fit the model's context is refused. Cut it yourself, or leave this out."


class Document(Part):
    """A text with what its owner keeps beside it."""

    model_config = Part.model_config | {"extra": "allow"}

    text: Text


def _kind(value: object) -> str | None:
    return "«string»" if isinstance(value, str) else "«object»" if isinstance(value, dict | Document) else None


_Text = Annotated[
    Annotated[str, Tag("«string»")] | Annotated[Document, Tag("«object»")],
    Discriminator(_kind, custom_error_type=NO_BRANCH, custom_error_message="|expected a string or an object with `text`."),
]


class RerankRequest(Request):
    """POST /v1/rerank and /rerank: what Jina's API and the first version of Cohere's have in common, and more of both."""

    model: Annotated[str, Honoured("without it, the default of the setting `default_rerank`")] = Field(
        "@rerank", min_length=1, max_length=300
    )
    query: Annotated[Text, Honoured()]
    documents: Annotated[list[_Text], Honoured(f"strings, or objects with `text`; at most {MAX_DOCUMENTS:,}")] = Field(
        min_length=1, max_length=MAX_DOCUMENTS
    )
    top_n: Annotated[int | None, Honoured("all of them without it")] = Field(None, ge=1)
    return_documents: Annotated[bool | None, Honoured("true without it, as with Jina")] = None
    user: Annotated[str | None, USERS] = None
    rank_fields: Annotated[Any, Refused("Documents are ranked by their `text`; leave it out.", (["text"], []))] = None
    max_chunks_per_doc: Annotated[Any, Refused(_UNCUT)] = None
    max_tokens_per_doc: Annotated[Any, Refused(_UNCUT)] = None
    truncate_prompt_tokens: Annotated[Any, Refused(_UNCUT)] = None
    return_embeddings: Annotated[Any, Refused("Ask /v1/embeddings for them.", (False,))] = None

    @property
    def shows_documents(self) -> bool:
        return self.return_documents is not False

    @property
    def texts(self) -> list[str]:
        return [item if isinstance(item, str) else item.text for item in self.documents]

    @model_validator(mode="after")
    def _check(self) -> Self:
        for index, text in enumerate(self.texts):
            if not text:
                problem = "Invalid 'documents': a document cannot be an empty string."
                raise InvalidRequest(problem, param=f"documents[{index}]", code="empty_string")
        return self


class CohereRequest(RerankRequest):
    """POST /v2/rerank, of Cohere's API."""

    return_documents: Annotated[bool | None, Honoured("false without it, as with Cohere")] = None

    @property
    def shows_documents(self) -> bool:
        return self.return_documents is True
