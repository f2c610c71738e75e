"""What Moonshine's own library hears, in a process of its own:

    python reference.py FOLDER FILE...

FOLDER has the library's files as its wheel has them; each FILE is one piece of speech, 16 kHz, 32-bit floats. A line of JSON
a file.
"""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import numpy as np


def main() -> None:
    folder = Path(sys.argv[1])
    package = types.ModuleType("moonshine_voice")  # its own __init__ wants a microphone and the network
    package.__path__ = [str(folder / "moonshine_voice")]
    sys.modules["moonshine_voice"] = package
    from moonshine_voice.moonshine_api import ModelArch
    from moonshine_voice.transcriber import Transcriber

    model = folder / "moonshine_voice" / "assets" / "tiny-en"
    # What is given is one piece already.
    hears = Transcriber(model, ModelArch.TINY, options={"vad_threshold": "0.0", "vad_max_segment_duration": "60"})
    for name in sys.argv[2:]:
        found = hears.transcribe_without_streaming(np.fromfile(name, np.float32).tolist(), 16_000)
        print(json.dumps(" ".join(line.text for line in found.lines)))


main()
