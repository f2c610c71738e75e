"""One typed tree of settings: default < freehold.toml < environment FREEHOLD_* < flag.

A value that does not fit is refused with its key, the value and where it came from. The environment's name of a key is
FREEHOLD_ and the path in capitals: `port` is FREEHOLD_PORT, `queue.size` is FREEHOLD_QUEUE_SIZE; tables and lists are
given there as JSON.
"""

from freehold.settings.sources import config_path, load
from freehold.settings.tree import (
    EngineSettings,
    HttpSettings,
    ImageSettings,
    MemorySettings,
    ModelSettings,
    QueueSettings,
    RealtimeSettings,
    Settings,
    SourceSettings,
    SpeechSettings,
    StateSettings,
    TimeoutSettings,
    WorkerSettings,
    home,
)

__all__ = [
    "EngineSettings",
    "HttpSettings",
    "ImageSettings",
    "MemorySettings",
    "ModelSettings",
    "QueueSettings",
    "RealtimeSettings",
    "Settings",
    "SourceSettings",
    "SpeechSettings",
    "StateSettings",
    "TimeoutSettings",
    "WorkerSettings",
    "config_path",
    "home",
    "load",
]
