"""The console script. Until the command line is imported, Ctrl-C ends the process as it ends any program, without a word."""

from __future__ import annotations

import signal


def main() -> None:
    interrupts = signal.getsignal(signal.SIGINT) is signal.default_int_handler  # else whoever started this wants none
    if interrupts:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from freehold.cli.main import main as run

    if interrupts:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    run()
