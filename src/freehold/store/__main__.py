"""A pull as a process of its own:

    python -m freehold.store pull --data-dir DIR [--name NAME] [--sha256 HEX] [--registry URL] [--projector FILE] -- REFERENCE

Says on stdout what `wire` describes, and ends with 0 or 1. It ends early, and cleanly, when its stdin closes: whoever wanted
the model is gone.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import NoReturn

from freehold.errors import FreeholdError, OperatorError, StoreError
from freehold.store.progress import Progress
from freehold.store.pull import pull
from freehold.store.references import OLLAMA
from freehold.store.store import Store
from freehold.store.tether import die_with_parent
from freehold.store.wire import Installed, Message, encode

_BETWEEN = 0.2  # seconds between two lines of the same stage


def main() -> int:
    parser = argparse.ArgumentParser(prog="freehold.store")
    parser.add_argument("command", choices=["pull"])
    parser.add_argument("reference")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--name")
    parser.add_argument("--sha256")
    parser.add_argument("--registry", default=OLLAMA)
    parser.add_argument("--projector", type=Path)
    arguments = parser.parse_args()
    signal.signal(signal.SIGTERM, _leave)
    signal.signal(signal.SIGINT, _leave)
    die_with_parent(signal.SIGTERM)
    threading.Thread(target=_watch_stdin, name="stdin", daemon=True).start()
    try:
        installed = pull(
            Store(arguments.data_dir),
            arguments.reference,
            name=arguments.name,
            sha256=arguments.sha256,
            registry=arguments.registry,
            projector=arguments.projector,
            on_progress=Reports(),
        )
    except OperatorError as error:
        _say(error if isinstance(error, StoreError) else StoreError(error.message, error.remedy))
        return 1
    except FreeholdError as error:
        _say(StoreError(error.message))
        return 1
    _say(Installed(installed.name))
    return 0


class Reports:
    """Says how far it is: every change of stage, the end of each, and a few times a second between."""

    def __init__(self) -> None:
        self._stage = ""
        self._when = 0.0

    def __call__(self, progress: Progress) -> None:
        now = time.monotonic()
        if progress.stage != self._stage or progress.done == progress.total or now - self._when >= _BETWEEN:
            self._stage, self._when = progress.stage, now
            _say(progress)


def _say(message: Message) -> None:
    print(encode(message), flush=True)  # noqa: T201 - this is the process's way to speak


def _leave(number: int, frame: object) -> NoReturn:
    sys.exit(128 + number)  # unwinds, so that staging folders go and pip ends


def _watch_stdin() -> None:
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    sys.exit(main())
