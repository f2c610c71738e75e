"""Anthropic's error envelope, and its types by what went wrong."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from freehold.errors import FreeholdError

_TYPES: Mapping[int, str] = MappingProxyType(
    {
        401: "authentication_error",
        403: "permission_error",
        404: "not_found_error",
        413: "request_too_large",
        429: "rate_limit_error",
        503: "overloaded_error",
        504: "timeout_error",
    }
)
# What Anthropic's clients go by to send a request anew without it.
_THREAD: Mapping[str, Any] = MappingProxyType({"error_code": "thread_unsupported_request", "unsupported": ["thread"]})


def envelope(error: FreeholdError, identity: str) -> dict[str, Any]:
    """{"type": "error", "error": {"type", "message"}, "request_id"}."""
    return {**error_event(error), "request_id": identity}


def error_event(error: FreeholdError) -> dict[str, Any]:
    """The event that ends a stream which has begun."""
    kind = _TYPES.get(error.status, "api_error" if error.status >= 500 else "invalid_request_error")
    details = {"details": dict(_THREAD)} if error.status == 400 and error.param == "thread" else {}
    return {"type": "error", "error": {"type": kind, "message": error.sentence, **details}}
