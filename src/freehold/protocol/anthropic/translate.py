"""A Messages request as a chat request."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from freehold.errors import InvalidRequest
from freehold.protocol.requests import anthropic as wire
from freehold.protocol.requests.anthropic import MessagesRequest, PromptRequest
from freehold.protocol.requests.chat import ChatRequest
from freehold.protocol.requests.common import explaining
from freehold.protocol.requests.messages import (
    AssistantMessage,
    FunctionCall,
    FunctionDefinition,
    ImagePart,
    ImageUrl,
    JsonSchema,
    JsonSchemaFormat,
    Message,
    NamedFunction,
    NamedTool,
    SystemMessage,
    TextPart,
    Tool,
    ToolCall,
    ToolMessage,
    UserMessage,
)

_BETWEEN = "\n\n"  # blocks of a system prompt


class _Function(FunctionDefinition):
    name: wire.ToolName


class _Named(NamedFunction):
    name: wire.ToolName


@explaining()
def chat_request(request: PromptRequest, fields: dict[str, Any]) -> ChatRequest:
    """`fields` are those of the chat that are no part of its prompt. Raises InvalidRequest."""
    given: dict[str, Any] = {"model": request.model, "messages": list(_messages(request)), **fields}
    if request.tools:
        given["tools"] = [_tool(tool) for tool in request.tools]
        given |= _choice(request.tool_choice)
    elif request.tool_choice is not None and request.tool_choice.type != "none":
        raise InvalidRequest("'tool_choice' is only allowed when 'tools' are given.", param="tool_choice")
    form = request.output_config and request.output_config.format
    if form:
        schema = JsonSchema(name="output_config", schema=form.schema_, strict=True)
        given["response_format"] = JsonSchemaFormat(type="json_schema", json_schema=schema)
    return ChatRequest(**given)


def sampling(request: MessagesRequest) -> dict[str, Any]:
    """The chat's fields of how to answer, those that were given."""
    named = {name: getattr(request, name) for name in ("temperature", "top_p", "top_k") if name in request.model_fields_set}
    return {"max_completion_tokens": request.max_tokens, **{name: value for name, value in named.items() if value is not None}}


def _messages(request: PromptRequest) -> Iterator[Message]:
    if request.system:
        yield SystemMessage(role="system", content=_joined(request.system))
    calls: set[str] = set()
    place = 0
    for role, group in groupby(request.messages, key=lambda turn: turn.role):
        turns = list(group)
        if role == "system":
            yield SystemMessage(role="system", content=_BETWEEN.join(_joined(turn.content) for turn in turns))
        elif role == "assistant":
            message = _assistant([block for turn in turns for block in _blocks(turn)])
            calls = {call.id for call in message.tool_calls or ()}
            yield message
        else:
            yield from _user(turns, place, calls)
        place += len(turns)


def _joined(system: Any) -> str:
    return system if isinstance(system, str) else _BETWEEN.join(block.text for block in system)


def _blocks(turn: Any) -> Sequence[Any]:
    return [wire.TextBlock(type="text", text=turn.content)] if isinstance(turn.content, str) else turn.content


def _assistant(blocks: Sequence[Any]) -> AssistantMessage:
    """Thinking is kept as a chat keeps it: beside the text, and out of the prompt."""
    texts = [block.text for block in blocks if isinstance(block, wire.TextBlock)]
    thoughts = [block.thinking for block in blocks if isinstance(block, wire.ThinkingBlock)]
    calls = [_call(block) for block in blocks if isinstance(block, wire.ToolUseBlock)]
    return AssistantMessage(
        role="assistant",
        content="".join(texts) if texts or not calls else None,
        reasoning_content="".join(thoughts) or None,
        tool_calls=calls or None,
    )


def _call(block: wire.ToolUseBlock) -> ToolCall:
    arguments = json.dumps(block.input, ensure_ascii=False)
    return ToolCall(id=block.id, type="function", function=FunctionCall(name=block.name, arguments=arguments))


def _user(turns: Sequence[Any], place: int, calls: set[str]) -> Iterator[Message]:
    """Results of tools come first, as a chat has them, then all else; images in a result follow as the user's own."""
    parts: list[Any] = []
    shown: list[Any] = []
    for index, turn in enumerate(turns, place):
        for number, block in enumerate(_blocks(turn)):
            if isinstance(block, wire.ToolResultBlock):
                if block.tool_use_id not in calls:
                    raise InvalidRequest(
                        f"Invalid value for 'messages[{index}].content[{number}].tool_use_id': a tool_result must answer a "
                        "tool_use block of the assistant's message before it.",
                        param=f"messages[{index}].content[{number}].tool_use_id",
                        code="invalid_value",
                    )
                yield _result(block)
                shown += _pictures(block)
            else:
                parts.append(_part(block))
    if content := shown + parts:
        only = content[0] if len(content) == 1 else None
        yield UserMessage(role="user", content=only.text if isinstance(only, TextPart) else content)
    elif not any(isinstance(block, wire.ToolResultBlock) for turn in turns for block in _blocks(turn)):
        yield UserMessage(role="user", content="")


def _result(block: wire.ToolResultBlock) -> ToolMessage:
    content = block.content or ""
    text = content if isinstance(content, str) else _BETWEEN.join(p.text for p in content if isinstance(p, wire.TextBlock))
    return ToolMessage(role="tool", tool_call_id=block.tool_use_id, content=f"Error: {text}" if block.is_error else text)


def _pictures(block: wire.ToolResultBlock) -> list[ImagePart]:
    content = block.content if isinstance(block.content, list) else ()
    return [_image(part) for part in content if isinstance(part, wire.ImageBlock)]


def _part(block: Any) -> TextPart | ImagePart:
    match block:
        case wire.ImageBlock():
            return _image(block)
        case wire.DocumentBlock():
            head = "\n".join(line for line in (block.title, block.context) if line)
            return TextPart(type="text", text=f"{head}\n\n{block.source.data}" if head else block.source.data)
    return TextPart(type="text", text=block.text)


def _image(block: wire.ImageBlock) -> ImagePart:
    source = block.source
    url = source.url if isinstance(source, wire.UrlSource) else f"data:{source.media_type};base64,{source.data}"
    return ImagePart(type="image_url", image_url=ImageUrl(url=url))


def _tool(tool: wire.CustomTool) -> Tool:
    function = _Function(name=tool.name, description=tool.description, parameters=tool.input_schema, strict=tool.strict)
    return Tool(type="function", function=function)


def _choice(choice: Any) -> dict[str, Any]:
    match choice:
        case wire.AutoChoice(disable_parallel_tool_use=alone) if alone is not None:
            return {"tool_choice": "auto", "parallel_tool_calls": not alone}
        case wire.AnyChoice():
            return {"tool_choice": "required"}
        case wire.OneChoice(name=name):
            return {"tool_choice": NamedTool(type="function", function=_Named(name=name))}
        case wire.NoChoice():
            return {"tool_choice": "none"}
    return {}
