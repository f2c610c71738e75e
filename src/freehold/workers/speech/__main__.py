"""The speech worker as a program."""

from __future__ import annotations

from freehold.workers.serve import begin, serve


def main() -> None:
    config = begin("freehold.workers.speech")
    # After the process is confined.
    from freehold.workers.speech.app import Speaker

    speaker = Speaker(config)
    serve(config, speaker.routes, speaker.ready)


if __name__ == "__main__":
    main()
