"""`python -m freehold.workers.devices SITE`: the devices that the xllamacpp in the folder SITE computes on, a name a line."""

from __future__ import annotations

import sys


def main() -> None:
    sys.path.insert(0, sys.argv[1])
    import xllamacpp

    for device in xllamacpp.get_device_info():
        print(device["name"])  # noqa: T201


if __name__ == "__main__":
    main()
