"""Filling in the middle, as Mistral's clients, llama.cpp's editors and Tabby's plugins ask for it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from freehold.protocol.requests.common import USERS, Accepted, Honoured, Part, Refused, Request
from freehold.protocol.requests.sampling import Stops

_INT64 = 2**63
Text = Annotated[str, Field(max_length=4_000_000)]


class FimRequest(Request):
    """POST /v1/fim/completions, of Mistral's API."""

    prompt: Annotated[Text, Honoured("what stands before the gap")]
    suffix: Annotated[Text | None, Honoured("what stands behind it")] = None
    max_tokens: Annotated[int | None, Honoured("without it, the setting `engine.max_output_tokens`")] = Field(None, ge=1)
    temperature: Annotated[float | None, Honoured()] = Field(None, ge=0, le=2)
    top_p: Annotated[float | None, Honoured()] = Field(None, ge=0, le=1)
    stop: Annotated[Stops | None, Honoured()] = None
    stream: Annotated[bool | None, Honoured("chunks as of chats: `choices[0].delta.content`")] = None
    random_seed: Annotated[int | None, Honoured("same seed, same answer on the same machine and engine")] = Field(
        None, ge=0, lt=_INT64
    )
    presence_penalty: Annotated[float | None, Honoured()] = Field(None, ge=-2, le=2)
    frequency_penalty: Annotated[float | None, Honoured()] = Field(None, ge=-2, le=2)
    metadata: Annotated[dict[str, Any] | None, Accepted("yours; it is not stored")] = None
    min_tokens: Annotated[Any, Refused("An answer is never made longer than the model wants; leave it out.", (0,))] = None


class InfillExtra(Part):
    model_config = Part.model_config | {"extra": "ignore"}

    filename: str = Field("", max_length=4096)
    text: Text


class InfillRequest(Request):
    """POST /infill, of llama.cpp's server. What it has for its own clients alone is accepted: it changes no answer here."""

    model: Annotated[str, Honoured("without it, the default chat model, or the first that fills in")] = Field(
        "@chat", min_length=1, max_length=300
    )
    input_prefix: Annotated[Text, Honoured("what stands before the gap's line")]
    input_suffix: Annotated[Text, Honoured("what stands behind the gap")]
    input_extra: Annotated[list[InfillExtra], Honoured("pieces of other files, whole or not at all; the last counts most")] = (
        Field(default_factory=list, max_length=1000)
    )
    prompt: Annotated[Text, Honoured("what stands on the gap's line before it")] = ""
    n_predict: Annotated[int | None, Honoured("0 only reads the prompt, so that the next request finds it read")] = Field(
        None, ge=-1
    )
    temperature: Annotated[float | None, Honoured()] = Field(None, ge=0, le=2)
    top_k: Annotated[int | None, Honoured()] = Field(None, ge=0, le=1_000_000)
    top_p: Annotated[float | None, Honoured()] = Field(None, ge=0, le=1)
    min_p: Annotated[float | None, Honoured()] = Field(None, ge=0, le=1)
    seed: Annotated[int | None, Honoured()] = Field(None, ge=-_INT64, lt=_INT64)
    stop: Annotated[Stops | None, Honoured()] = None
    stream: Annotated[bool | None, Honoured()] = None
    response_fields: Annotated[list[str] | None, Honoured("which fields the answer has, `a/b` for one within another")] = Field(
        None, max_length=100
    )
    t_max_predict_ms: Annotated[Any, Accepted("an answer ends with its tokens; a client that leaves ends it sooner")] = None
    t_max_prompt_ms: Annotated[Any, Accepted("a prompt is read to its end")] = None
    samplers: Annotated[Any, Accepted("the engine's own order holds")] = None
    cache_prompt: Annotated[Any, Accepted("prompts are always cached")] = None
    n_indent: Annotated[Any, Accepted("an answer's indent is the model's")] = None
    id_slot: Annotated[Any, Accepted("slots are the scheduler's")] = None
    n_cmpl: Annotated[Any, Refused("Ask once for each completion.", (1,))] = None
    lora: Annotated[Any, Refused("Adapters cannot be chosen by request; leave it out.", ([],))] = None


class Declaration(Part):
    model_config = Part.model_config | {"extra": "ignore"}

    filepath: str = Field("", max_length=4096)
    body: Text


class Segments(Part):
    model_config = Part.model_config | {"extra": "ignore"}

    prefix: Text
    suffix: Text | None = None
    filepath: str | None = Field(None, max_length=4096)
    git_url: str | None = Field(None, max_length=4096)
    declarations: list[Declaration] | None = Field(None, max_length=1000)
    relevant_snippets_from_changed_files: list[Declaration] | None = Field(None, max_length=1000)
    relevant_snippets_from_recently_opened_files: list[Declaration] | None = Field(None, max_length=1000)
    clipboard: Text | None = None


class TabbyRequest(Request):
    """POST /v1/completions as Tabby's plugins send it: known by its `segments`."""

    model: Annotated[str, Honoured("without it, the default chat model, or the first that fills in")] = Field(
        "@chat", min_length=1, max_length=300
    )
    segments: Annotated[
        Segments, Honoured("declarations, snippets and the clipboard are pieces of other files, whole or not at all")
    ]
    language: Annotated[str | None, Accepted("the model sees it by the text")] = None
    user: Annotated[str | None, USERS] = None
    temperature: Annotated[float | None, Honoured()] = Field(None, ge=0, le=2)
    seed: Annotated[int | None, Honoured()] = Field(None, ge=0, lt=_INT64)
    mode: Annotated[Any, Refused("Only the standard mode is there; leave it out.", ("standard",))] = None
    debug_options: Annotated[Any, Refused("There are none; leave it out.")] = None
