"""POST /api/load and /api/unload: which model, and how."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from freehold.protocol.requests.common import KeepAlive, Part

_Name = Annotated[str, Field(min_length=1, max_length=300)]


class LoadRequest(Part):
    """`keep_alive` is how long the model stays without a request, as in a request to it."""

    model: _Name
    keep_alive: KeepAlive | None = None


class UnloadRequest(Part):
    """`force` ends the requests that the model is answering."""

    model: _Name
    force: bool = False
