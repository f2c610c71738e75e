"""What the fake engine can be told: once for the process, and for each request by a directive in its text."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, fields, replace
from typing import Any

_DIRECTIVE = re.compile(r"\[\[fake:(\{.*?\})\]\]", re.DOTALL)


@dataclass(frozen=True)
class Faults:
    """How one answer goes. "At token k" means after k tokens have been sent: 0 is before the first byte of the answer.

    A token is a word of the answer; where there are several choices, each step sends one word of each.
    """

    tokens: int | None = None  # words that the model would say if nobody stopped it; else as many as the prompt's last message
    first_token_delay_s: float = 0.0
    token_delay_s: float = 0.0
    hang: bool = False  # takes the request and never answers
    headers_then_hang: bool = False
    freeze_s: float = 0.0  # the whole process stops, health checks too
    spin: bool = False  # the main loop turns in vain for ever: /health answers, /lora-adapters does not, no token comes
    deadlock: bool = False  # the same, without using the processor
    busy_s: float = 0.0  # processor time that the main loop computes for before the first token, as for a long prompt
    grow_mib: int = 0  # memory taken, and kept
    status: int | None = None  # an error status at once, with `body`
    body: str = "json"  # "json", "html", "empty"
    die_at_token: int | None = None  # the process ends with status 9
    close_at_token: int | None = None  # the connection closes in the middle of the answer
    error_at_token: int | None = None  # llama.cpp's error event, after which it ends the stream without [DONE]
    garbage_at_token: int | None = None  # bytes that are neither UTF-8 nor JSON, then on as if nothing were
    bad_framing_at_token: int | None = None  # bytes that are not HTTP

    @property
    def quiet(self) -> bool:
        """Nothing but the text is asked for: the answer can be written at once."""
        return replace(self, tokens=None) == _NONE


_NONE = Faults()


@dataclass(frozen=True)
class Options:
    """`context_limit` is in bytes of prompt; `die_at_load_times` counts starts in `counter_file`, and needs it."""

    alias: str = "fake"
    n_ctx: int = 4096
    slots: int = 4
    memory_bytes: int = 0  # what is planned for it; nothing of that is taken
    context_limit: int | None = None
    embedding_size: int = 32
    requests_per_connection: int = 100  # llama.cpp's own limit on a kept-alive connection
    load_delay_s: float = 0.0
    never_ready: bool = False
    die_at_load: bool = False
    die_at_load_times: int = 0
    counter_file: str | None = None
    last_words: str = "the weights are corrupt (tensor 'blk.0.attn_q.weight')"  # what it says when it dies at load
    ignore_sigterm: bool = False
    ignore_disconnect: bool = False  # goes on generating for a client that left
    faults: Faults = _NONE


def parse(text: str) -> Options:
    """Options from a flat JSON object that may also hold any fault, as the default of every request. Raises ValueError."""
    given = _object(text)
    own = {name: given.pop(name) for name in _names(Options) - {"faults"} if name in given}
    options = Options(**own, faults=_faults(_NONE, given))
    if options.die_at_load_times and options.counter_file is None:
        raise ValueError("die_at_load_times needs counter_file")
    return options


def directive(text: str, default: Faults) -> tuple[Faults, str]:
    """The faults asked for in `text`, and the text without the directive. Raises ValueError for one it does not know."""
    found = _DIRECTIVE.search(text)
    if found is None:
        return default, text
    return _faults(default, _object(found[1])), _DIRECTIVE.sub("", text)


def _faults(default: Faults, given: dict[str, Any]) -> Faults:
    if unknown := set(given) - _names(Faults):
        raise ValueError(f"unknown to the fake engine: {', '.join(sorted(unknown))}")
    return replace(default, **given)


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise ValueError("the options are not a JSON object")
    return value


def _names(of: type[Faults] | type[Options]) -> set[str]:
    return {field.name for field in fields(of)}
