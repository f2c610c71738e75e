"""Who speaks when, over HTTP: a route of our own, for the gateway alone.

    POST /v1/audio/turns

A form with a `file`, and `known_speaker_names[]` with as many `known_speaker_references[]` (data URLs). The answer is JSON:
{"turns": [[start, end, name], …]}, in seconds, in order of their beginnings.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import json
import os
import re
import subprocess
import sys
import tempfile
import wave
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any, BinaryIO

from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from freehold.workers.diarization.telling import Task
from freehold.workers.serve import Refused, while_wanted
from freehold.workers.transcription.decode import RATE, REFUSED

_PROGRAM = ("-m", "freehold.workers.diarization.telling")
_DATA = re.compile(r"data:[\w.+/;=-]*;base64,")


class Endpoints:
    def __init__(self, task: Task):
        self._task = task

    @property
    def routes(self) -> Sequence[BaseRoute]:
        return (Route("/v1/audio/turns", self._turns, methods=["POST"]),)

    async def ready(self) -> None:
        """A second of silence, listened to."""
        with tempfile.TemporaryFile() as file:
            with wave.open(file, "wb") as sound:
                sound.setparams((1, 2, RATE, RATE, "NONE", ""))
                sound.writeframes(bytes(2 * RATE))
            await asyncio.to_thread(_Teller(self._task, file, {}).turns)

    async def _turns(self, request: Request) -> Response:
        async with request.form(max_files=1, max_part_size=4 << 20) as form:
            given = form.get("file")
            if not isinstance(given, UploadFile) or not given.size:
                raise Refused("The file is empty.", param="file", code="invalid_audio")
            names = [str(name) for name in form.getlist("known_speaker_names[]")]
            references = [_decoded(str(each)) for each in form.getlist("known_speaker_references[]")]
            with contextlib.ExitStack() as held:
                known = dict(zip(names, (_file(held, each) for each in references), strict=True))
                teller = _Teller(self._task, given.file, known)
                return JSONResponse({"turns": await while_wanted(request, teller.turns, teller.stop)})


class _Teller:
    """A process that tells the turns of one file; `known` are the files of known voices, by name."""

    def __init__(self, task: Task, file: BinaryIO, known: Mapping[str, BinaryIO]):
        file.seek(0)
        numbers = {name: voice.fileno() for name, voice in known.items()}
        self._stopped = False
        self._complaint = tempfile.TemporaryFile()  # noqa: SIM115 - it is closed when the turns are told
        with contextlib.ExitStack() as held:  # in a file: a command line, with people's names in it, is there for all to see
            told = _file(held, json.dumps(asdict(replace(task, known=numbers))).encode())
            self._process = subprocess.Popen(
                [sys.executable, "-P", *_PROGRAM, str(told.fileno())],
                stdin=file.fileno(),
                stdout=subprocess.PIPE,
                stderr=self._complaint,
                pass_fds=(told.fileno(), *numbers.values()),
            )

    def turns(self) -> list[Any]:
        """Raises Refused for a file that cannot be decoded, RuntimeError when the process ended without a word."""
        with self._complaint, self._process as process:
            assert process.stdout is not None  # noqa: S101 - a pipe was asked for
            found = [turn for line in process.stdout for turn in json.loads(line)]
            if (code := process.wait()) == 0 or self._stopped:
                return found
            self._complaint.seek(0)
            said = self._complaint.read().decode("utf-8", "replace")
            if code == REFUSED:
                raise Refused(**json.loads(said.splitlines()[-1]))
            print(said[-2000:], file=sys.stderr, flush=True)  # noqa: T201 - the engine's own words
            raise RuntimeError("the process ended")

    def stop(self) -> None:
        self._stopped = True
        self._process.kill()


def _file(held: contextlib.ExitStack, data: bytes) -> BinaryIO:
    file = held.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it is closed with the others
    file.write(data)
    file.flush()
    os.lseek(file.fileno(), 0, os.SEEK_SET)
    return file


def _decoded(url: str) -> bytes:
    found = _DATA.match(url)
    try:
        return base64.b64decode(url[found.end() :] if found else url, validate=True)
    except (binascii.Error, ValueError):
        raise Refused("A reference is a data URL: data:audio/wav;base64,…", param="known_speaker_references") from None
