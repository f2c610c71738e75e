"""`freehold draw`: a picture from words, as a file."""

from __future__ import annotations

import base64
import functools
import json
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from freehold.cli.client import Client, ServerError
from freehold.cli.output import print_json
from freehold.cli.progress import board
from freehold.cli.session import Session, json_option, with_session
from freehold.errors import OperatorError

_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_STEP = re.compile(r": step (\d+)/(\d+)")
_LONGEST_STEM = 40
_LARGEST_SEED = 2**63 - 1


@dataclass(frozen=True)
class _Drawing:
    """How far a picture is."""

    done: int
    total: int
    expected: str
    stage: str = "drawing"

    def describe(self) -> str:
        step = f", step {self.done} of {self.total}" if self.total > 1 else ""
        return f"drawing{step}" + (f" ({self.expected})" if self.expected else "")


@click.command(
    epilog="""\b
Examples:
  freehold draw "a lighthouse in fog"
  freehold draw "a lighthouse in fog" -o light.webp --size 768x512 --seed 7
  freehold draw "a lighthouse in fog" -n 4 --quality low"""
)
@click.argument("prompt")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, dir_okay=False),
    help="File: .png, .jpg or .webp.  [default: a new one, named after the prompt]",
)
@click.option("--model", default="gpt-image-1", help="Model to draw with.  [default: the server's default image model]")
@click.option("--size", metavar="WxH", help="Size in pixels.  [default: the model's own]")
@click.option("-n", "count", type=click.IntRange(1, 10), default=1, help="How many pictures.")
@click.option("--seed", type=click.IntRange(0, _LARGEST_SEED), help="The same seed draws the same picture.")
@click.option("--quality", type=click.Choice(["low", "medium", "high"]), help="Fewer or more steps.")
@click.option("--steps", type=click.IntRange(1, 500), help="Steps, in place of those for the quality.")
@click.option("--negative", help="What the picture shall not show.")
@json_option
@with_session("none")
def draw(session: Session, prompt: str, output: Path | None, count: int, as_json: bool, **fields: Any) -> None:
    """Draw pictures with a model of the running server; prints the path of each file."""
    if not prompt.strip():
        raise click.UsageError("The prompt is empty.")
    form = _FORMATS.get(output.suffix.lower()) if output else "png"
    if form is None:
        raise click.UsageError("The output is a .png, .jpg or .webp file.")
    negative = fields.pop("negative")
    body = {**fields, "prompt": prompt, "output_format": form, "negative_prompt": negative}
    asked = {name: value for name, value in body.items() if value is not None}
    server, rows = session.server(), []
    with board() as progress:
        for number in range(count):
            if fields["seed"] is not None:
                asked["seed"] = fields["seed"] + number
            name = f"picture {number + 1} of {count}" if count > 1 else "picture"
            began = time.monotonic()
            told = _drawn(server, asked, functools.partial(progress.show, name))
            path = _written(told, output, prompt, number if count > 1 else None)
            seconds = round(time.monotonic() - began, 2)
            rows.append({"path": str(path), "size": told["size"], "seed": told["seed"], "seconds": seconds})
    if as_json:
        print_json({"pictures": rows})
    else:
        print("\n".join(row["path"] for row in rows))


def _drawn(server: Client, body: dict[str, Any], show: Callable[[_Drawing], None]) -> Any:
    """The event of the finished picture. Raises ServerError."""
    with server.answer("/v1/images/generations", {**body, "stream": True}) as response:
        expected = response.headers.get("x-freehold-estimate", "")
        for line in response:
            if step := _STEP.match(line.decode("utf-8", "replace")):
                show(_Drawing(int(step[1]), int(step[2]), expected))
            if not line.startswith(b"data:"):
                continue
            try:
                event = json.loads(line[5:])
            except ValueError:
                raise ServerError("The server sent something that is not JSON.") from None
            if "error" in event:
                raise ServerError(str(event["error"].get("message", "The server ended with an error.")))
            if event.get("type") == "image_generation.completed":
                return event
    raise ServerError("The answer broke off.", "Is the server still running?")


def _written(event: Any, output: Path | None, prompt: str, number: int | None) -> Path:
    """Writes the picture to the file that was named, or to a new one, and returns where it is."""
    data = base64.b64decode(event["b64_json"])
    for path in _places(output, prompt, number):
        try:
            with path.open("xb" if output is None else "wb") as file:
                file.write(data)
        except FileExistsError:
            continue
        except OSError as error:
            raise OperatorError(f"{path} cannot be written: {error.strerror}.", "Choose another with -o.") from None
        return path.absolute()
    raise OperatorError("No name is free for the picture.", "Choose one with -o.")


def _places(output: Path | None, prompt: str, number: int | None) -> Iterator[Path]:
    """Where a picture may go. The number is that of one of several."""
    if output is not None:
        yield output if number is None else output.with_stem(f"{output.stem}-{number + 1}")
        return
    stem = re.sub(r"[^a-z0-9]+", "-", prompt.lower())[:_LONGEST_STEM].strip("-") or "picture"
    yield Path(f"{stem}.png")
    for other in range(2, 10_000):
        yield Path(f"{stem}-{other}.png")
