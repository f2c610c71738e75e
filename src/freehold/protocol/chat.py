"""Chat completions: a request to engine calls, and their answers back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from types import MappingProxyType
from typing import Any

from freehold.errors import InvalidRequest
from freehold.protocol.engine_schemas import engine_schema
from freehold.protocol.forced import CallOrAnswer, ForcedCall, forced_schema
from freehold.protocol.images import Image
from freehold.protocol.owed import Owed
from freehold.protocol.plan import Chunk, Echoed, OpenAIJoiner, Plan, encode, together
from freehold.protocol.requests.chat import ChatRequest
from freehold.protocol.requests.messages import (
    AllowedToolChoice,
    AssistantMessage,
    ImagePart,
    JsonObjectFormat,
    JsonSchemaFormat,
    NamedTool,
    SystemMessage,
    Tool,
    UserMessage,
)
from freehold.protocol.requests.sampling import sampling_fields, streaming
from freehold.protocol.values import Target, Usage

_NEEDS = {"image_url": "vision", "input_audio": "audio_input", "file": "files"}
_ENGINE_ONLY = ("timings", "__verbose")


def chat_plan(request: ChatRequest, target: Target, beside: Mapping[str, Any] = MappingProxyType({})) -> Plan:
    """`beside` are fields of the engine that no chat request has, for other dialects. Raises InvalidRequest for what this
    model cannot do."""
    if "chat" not in target.capabilities:
        raise InvalidRequest(
            f"The model {target.name!r} does not chat; {target.does}.",
            param="model",
            code="invalid_value",
        )
    choices = request.n or 1
    forced = [] if target.external else _forced(request)
    common = _common(request, target, forced) | dict(beside)
    bodies = together(encode(common | sampling_fields(request, target, choice)) for choice in range(choices))
    stream = bool(request.stream)
    include_usage = bool(request.stream_options and request.stream_options.include_usage)
    top = (request.top_logprobs or 0) if request.logprobs else None
    reader = None if target.external else _reader(request, forced)

    def owed() -> Owed | None:
        wanted = Owed(logprobs=top is not None, call=bool(_forced(request)))
        return wanted if target.external and not wanted.nothing else None

    def joiner(echoed: Sequence[Echoed]) -> ChatJoiner:
        return ChatJoiner(choices, include_usage, top, reader, isinstance(request.tool_choice, NamedTool), owed=owed())

    return Plan(
        path="/v1/chat/completions",
        bodies=bodies,
        concurrency=min(choices, target.slots),
        stream=stream,
        streamed=_streamed(request),
        include_usage=include_usage,
        relay=stream and choices == 1 and reader is None and top is None and owed() is None,
        param="messages",
        joiner=joiner,
        constraint=_constraint(request),
        images=tuple(_images(request, target)),
    )


def _streamed(request: ChatRequest) -> bool:
    """Whether the engine is asked for a stream, which it ends sooner when its client leaves. What llama.cpp's stream lacks of
    the whole answer: the log-probabilities of tokens without text."""
    return bool(request.stream or not request.logprobs)


def _constraint(request: ChatRequest) -> str:
    """The field that the grammar of an answer is made from."""
    if request.formatted and not _forced(request):
        return "response_format"
    return "tools" if request.calls else "grammar"


def _reader(request: ChatRequest, forced: Sequence[Tool]) -> Callable[[], ForcedCall] | None:
    """What reads an answer that the engine writes as JSON but that is a tool call, or may be one."""
    if forced:
        return ForcedCall
    return partial(CallOrAnswer, _allowed(request)) if request.formatted and request.calls else None


def _common(request: ChatRequest, target: Target, forced: Sequence[Tool]) -> dict[str, Any]:
    """The engine's fields that all choices share. Only what is named here ever reaches the engine."""
    body: dict[str, Any] = {
        "messages": _messages(request, target),
        "max_tokens": min(request.limit or target.max_output_tokens, target.context),
        **streaming(request, target, _streamed(request)),
    }
    if request.logprobs:
        body |= {"logprobs": True, "top_logprobs": max(1, request.top_logprobs or 0)}  # the engine takes 0 as "none at all"
    if isinstance(request.response_format, JsonObjectFormat | JsonSchemaFormat):
        body["response_format"] = _format(request.response_format, target)
    _add_tools(body, request, target, forced)
    _add_reasoning(body, request, target)
    return body


def _add_tools(body: dict[str, Any], request: ChatRequest, target: Target, forced: Sequence[Tool]) -> None:
    if not request.calls:
        return
    if "tools" not in target.capabilities:
        raise InvalidRequest(
            f"The model {target.name!r} cannot call tools: its chat template has no place for them.",
            param="tools",
            code="unsupported_parameter",
        )
    tools = forced or _allowed(request)
    body["tools"] = [_tool(tool, target) for tool in tools]
    if target.external:
        body["tool_choice"] = _choice(request)
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls
    elif forced or request.formatted:
        # The engine's own "required" lets a model talk first, and its own "auto" knows no format. A schema for the whole
        # answer does; with "none" the template still shows the tools.
        schema = forced_schema(tools, None if forced else request.answer_schema)
        body |= {"tool_choice": "none", "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}}
    else:
        body["tool_choice"] = "auto"
        if request.parallel_tool_calls is not None:
            body["parallel_tool_calls"] = request.parallel_tool_calls


def _choice(request: ChatRequest) -> Any:
    """The choice in the forms that all engines have: of the allowed tools, no others are named to them."""
    match request.tool_choice:
        case AllowedToolChoice(allowed_tools=allowed):
            return allowed.mode
        case NamedTool() as named:
            return named.model_dump()
    return request.tool_choice or "auto"


def _format(wanted: JsonObjectFormat | JsonSchemaFormat, target: Target) -> dict[str, Any]:
    told: dict[str, Any] = wanted.model_dump(by_alias=True, exclude_none=True)
    if isinstance(wanted, JsonSchemaFormat) and wanted.json_schema.schema_ is not None and not target.external:
        told["json_schema"]["schema"] = engine_schema(wanted.json_schema.schema_)
    return told


def _tool(tool: Tool, target: Target) -> dict[str, Any]:
    """As its user wrote it, for the model is shown it; a strict one as the engine must have it."""
    told: dict[str, Any] = tool.model_dump(exclude_none=True)
    if tool.function.strict and tool.function.parameters is not None and not target.external:
        told["function"]["parameters"] = engine_schema(tool.function.parameters)
    return told


def _allowed(request: ChatRequest) -> list[Tool]:
    tools = request.tools or []
    if isinstance(request.tool_choice, AllowedToolChoice):
        names = {tool.function.name for tool in request.tool_choice.allowed_tools.tools}
        return [tool for tool in tools if tool.function.name in names]
    return tools


def _forced(request: ChatRequest) -> list[Tool]:
    """The tools of which one must be called; empty where the model is free."""
    match request.tool_choice:
        case "required":
            return list(request.tools or ())
        case NamedTool(function=function):
            return [tool for tool in request.tools or () if tool.function.name == function.name]
        case AllowedToolChoice(allowed_tools=allowed) if allowed.mode == "required":
            return _allowed(request)
    return []


def _add_reasoning(body: dict[str, Any], request: ChatRequest, target: Target) -> None:
    effort = request.reasoning_effort
    if effort is None:
        return
    if "reasoning_effort" in target.capabilities:
        body["reasoning_effort"] = effort
    elif effort not in ("none", "minimal"):
        raise InvalidRequest(
            f"The model {target.name!r} does not reason; leave 'reasoning_effort' out, or set it to 'none'.",
            param="reasoning_effort",
            code="unsupported_parameter",
        )


def _images(request: ChatRequest, target: Target) -> Iterable[Image]:
    for index, message in enumerate(request.messages):
        if isinstance(message, UserMessage) and isinstance(message.content, list):
            for place, part in enumerate(message.content):
                if isinstance(part, ImagePart):
                    url = part.image_url.url
                    yield Image(f"messages[{index}].content[{place}].image_url.url", target.pictures.get(url, url))


def _check_part(part: Any, param: str, target: Target) -> None:
    need = _NEEDS.get(part.type)
    if need is not None and need not in target.capabilities:
        takes = "text and images" if "vision" in target.capabilities else "text only"
        raise InvalidRequest(
            f"The model {target.name!r} takes {takes}, so a part of type '{part.type}' cannot be answered.",
            param=param,
            code="unsupported_content",
        )
    if isinstance(part, ImagePart) and part.image_url.detail in ("low", "original"):
        raise InvalidRequest(
            f"The model {target.name!r} sees images at its own resolution; leave 'detail' out, or set it to 'auto' or 'high'.",
            param=f"{param}.image_url.detail",
            code="unsupported_parameter",
        )


def _messages(request: ChatRequest, target: Target) -> list[dict[str, Any]]:
    """The conversation. One without a system message gets the model's own, where it has one; its examples stand before what
    is said."""
    said = [_message(index, message, target) for index, message in enumerate(request.messages)]
    if target.system and not any(isinstance(message, SystemMessage) for message in request.messages):
        said.insert(0, {"role": "system", "content": target.system})
    first = bool(said and said[0]["role"] == "system")
    return [*said[:first], *({"role": role, "content": content} for role, content in target.examples), *said[first:]]


def _message(index: int, message: Any, target: Target) -> dict[str, Any]:
    if isinstance(message, UserMessage) and isinstance(message.content, list):
        for place, part in enumerate(message.content):
            _check_part(part, f"messages[{index}].content[{place}]", target)
    value: dict[str, Any] = message.model_dump(exclude_none=True)
    if isinstance(message, UserMessage) and isinstance(message.content, list):
        for part in value["content"]:
            if image := part.get("image_url"):
                image.pop("detail", None)  # heard above; the engine would not
                image["url"] = target.pictures.get(image["url"], image["url"])
    if isinstance(message, AssistantMessage):
        for unseen in ("reasoning_content", "annotations"):
            value.pop(unseen, None)
        refusal = value.pop("refusal", None)
        content = value.get("content", refusal)
        if isinstance(content, list):
            content = "".join(part.get("text") or part.get("refusal") or "" for part in content)
        value["content"] = content
    return value


class ChatJoiner(OpenAIJoiner):
    """One request's choices: call k is choice k."""

    def __init__(
        self,
        choices: int,
        include_usage: bool,
        top: int | None,
        reader: Callable[[], ForcedCall] | None,
        named: bool,
        *,
        owed: Owed | None = None,
    ):
        self._include_usage = include_usage
        self._owed = owed
        self._top = top
        self._named = named
        self._readers = [reader() for _ in range(choices)] if reader else None
        self._held: dict[int, list[Any]] = {}
        self._usages: dict[int, Usage] = {}
        self._head: dict[str, Any] = {}

    @property
    def usage(self) -> Usage:
        """The prompt counts once, however many choices were made of it."""
        first = self._usages.get(0) or next(iter(self._usages.values()), Usage())
        return Usage(first.prompt_tokens, sum(usage.completion_tokens for usage in self._usages.values()), first.cached_tokens)

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        body = {key: value for key, value in answers[0].items() if key not in _ENGINE_ONLY}
        body["choices"] = []
        for call, answer in enumerate(answers):
            self._usages[call] = Usage.from_engine(answer.get("usage") or {})
            choice = {"logprobs": None, **answer["choices"][0], "index": call}
            if self._owed is not None:
                self._owed.see(call, choice)
            self._clean_logprobs(choice)
            message = choice["message"] = {"content": None, "refusal": None, **choice["message"]}
            if self._readers is not None:
                reader = self._readers[call]
                reader.feed(message["content"] or "")
                reader.end(choice["finish_reason"] != "length")
                message |= reader.whole()
                choice["finish_reason"] = self._finish(reader, choice["finish_reason"])
            body["choices"].append(choice)
        body["usage"] = self.usage.as_json()
        return body

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        if usage := chunk.pop("usage", None):
            self._usages[call] = Usage.from_engine(usage)
        if not self._head:
            self._head = {key: value for key, value in chunk.items() if key not in ("choices", *_ENGINE_ONLY)}
        return [{**self._head, "choices": [choice]} for raw in chunk.get("choices", ()) for choice in self._choices(call, raw)]

    def closing(self) -> Iterable[Chunk]:
        return [{**self._head, "choices": [], "usage": self.usage.as_json()}] if self._include_usage else []

    def _choices(self, call: int, choice: Chunk) -> Iterable[Chunk]:
        choice["index"] = call
        if self._owed is not None:
            self._owed.see(call, choice)
        self._clean_logprobs(choice)
        if self._readers is None:
            return [choice]
        reader = self._readers[call]
        deltas = []
        if "role" in choice["delta"]:
            deltas.append({"role": "assistant", "content": None})
        deltas += reader.feed(choice["delta"].get("content") or "")
        reason = choice.get("finish_reason")
        if reason:
            deltas += reader.end(reason != "length")
        made: list[Chunk] = [{"index": call, "delta": delta, "finish_reason": None} for delta in deltas]
        self._add_logprobs(call, choice, made)
        if reason:
            made.append({"index": call, "delta": {}, "finish_reason": self._finish(reader, reason)})
        return made

    def _add_logprobs(self, call: int, choice: Chunk, made: list[Chunk]) -> None:
        """Those of a text that was held back come with it."""
        held = self._held.setdefault(call, [])
        held += (choice.get("logprobs") or {}).get("content") or ()
        for told in made:
            if held and told["delta"].get("content"):
                told["logprobs"], self._held[call] = {"content": held, "refusal": None}, []
                return

    def _finish(self, reader: ForcedCall, reason: str) -> str:
        """OpenAI ends a call that the request named with "stop", one that the model chose with "tool_calls"."""
        return reason if reason == "length" or self._named or not reader.called else "tool_calls"

    def _clean_logprobs(self, choice: Chunk) -> None:
        logprobs = choice.get("logprobs")
        if self._top is None or not logprobs:
            return
        for item in logprobs.get("content") or ():
            item.pop("id", None)
            item["top_logprobs"] = [
                {key: value for key, value in other.items() if key != "id"}
                for other in item.get("top_logprobs", ())[: self._top]
            ]
        logprobs.setdefault("refusal", None)
