"""Ollama's requests as those of OpenAI's endpoints."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from freehold.errors import InvalidRequest
from freehold.protocol.requests import ChatRequest, CompletionRequest, EmbeddingRequest
from freehold.protocol.requests import ollama as wire
from freehold.protocol.requests.common import Accepted, explaining, treatment
from freehold.protocol.requests.messages import (
    AssistantMessage,
    FunctionCall,
    FunctionDefinition,
    ImagePart,
    ImageUrl,
    JsonObjectFormat,
    JsonSchema,
    JsonSchemaFormat,
    Message,
    SystemMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)
from freehold.protocol.values import Target

_NOT_SAMPLING = {"num_predict"} | {
    name for name in wire.Options.model_fields if isinstance(treatment(wire.Options, name), Accepted)
}


class _Function(FunctionDefinition):
    name: str


@explaining()
def chat_of(body: wire.ChatBody, target: Target) -> ChatRequest:
    """Raises InvalidRequest for a result that answers no call."""
    fields = _fields(body, target)
    if body.tools:
        fields["tools"] = [_tool(tool) for tool in body.tools]
    return ChatRequest(model=body.model, messages=list(_conversation(body.messages or ())), **fields)


@explaining()
def prompt_of(body: wire.GenerateBody, target: Target) -> ChatRequest:
    """A prompt that is put to the model by its template."""
    messages: list[Message] = [_user(body.prompt or "", body.images or ())]
    if body.system:
        messages.insert(0, SystemMessage(role="system", content=body.system))
    return ChatRequest(model=body.model, messages=messages, **_fields(body, target))


@explaining()
def raw_of(body: wire.GenerateBody, target: Target) -> CompletionRequest:
    """A prompt as it is."""
    fields = {"stream": body.streams, "max_tokens": target.max_output_tokens, **_sampling(body)}
    if body.logprobs:
        fields["logprobs"] = min(body.top_logprobs or 0, 5)
    if body.suffix:
        fields["suffix"] = body.suffix
    return CompletionRequest(model=body.model, prompt=[body.prompt or ""], **fields)


@explaining()
def embedding_of(body: wire.EmbedBody | wire.EmbeddingsBody) -> EmbeddingRequest:
    if isinstance(body, wire.EmbeddingsBody):
        return EmbeddingRequest(model=body.model, input=[body.prompt])
    return EmbeddingRequest(model=body.model, input=[*body.input], dimensions=body.dimensions or None)


def _fields(body: wire.AnsweredRequest, target: Target) -> dict[str, Any]:
    """The chat's fields of how to answer."""
    fields: dict[str, Any] = {"stream": body.streams, **_sampling(body)}
    if "max_tokens" in fields:
        fields["max_completion_tokens"] = fields.pop("max_tokens")
    if body.logprobs:
        fields |= {"logprobs": True, "top_logprobs": body.top_logprobs}
    if isinstance(body.format, dict):
        schema = JsonSchema(name="format", schema=body.format)
        fields["response_format"] = JsonSchemaFormat(type="json_schema", json_schema=schema)
    elif body.format == "json":
        fields["response_format"] = JsonObjectFormat(type="json_object")
    if "reasoning_effort" in target.capabilities and isinstance(body.think, str):
        fields["reasoning_effort"] = body.think
    return fields


def thinking(body: wire.AnsweredRequest, target: Target) -> dict[str, Any]:
    """The engine's fields that say whether to think. Raises InvalidRequest when a model is to think that does not."""
    able = target.capabilities & {"thinking", "reasoning_effort"}
    if body.think and not able:
        raise InvalidRequest(f"The model {target.name!r} does not support thinking; leave 'think' out.", param="think")
    if body.think is None or "thinking" not in able:
        return {}
    return {"chat_template_kwargs": {"enable_thinking": bool(body.think)}}


def _sampling(body: wire.OllamaRequest) -> dict[str, Any]:
    if body.options is None:
        return {}
    given = body.options.model_dump(exclude_none=True, exclude=_NOT_SAMPLING)
    limit = body.options.num_predict
    return given | ({"max_tokens": limit} if limit is not None and limit > 0 else {})


def _conversation(messages: Any) -> Iterator[Message]:
    """Ollama's calls have no ids of their own, so its results answer them by name, or in their order."""
    waiting: list[tuple[str, str]] = []  # (id, name) of the calls without a result
    made = 0
    for index, message in enumerate(messages):
        match message.role:
            case "system":
                yield SystemMessage(role="system", content=message.content or "")
            case "user":
                yield _user(message.content or "", message.images or ())
            case "assistant":
                calls = [_call(call, f"call_{made + number}") for number, call in enumerate(message.tool_calls or ())]
                made += len(calls)
                waiting = [(call.id, call.function.name) for call in calls]
                yield AssistantMessage(
                    role="assistant",
                    content=message.content if message.content or not calls else None,
                    reasoning_content=message.thinking,
                    tool_calls=calls or None,
                )
            case "tool":
                answered = _answered(waiting, message, index)
                waiting.remove(answered)
                yield ToolMessage(role="tool", content=message.content or "", tool_call_id=answered[0])


def _answered(waiting: list[tuple[str, str]], message: wire.Message, index: int) -> tuple[str, str]:
    name = message.tool_name or message.name
    fitting = [call for call in waiting if call[0] == message.tool_call_id] or [call for call in waiting if call[1] == name]
    if fitting or waiting:
        return (fitting or waiting)[0]
    raise InvalidRequest(
        f"Invalid value for 'messages[{index}]': a message of role 'tool' must answer a call of the assistant before it.",
        param=f"messages[{index}]",
        code="invalid_value",
    )


def _call(call: wire.Call, identity: str) -> ToolCall:
    arguments = json.dumps(call.function.arguments, ensure_ascii=False)
    function = FunctionCall(name=call.function.name, arguments=arguments)
    return ToolCall(id=call.id or identity, type="function", function=function)


def _user(text: str, images: Any) -> UserMessage:
    if not images:
        return UserMessage(role="user", content=text)
    parts: list[Any] = [TextPart(type="text", text=text)] if text else []
    return UserMessage(role="user", content=[*parts, *map(_image, images)])


def _image(data: str) -> ImagePart:
    """Ollama's clients do not say what kind of file it is; its first bytes do, and only they are believed."""
    url = data if data.startswith("data:") else f"data:image/png;base64,{data}"
    return ImagePart(type="image_url", image_url=ImageUrl(url=url))


def _tool(tool: wire.Tool) -> Tool:
    given = tool.function
    function = _Function(name=given.name, description=given.description, parameters=given.parameters, strict=given.strict)
    return Tool(type="function", function=function)
