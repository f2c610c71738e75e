"""A chat's answer as the Responses API's events, and as the response that they add up to."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from freehold.errors import FreeholdError
from freehold.protocol.plan import Chunk, Joiner
from freehold.protocol.responses.resource import error_of, usage_of
from freehold.protocol.values import Usage

_PARTS: Mapping[str, Mapping[str, Any]] = {
    "message": {"type": "output_text", "text": "", "annotations": [], "logprobs": []},
    "reasoning": {"type": "reasoning_text", "text": ""},
}
_TEXTS = {"message": "response.output_text", "reasoning": "response.reasoning_text"}
_PREFIXES = {"message": "msg", "reasoning": "rs", "function_call": "fc"}


class ResponsesJoiner:
    """One response. `inner` is the chat's joiner; `response` is the object as it stands, and whole in the end."""

    complete = False

    def __init__(self, inner: Joiner, response: dict[str, Any]):
        self.response = response
        self._inner = inner
        self._output: list[dict[str, Any]] = response["output"]
        self._began = False
        self._sequence = 0
        self._open: str | None = None  # the type of the item that is being written
        self._pieces: list[str] = []  # of its text or arguments
        self._logprobs: list[Any] = []
        self._call: dict[str, Any] | None = None  # a function's call whose name may still grow
        self._calls = 0
        self._thought = 0  # tokens, as the engine counts them
        self._reason = "stop"

    @property
    def usage(self) -> Usage:
        return self._inner.usage

    # What the gateway asks for.

    def opening(self) -> Iterable[Chunk]:
        return ()

    def chunk(self, call: int, chunk: Chunk) -> Iterable[Chunk]:
        """While a prompt of several batches is read, the client is told that the response has begun; of a shorter one it
        hears nothing before the answer, so that until then nothing has been promised."""
        events: list[Chunk] = []
        if progress := chunk.pop("prompt_progress", None):
            if progress["cache"] < progress["processed"] < progress["total"]:
                self._begin(events)
            return events
        timings = chunk.pop("timings", None)
        for made in self._inner.chunk(call, chunk):
            for choice in made["choices"]:
                self._take(choice, events)
        if timings and self._open == "reasoning":
            self._thought = int(timings.get("predicted_n", 0))
        return events

    def closing(self) -> Iterable[Chunk]:
        events: list[Chunk] = []
        self._begin(events)
        self._open_call(events)
        cut = self._reason == "length"
        self._close(events, "incomplete" if cut else "completed")
        self.response["status"] = status = "incomplete" if cut else "completed"
        self.response["incomplete_details"] = {"reason": "max_output_tokens"} if cut else None
        self.response["completed_at"] = None if cut else int(time.time())
        self.response["usage"] = usage_of(self.usage, self._thought)
        self._event(events, f"response.{status}", response=self.response)
        return events

    def failed(self, error: FreeholdError) -> Iterable[Chunk]:
        events: list[Chunk] = []
        self._begin(events)
        self._close(events, "incomplete")
        self.response |= {"status": "failed", "error": error_of(error)}
        self._event(events, "response.failed", response=self.response)
        return events

    def whole(self, answers: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        events: list[Chunk] = []
        for answer in answers:
            for choice in self._inner.whole([answer])["choices"]:
                self._take({**choice, "delta": choice["message"]}, events)
        self.closing()
        return self.response

    # How a chat's pieces become items.

    def _take(self, choice: Mapping[str, Any], events: list[Chunk]) -> None:
        self._begin(events)
        delta = choice["delta"]
        if thought := delta.get("reasoning_content"):
            self._write("reasoning", thought, events, {})
        if (text := delta.get("content")) or choice.get("logprobs"):
            logprobs = (choice.get("logprobs") or {}).get("content") or []
            self._logprobs += logprobs
            self._write("message", text or "", events, {"logprobs": logprobs})
        for call in delta.get("tool_calls") or ():
            self._function(call, events)
        self._reason = choice.get("finish_reason") or self._reason

    def _write(self, kind: str, text: str, events: list[Chunk], more: Mapping[str, Any]) -> None:
        if self._open != kind:
            fields: dict[str, Any] = {"role": "assistant"} if kind == "message" else {"summary": []}
            self._start(kind, fields | {"content": []}, events)
            self._event(events, "response.content_part.added", **self._place(0), part=_PARTS[kind])
        self._pieces.append(text)
        self._event(events, f"{_TEXTS[kind]}.delta", **self._place(0), delta=text, **more)

    def _function(self, call: Mapping[str, Any], events: list[Chunk]) -> None:
        """A call's name is told once and whole, so it waits for the first of the arguments."""
        function = call.get("function") or {}
        if self._call is None or call.get("index", self._calls) != self._call["index"]:
            self._open_call(events)
            self._close(events)
            identity = call.get("id") or f"call_{secrets.token_hex(12)}"
            self._call = {"index": call.get("index", self._calls), "id": identity, "name": "", "open": False}
            self._calls += 1
        self._call["name"] = function.get("name") or self._call["name"]
        if arguments := function.get("arguments"):
            self._open_call(events)
            self._pieces.append(arguments)
            self._event(events, "response.function_call_arguments.delta", **self._place(), delta=arguments)

    def _open_call(self, events: list[Chunk]) -> None:
        if self._call is not None and not self._call["open"]:
            self._call["open"] = True
            start = {"call_id": self._call["id"], "name": self._call["name"], "arguments": ""}
            self._start("function_call", start, events)

    def _start(self, kind: str, fields: Mapping[str, Any], events: list[Chunk]) -> None:
        self._close(events)
        self._open, self._pieces = kind, []
        item = {"id": f"{_PREFIXES[kind]}_{secrets.token_hex(24)}", "type": kind, "status": "in_progress", **fields}
        self._output.append(item)
        self._event(events, "response.output_item.added", output_index=len(self._output) - 1, item=dict(item))

    def _close(self, events: list[Chunk], status: str = "completed") -> None:
        """Ends the item that is open. Its own object is made anew, for events that were told have the old one."""
        kind, self._open = self._open, None
        if kind is None:
            return
        text, item = "".join(self._pieces), dict(self._output[-1], status=status)
        if kind == "function_call":
            item["arguments"] = text
            done = "response.function_call_arguments.done"
            self._event(events, done, **self._place(), name=item["name"], arguments=text)
        else:
            part = {**_PARTS[kind], "text": text}
            more: dict[str, Any] = {}
            if kind == "message":
                part["logprobs"] = more["logprobs"] = self._logprobs
            item["content"] = [part]
            self._event(events, f"{_TEXTS[kind]}.done", **self._place(0), text=text, **more)
            self._event(events, "response.content_part.done", **self._place(0), part=part)
        self._logprobs = []
        self._output[-1] = item
        self._event(events, "response.output_item.done", output_index=len(self._output) - 1, item=item)

    def _place(self, content: int | None = None) -> dict[str, Any]:
        place = {"item_id": self._output[-1]["id"], "output_index": len(self._output) - 1}
        return place if content is None else {**place, "content_index": content}

    def _begin(self, events: list[Chunk]) -> None:
        if not self._began:
            self._began = True
            for name in ("created", "queued", "in_progress") if self.response["background"] else ("created", "in_progress"):
                status = "queued" if name != "in_progress" and self.response["background"] else "in_progress"
                self._event(events, f"response.{name}", response={**self.response, "status": status, "output": []})

    def _event(self, events: list[Chunk], kind: str, **fields: Any) -> None:
        events.append({"type": kind, "sequence_number": self._sequence, **fields})
        self._sequence += 1
