"""A Responses request as a chat request."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from freehold.errors import InvalidRequest
from freehold.protocol.requests import responses as wire
from freehold.protocol.requests import responses_items as items
from freehold.protocol.requests.chat import ChatRequest
from freehold.protocol.requests.messages import (
    AllowedToolChoice,
    AllowedTools,
    AssistantMessage,
    FunctionCall,
    FunctionDefinition,
    ImagePart,
    ImageUrl,
    JsonObjectFormat,
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
from freehold.protocol.requests.responses import ResponsesRequest

_BETWEEN = "\n\n"  # parts of a text that must be one
_NAMES = {
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "max_completion_tokens": "max_output_tokens",
    "logprobs": "top_logprobs",
}
_FUNCTION = re.compile(r"(tools\[\d+\])\.function")


class _Function(FunctionDefinition):
    name: wire.ToolName


class _Named(NamedFunction):
    name: wire.ToolName


class _Schema(JsonSchema):
    name: wire.ToolName


def chat_request(request: ResponsesRequest, context: Sequence[items.Known], stream: bool) -> ChatRequest:
    """`context` are the items that the model reads, the request's own last. Raises InvalidRequest."""
    given: dict[str, Any] = {"model": request.model, "messages": list(_messages(request, context)), "stream": stream}
    for name in ("temperature", "top_p"):
        if getattr(request, name) is not None:
            given[name] = getattr(request, name)
    if request.max_output_tokens is not None:
        given["max_completion_tokens"] = request.max_output_tokens
    if wants_logprobs(request):
        given |= {"logprobs": True, "top_logprobs": request.top_logprobs or 0}
    if request.reasoning is not None and request.reasoning.effort is not None:
        given["reasoning_effort"] = request.reasoning.effort
    if request.tools:
        given["tools"] = [_tool(tool) for tool in request.tools]
        given |= _choice(request)
    elif request.tool_choice not in (None, "none", "auto"):
        raise InvalidRequest("'tool_choice' is only allowed when 'tools' are given.", param="tool_choice", code="invalid_value")
    form = request.text and request.text.format
    if isinstance(form, JsonObjectFormat):
        given["response_format"] = form
    elif isinstance(form, wire.SchemaFormat):
        schema = _Schema(name=form.name, description=form.description, schema=form.schema_, strict=form.strict)
        given["response_format"] = JsonSchemaFormat(type="json_schema", json_schema=schema)
    return ChatRequest(**given)


def wants_logprobs(request: ResponsesRequest) -> bool:
    return bool(request.top_logprobs) or "message.output_text.logprobs" in (request.include or ())


def renamed(error: InvalidRequest) -> InvalidRequest:
    """What a chat says of its fields, with the names that they have here."""
    param, message = error.param or "", error.message
    if param.partition("[")[0] == "messages":
        return type(error)(message.replace(f"'{param}'", "'input'"), param="input", code=error.code)
    for old, new in _NAMES.items():
        message = message.replace(f"'{old}'", f"'{new}'")
        if param.partition(".")[0] == old:
            param = new
    return type(error)(message, param=_FUNCTION.sub(r"\1", param) or None, code=error.code)


def _messages(request: ResponsesRequest, context: Sequence[items.Known]) -> Iterator[Message]:
    """A call's output may stand anywhere after its call; in a chat it follows at once."""
    if request.instructions:
        yield SystemMessage(role="system", content=request.instructions)
    outputs = _outputs(context)
    turn = _Turn()
    for item in context:
        match item:
            case items.InputMessage():
                yield from turn.end(outputs)
                yield _said(item)
            case items.AnswerMessage():
                if turn.calls or turn.texts:
                    yield from turn.end(outputs)
                turn.texts.append(_answered(item))
            case items.FunctionCallItem():
                turn.calls.append(item)
            case items.ReasoningItem():
                if turn.calls or turn.texts:
                    yield from turn.end(outputs)
                turn.thoughts += [part.text for part in item.content or ()]
            case items.FunctionCallOutput():
                yield from turn.end(outputs)
    yield from turn.end(outputs)


class _Turn:
    """The model's own items that stand together: one assistant message of a chat, with the outputs of its calls."""

    def __init__(self) -> None:
        self.thoughts: list[str] = []
        self.texts: list[str] = []
        self.calls: list[items.FunctionCallItem] = []

    def end(self, outputs: dict[str, items.FunctionCallOutput]) -> Iterator[Message]:
        calls, texts = self.calls, self.texts
        if calls or texts:
            yield AssistantMessage(
                role="assistant",
                content="".join(texts) if texts else None,
                reasoning_content="".join(self.thoughts) or None,
                tool_calls=[_call(call) for call in calls] or None,
            )
        pictures: list[ImagePart] = []
        for call in calls:
            output = outputs[call.call_id].output
            yield ToolMessage(role="tool", tool_call_id=call.call_id, content=_texts(output))
            pictures += [_image(part) for part in output if isinstance(part, items.InputImage)]
        if pictures:
            yield UserMessage(role="user", content=list(pictures))
        self.__init__()  # type: ignore[misc]


def _outputs(context: Sequence[items.Known]) -> dict[str, items.FunctionCallOutput]:
    """The output of every call, by its id. Raises InvalidRequest where a call has none, or an output no call before it."""
    calls: set[str] = set()
    outputs: dict[str, items.FunctionCallOutput] = {}
    for item in context:
        if isinstance(item, items.FunctionCallItem):
            calls.add(item.call_id)
        elif isinstance(item, items.FunctionCallOutput):
            if item.call_id not in calls:
                raise _bad(f"No tool call found for function call output with call_id {item.call_id[:64]}.")
            outputs.setdefault(item.call_id, item)
    for missing in sorted(calls - outputs.keys()):
        raise _bad(f"No tool output found for function call {missing[:64]}.")
    return outputs


def _said(item: items.InputMessage) -> Message:
    if item.role != "user":
        return SystemMessage(role=item.role, content=_texts(item.content))
    if isinstance(item.content, str):
        return UserMessage(role="user", content=item.content)
    parts = [_part(part) for part in item.content]
    only = parts[0] if len(parts) == 1 else None
    if not parts or isinstance(only, TextPart):
        return UserMessage(role="user", content=only.text if isinstance(only, TextPart) else "")
    return UserMessage(role="user", content=list(parts))


def _answered(item: items.AnswerMessage) -> str:
    if isinstance(item.content, str):
        return item.content
    return "".join(part.refusal if isinstance(part, items.Refusal) else part.text for part in item.content)


def _texts(content: Any) -> str:
    if isinstance(content, str):
        return content
    for part in content:
        if isinstance(part, items.InputFile):
            raise _no_files()
    return _BETWEEN.join(part.text for part in content if isinstance(part, items.InputText))


def _part(part: Any) -> TextPart | ImagePart:
    match part:
        case items.InputImage():
            return _image(part)
        case items.InputFile():
            raise _no_files()
    return TextPart(type="text", text=part.text)


def _image(part: items.InputImage) -> ImagePart:
    if part.image_url is None:
        raise _bad("An image is given by its 'image_url'; this server stores no files.")
    return ImagePart(type="image_url", image_url=ImageUrl(url=part.image_url, detail=part.detail))


def _call(item: items.FunctionCallItem) -> ToolCall:
    return ToolCall(id=item.call_id, type="function", function=FunctionCall(name=item.name, arguments=item.arguments))


def _tool(tool: wire.FunctionTool) -> Tool:
    function = _Function(name=tool.name, description=tool.description, parameters=tool.parameters, strict=tool.strict)
    return Tool(type="function", function=function)


def _choice(request: ResponsesRequest) -> dict[str, Any]:
    made: dict[str, Any] = {}
    if request.parallel_tool_calls is not None:
        made["parallel_tool_calls"] = request.parallel_tool_calls
    match request.tool_choice:
        case wire.NamedChoice(name=name):
            made["tool_choice"] = NamedTool(type="function", function=_Named(name=name))
        case wire.AllowedChoice(mode=mode, tools=tools):
            named = [NamedTool(type="function", function=_Named(name=tool.name)) for tool in tools]
            allowed = AllowedTools(mode=mode, tools=named)
            made["tool_choice"] = AllowedToolChoice(type="allowed_tools", allowed_tools=allowed)
        case str(mode):
            made["tool_choice"] = mode
    return made


def _no_files() -> InvalidRequest:
    return InvalidRequest(
        "No model here reads files; send their text as 'input_text'.", param="input", code="unsupported_content"
    )


def _bad(sentence: str) -> InvalidRequest:
    return InvalidRequest(sentence, param="input", code="invalid_value")
