"""`freehold version`."""

from __future__ import annotations

import platform

import click

import freehold
from freehold.cli.session import json_option


@click.command(
    epilog="""\b
Example:
  freehold version --json"""
)
@json_option
def version(as_json: bool) -> None:
    """Print the version."""
    if as_json:
        from freehold.cli.output import print_json

        print_json(
            {
                "freehold": freehold.__version__,
                "python": platform.python_version(),
                "system": platform.system(),
                "architecture": platform.machine(),
            }
        )
        return
    python = f"Python {platform.python_version()}, {platform.system()} {platform.machine()}"
    print(f"freehold {freehold.__version__} ({python})")
