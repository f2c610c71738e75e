"""Any audio file as 16 kHz mono samples. A program of its own: what a hostile file does to a decoder, it does to one request.

    python -m freehold.workers.transcription.decode SECONDS MIB < FILE

stdout: one line of JSON with the `duration` that the file claims (seconds, or null), then 16-bit samples as they are decoded.
It ends with 0, or with 3 and one line of JSON on stderr: {"message", "code", "status"}. SECONDS is the longest audio, MIB the
memory that it may take.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from freehold.workers.confine import bound_memory, end_with_parent

RATE = 16_000  # samples a second, what the models were trained on
REFUSED = 3  # exit code
_RATES = range(1_000, 768_001)
_MOST_CHANNELS = 64

# Demuxers of files that hold sound themselves. Not among them: playlists and descriptions, which name other files to open,
# devices, pictures, and raw samples that nothing can be known of.
_CONTAINERS = (
    "aa,aac,aax,ac3,ac4,adx,aiff,amr,amrnb,amrwb,ape,apm,asf,ast,au,avi,binka,brstm,caf,dsf,dsicin,dss,dts,dtshd,eac3,epaf,f4v,"
    "flac,flv,g722,g729,gsm,gxf,hca,iff,ilbc,ircam,ivf,kvag,latm,loas,lc3,matroska,mkv,webm,mlp,mmf,mov,mp4,m4a,3gp,3g2,mj2,mp2,"
    "mp3,mpc,mpc8,mpeg,mpegts,mtv,mxf,nistsphere,nsv,nut,ogg,oga,oma,opus,osq,paf,pvf,qcp,qoa,rm,rso,sbc,shn,sox,spdif,spx,svag,"
    "swf,tak,truehd,tta,vag,voc,vqf,w64,wav,wsaud,wsd,wsvqa,wtv,wv,xa,xwma"
)


class Unusable(Exception):
    """A file that cannot be transcribed, with the reason."""

    def __init__(self, message: str, code: str = "invalid_audio", status: int = 400):
        super().__init__(message)
        self.message, self.code, self.status = message, code, status


def main() -> int:
    end_with_parent()
    seconds, mib = float(sys.argv[1]), int(sys.argv[2])
    import av  # before the limit: it maps much and uses little

    av.logging.set_level(None)
    bound_memory(mib)
    try:
        _decode(seconds)
    except Unusable as error:
        print(json.dumps({"message": error.message, "code": error.code, "status": error.status}), file=sys.stderr)  # noqa: T201
        return REFUSED
    except BrokenPipeError:
        os._exit(0)  # nobody wants the rest
    return 0


def _decode(most: float) -> None:
    import av

    out = os.fdopen(os.dup(1), "wb")
    unreadable = Unusable("The file is not audio of a known format, or it is damaged.")
    try:
        # The file is the only thing it may open.
        options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "none", "max_streams": "100"}
        container: Any = av.open(os.fdopen(0, "rb"), options=options, metadata_errors="ignore")
    except (av.error.FFmpegError, OSError, ValueError, OverflowError):
        raise unreadable from None
    try:
        stream = container.streams.best("audio")
    except (av.error.FFmpegError, ValueError):
        stream = None
    if stream is None:
        raise Unusable("The file has no audio in it.")
    claimed = float(container.duration) / 1e6 if container.duration and container.duration > 0 else None
    out.write(json.dumps({"duration": claimed}).encode() + b"\n")
    written = 0
    for samples in _samples(container, stream):
        written += len(samples) // 2
        if written > most * RATE:
            raise Unusable(
                f"The audio is longer than {most / 3600:g} hours, the limit (setting `speech.hours`).", "audio_too_long", 413
            )
        out.write(samples)
    if not written:
        raise unreadable
    out.flush()


def _samples(container: Any, stream: Any) -> Iterator[bytes]:
    """Packets that are damaged are left out, as players do; a file in which most are is refused."""
    import av

    resampler: Any = None
    kind = None
    good = bad = 0
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
            frames = packet.decode()
            good += bool(frames)
        except StopIteration:
            break
        except av.error.EOFError:
            break
        except (av.error.FFmpegError, ValueError, OverflowError):
            bad += 1
            if bad > 50 + good:
                raise Unusable("The file is damaged: most of its audio cannot be decoded.") from None
            continue
        for frame in frames:
            found = (frame.format.name, frame.layout.name, frame.layout.nb_channels, frame.sample_rate)
            if found != kind:
                _check(frame.layout.nb_channels, frame.sample_rate)
                if resampler is not None:
                    yield from _plain(resampler.resample(None))
                resampler, kind = av.AudioResampler(format="s16", layout="mono", rate=RATE), found
            frame.pts = None  # damaged times would make it wait for what never comes
            yield from _plain(resampler.resample(frame))
    if resampler is not None:
        yield from _plain(resampler.resample(None))


def _check(channels: int, rate: int) -> None:
    if not 1 <= channels <= _MOST_CHANNELS:
        raise Unusable(f"The audio has {channels:,} channels; at most {_MOST_CHANNELS} are taken.")
    if rate not in _RATES:
        raise Unusable(f"The audio has {rate:,} samples a second; {_RATES[0]:,} to {_RATES[-1]:,} are taken.")


def _plain(frames: list[Any]) -> Iterator[bytes]:
    for frame in frames:
        yield bytes(frame.planes[0])[: frame.samples * 2]


if __name__ == "__main__":
    sys.exit(main())
