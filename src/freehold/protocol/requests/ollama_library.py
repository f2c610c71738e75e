"""/api/show, /api/pull, /api/copy, /api/delete and /api/create: what Ollama's clients say of the models themselves."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field, model_validator

from freehold.protocol.requests.common import Accepted, Honoured, Refused, Refusing

Digest = Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
Name = Annotated[str, Field(min_length=1, max_length=300)]


class NamedBody(Refusing):
    """`name` is the older name of `model`."""

    model: Annotated[Name, Honoured("also as `name`, the older way")]

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, value: Any) -> Any:
        if isinstance(value, dict) and "name" in value and not value.get("model"):
            return {"model" if key == "name" else key: item for key, item in value.items() if key != "model"}
        return value


class ShowBody(NamedBody):
    verbose: Annotated[bool | None, Accepted("there is one form")] = None


class DeleteBody(NamedBody):
    pass


class PullBody(NamedBody):
    stream: Annotated[bool | None, Honoured("true without it")] = None
    insecure: Annotated[Any, Refused("Sources are only reached by TLS with a certificate; leave it out.", (False,))] = None


class CopyBody(Refusing):
    source: Annotated[Name, Honoured()]
    destination: Annotated[Name, Honoured("files are shared, not doubled")]


class CreateBody(NamedBody):
    """`modelfile` is the older way to say all that the other fields do."""

    from_: Annotated[str | None, Honoured("an installed model")] = Field(None, alias="from", max_length=300)
    system: Annotated[str | None, Honoured("for chats that bring none")] = Field(None, max_length=100_000)
    parameters: Annotated[dict[str, Any] | None, Honoured("sampling, `stop` and `num_ctx`; any other is a 400")] = None
    template: Annotated[
        str | None, Honoured("in Jinja, or in Go's language where its family is known by its marks; any other is a 400")
    ] = Field(None, max_length=1 << 20)
    license: Annotated[str | list[str] | None, Honoured()] = None
    modelfile: Annotated[
        str | None, Honoured("FROM an installed model, SYSTEM, TEMPLATE, PARAMETER, MESSAGE, LICENSE; ADAPTER is a 400")
    ] = Field(None, max_length=1 << 20)
    stream: Annotated[bool | None, Honoured("true without it")] = None
    messages: Annotated[
        list[dict[str, Any]] | None, Honoured("turns of an example conversation, which stand before what is said")
    ] = Field(None, max_length=256)
    adapters: Annotated[
        dict[str, Digest] | None, Honoured("one LoRA in GGUF, of the base's architecture, sent to `/api/blobs/{digest}` before")
    ] = Field(None, max_length=1)
    files: Annotated[
        dict[str, Digest] | None, Honoured("instead of `from`: one GGUF file, sent to `/api/blobs/{digest}` before")
    ] = Field(None, max_length=1)
    quantize: Annotated[Any, Refused("Nothing is quantised here; pull the model as you want it.", ("",))] = None
    path: Annotated[Any, Refused("A Modelfile of the server's machine is not read; send its text as 'modelfile'.", ("",))] = (
        None
    )
