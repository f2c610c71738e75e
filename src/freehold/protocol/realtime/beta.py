"""The events of the API's beta, which many clients still speak (header `OpenAI-Beta: realtime=v1`), as those that were released
and back. Source: RealtimeBeta… in OpenAI's specification, and the beta's types in its SDK."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from pydantic_core import from_json

Value = dict[str, Any]

_FORMATS = {"pcm16": "audio/pcm", "g711_ulaw": "audio/pcmu", "g711_alaw": "audio/pcma"}
_BETA_FORMATS = {new: old for old, new in _FORMATS.items()}
# Where a beta field is now; every other field keeps its name and place.
_SESSION: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "modalities": ("output_modalities",),
        "max_response_output_tokens": ("max_output_tokens",),
        "voice": ("audio", "output", "voice"),
        "speed": ("audio", "output", "speed"),
        "output_audio_format": ("audio", "output", "format"),
        "input_audio_format": ("audio", "input", "format"),
        "input_audio_transcription": ("audio", "input", "transcription"),
        "input_audio_noise_reduction": ("audio", "input", "noise_reduction"),
        "turn_detection": ("audio", "input", "turn_detection"),
    }
)
_EVENTS = {
    "response.output_text.": "response.text.",
    "response.output_audio.": "response.audio.",
    "response.output_audio_transcript.": "response.audio_transcript.",
}
_PARTS = {"output_text": "text", "output_audio": "audio"}


def released(message: str | bytes) -> str | bytes:
    """A client's message as it would be without the beta; what is no event is left as it is, and is refused later."""
    if isinstance(message, bytes) or '"input_audio_buffer.append"' in message[:200]:
        return message
    try:
        event = from_json(message)
    except ValueError:
        return message
    if not isinstance(event, dict):
        return message
    if event.get("type") == "session.update" and isinstance(event.get("session"), dict):
        event["session"] = {"type": "realtime", **_moved(event["session"])}
    elif event.get("type") == "response.create" and isinstance(event.get("response"), dict):
        event["response"] = _moved(event["response"])
    return json.dumps(event)


def _moved(settings: Value) -> Value:
    if "audio" in settings:  # no field of the beta: whoever mixes the two is refused
        return settings
    made: Value = {}
    for name, value in settings.items():
        path = _SESSION.get(name, (name,))
        node = made
        for part in path[:-1]:
            node = node.setdefault(part, {})
        node[path[-1]] = _value(name, value)
    return made


def _value(name: str, value: Any) -> Any:
    if name == "modalities" and isinstance(value, list):
        return ["audio"] if "audio" in value else value  # the beta's audio always came with its text
    if name.endswith("_audio_format") and isinstance(value, str):
        return {"type": _FORMATS.get(value, value)}
    return value


def shown(event: Mapping[str, Any]) -> Value | None:
    """An event for a client of the beta; None for one that it does not know."""
    told = dict(event)
    kind = str(event["type"])
    if kind == "conversation.item.done":
        return None
    told["type"] = "conversation.item.created" if kind == "conversation.item.added" else kind
    for new, old in _EVENTS.items():
        if kind.startswith(new):
            told["type"] = old + kind.removeprefix(new)
    if "session" in told:
        told["session"] = _session(told["session"])
    if "response" in told:
        told["response"] = _response(told["response"])
    if "item" in told:
        told["item"] = _item(told["item"])
    return told


def _session(session: Value) -> Value:
    if session["type"] != "realtime":
        return session
    heard, said = session["audio"]["input"], session["audio"]["output"]
    kept = ("id", "object", "model", "instructions", "tools", "tool_choice", "expires_at")
    return {
        **{name: session[name] for name in kept},
        "modalities": _modalities(session["output_modalities"]),
        "voice": said["voice"],
        "speed": said["speed"],
        "output_audio_format": _BETA_FORMATS[said["format"]["type"]],
        "input_audio_format": _BETA_FORMATS[heard["format"]["type"]],
        "input_audio_transcription": heard["transcription"],
        "input_audio_noise_reduction": heard["noise_reduction"],
        "turn_detection": heard["turn_detection"],
        "max_response_output_tokens": session["max_output_tokens"],
    }


def _response(response: Value) -> Value:
    kept = {name: value for name, value in response.items() if name not in ("output_modalities", "audio", "output")}
    said = response["audio"]["output"]
    return {
        **kept,
        "output": [_item(item) for item in response["output"]],
        "modalities": _modalities(response["output_modalities"]),
        "voice": said["voice"],
        "output_audio_format": _BETA_FORMATS[said["format"]["type"]],
    }


def _item(item: Value) -> Value:
    if "content" not in item:
        return item
    return {**item, "content": [{**part, "type": _PARTS.get(part["type"], part["type"])} for part in item["content"]]}


def _modalities(modalities: list[str]) -> list[str]:
    return ["audio", "text"] if modalities == ["audio"] else modalities
