"""A response as it is wanted: the session's settings with its own instead, and what it is an answer to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from freehold.errors import InvalidRequest
from freehold.protocol.realtime import prompt
from freehold.protocol.realtime.answer import Answer
from freehold.protocol.realtime.config import Settings, voice_name
from freehold.protocol.realtime.effects import Order
from freehold.protocol.realtime.events import ResponseSettings
from freehold.protocol.realtime.items import Conversation, Item, MessageItem, Reference, made

_OWN = (
    *("output_modalities", "instructions", "tools", "tool_choice", "parallel_tool_calls", "reasoning"),
    "max_output_tokens",
)


@dataclass(frozen=True)
class Wanted:
    """`items` are what it is an answer to, None for the whole conversation as it will be when the response is begun."""

    settings: Settings
    given: ResponseSettings
    items: list[Item] | None

    @classmethod
    def of(
        cls, given: ResponseSettings, settings: Settings, conversation: Conversation, identify: Callable[[str], str]
    ) -> Wanted:
        """Raises InvalidRequest for a reference to an item that is not there."""
        own = {name: value for name in _OWN if (value := getattr(given, name)) is not None}
        if given.tools is not None and given.tool_choice is None:
            own["tool_choice"] = "auto"
        output = {name: value for name in ("format", "voice") if (value := getattr(given.audio.output, name)) is not None}
        said = settings.audio.output.model_copy(update=output)
        merged = settings.model_copy(update={**own, "audio": settings.audio.model_copy(update={"output": said})})
        if given.input is None:
            return cls(merged, given, None)
        if any(isinstance(entry, MessageItem) and any(part.audio for part in entry.content) for entry in given.input):
            raise InvalidRequest(
                "Audio is not heard within 'input'; create the item in the conversation, and refer to it.",
                param="response.input",
                code="unsupported_content",
            )
        items = [
            conversation.find(entry.id, "response.input")
            if isinstance(entry, Reference)
            else made(entry, identify("item"), identify("call"))
            for entry in given.input
        ]
        return cls(merged, given, items)

    def answer(
        self, conversation: Conversation, conversation_id: str, identify: Callable[[str], str], automatic: bool
    ) -> Answer:
        said = self.settings.audio.output
        return Answer(
            identify("resp"),
            conversation if self.given.conversation == "auto" else None,
            conversation_id,
            list(self.settings.output_modalities),
            voice_name(said.voice),
            said.format.shown(),
            said.format.per_ms,
            self.settings.max_output_tokens,
            self.given.metadata,
            identify,
            automatic,
        )

    def order(self, answer: Answer, conversation: Conversation) -> Order:
        settings = self.settings
        effort = settings.reasoning.effort if settings.reasoning else None
        return Order(
            answer.id,
            settings.instructions,
            prompt.groups(conversation if self.items is None else self.items),
            prompt.fields(
                settings.tools, settings.tool_choice, settings.parallel_tool_calls, effort, settings.max_output_tokens
            ),
            settings.truncation,
            answer.voice if answer.speaks else None,
            settings.audio.output.speed,
            settings.audio.output.format.type,
        )
