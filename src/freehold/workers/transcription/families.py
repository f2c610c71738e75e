"""The kinds of model that sherpa-onnx recognises speech with: how each is loaded, and what can be asked of it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from freehold.workers.transcription.cutting import LONGEST
from freehold.workers.transcription.decode import RATE
from freehold.workers.transcription.vad import Samples

_TAIL = RATE // 2  # samples of silence that a streaming model needs after a last word
Loader = Callable[[Mapping[str, str], int], Any]


@dataclass(frozen=True)
class Asked:
    """What a request wants of a model, as far as it can be told: the language, "" to find out, and English instead of it."""

    language: str = ""
    translate: bool = False


@dataclass(frozen=True)
class Family:
    """`files` are the roles that its loader needs; `longest` are the seconds that a piece may have. `parallel` is whether one
    model may be used by several threads at once; `timed` whether it tells when each token was said; `translates` whether it
    can put what was said into English, `chooses` whether it can be told the language; `streaming` whether it hears as it is
    spoken to.
    """

    load: Loader
    files: tuple[str, ...]
    longest: float = LONGEST
    parallel: bool = True
    timed: bool = False
    translates: bool = False
    chooses: bool = False
    streaming: bool = False


class Heard(NamedTuple):
    """What an engine tells of samples: tokens, where each begins and how long it is, in seconds, as far as it knows; and the
    language."""

    text: str
    tokens: Sequence[str] = ()
    starts: Sequence[float] = ()
    lengths: Sequence[float] = ()
    language: str = ""


def _made_by(name: str, *, engine: str = "OfflineRecognizer", **options: Any) -> Loader:
    """By sherpa-onnx's own way to make that kind, whose parameters have the names of the files' roles."""

    def load(files: Mapping[str, str], threads: int) -> Any:
        import sherpa_onnx

        return getattr(getattr(sherpa_onnx, engine), name)(**files, num_threads=threads, **options)

    return load


def _paraformer(files: Mapping[str, str], threads: int) -> Any:
    import sherpa_onnx

    return sherpa_onnx.OfflineRecognizer.from_paraformer(files["model"], files["tokens"], num_threads=threads)


_TRANSDUCER = ("encoder", "decoder", "joiner", "tokens")
_V1 = ("preprocessor", "encoder", "uncached_decoder", "cached_decoder", "tokens")
FAMILIES: Mapping[str, Family] = MappingProxyType(
    {
        # Its memory grows with the square of a piece's length: 20 seconds on 2 threads take 350 MB, 28 take 450 MB.
        "moonshine": Family(_made_by("from_moonshine_v2"), ("encoder", "decoder", "tokens"), longest=20.0),
        "moonshine-v1": Family(_made_by("from_moonshine"), _V1, longest=20.0),
        # sherpa-onnx's decoder for Whisper keeps its settings in itself while it works.
        "whisper": Family(
            _made_by("from_whisper", language=""),
            ("encoder", "decoder", "tokens"),
            parallel=False,
            translates=True,
            chooses=True,
        ),
        "nemo": Family(_made_by("from_transducer", model_type="nemo_transducer"), _TRANSDUCER, timed=True),
        "transducer": Family(_made_by("from_transducer"), _TRANSDUCER, timed=True),
        # Its memory does not grow with what it hears, so its pieces are cut only to bound what is kept of them.
        "streaming-transducer": Family(
            _made_by("from_transducer", engine="OnlineRecognizer"), _TRANSDUCER, longest=60.0, timed=True, streaming=True
        ),
        "sense-voice": Family(_made_by("from_sense_voice", use_itn=True), ("model", "tokens"), timed=True),
        "paraformer": Family(_paraformer, ("model", "tokens"), timed=True),
    }
)


@dataclass
class Model:
    """A loaded model. `languages` are the codes of those it knows, none where nobody has written them down; `translates` is
    whether it can put them into English."""

    family: Family
    engine: Any
    languages: tuple[str, ...]
    translates: bool
    longest: float
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def language(self) -> str:
        """The one that it knows; "" where it may be any of several."""
        return self.languages[0] if len(self.languages) == 1 else ""

    def recognise(self, samples: Samples, asked: Asked) -> Heard:
        """What is said in samples at 16 kHz."""
        if self.family.streaming:
            stream = Stream(self.engine)
            stream.feed(samples)
            return stream.finish()
        stream = self.engine.create_stream()
        stream.accept_waveform(RATE, samples)
        self._decode(stream, asked)
        found = stream.result
        return Heard(found.text, found.tokens, found.timestamps, getattr(found, "durations", ()), found.lang.strip("<|>"))

    def _decode(self, stream: Any, asked: Asked) -> None:
        if self.family.parallel:
            self.engine.decode_stream(stream)
            return
        with self._lock:
            if self.family.chooses:
                config = self.engine.config
                config.model_config.whisper.language = asked.language
                config.model_config.whisper.task = "translate" if asked.translate else "transcribe"
                self.engine.recognizer.set_config(config)
            self.engine.decode_stream(stream)


class Stream:
    """Something that a streaming model hears as it comes. For one thread at a time."""

    def __init__(self, engine: Any):
        self._engine = engine
        self._stream = engine.create_stream()

    def feed(self, samples: Samples) -> str:
        """All that was heard until now. What was heard once stays as it is."""
        if len(samples):
            self._stream.accept_waveform(RATE, samples)
        while self._engine.is_ready(self._stream):
            self._engine.decode_stream(self._stream)
        return str(self._engine.get_result(self._stream))

    def finish(self) -> Heard:
        """The end; nothing can be fed afterwards."""
        self._stream.accept_waveform(RATE, np.zeros(_TAIL, np.float32))
        self._stream.input_finished()
        self.feed(np.zeros(0, np.float32))
        found = self._engine.get_result_all(self._stream)
        return Heard(found.text, found.tokens, found.timestamps)


def load(folder: Path, options: Mapping[str, Any], threads: int) -> Model:
    """Loads what a manifest's options describe; `threads` are all there are for it. Raises ValueError for what is no such
    model."""
    family = FAMILIES.get(str(options.get("family")))
    if family is None:
        raise ValueError(f"the family {str(options.get('family'))[:80]!r} is not one of {', '.join(FAMILIES)}")
    named = options.get("files")
    if not isinstance(named, dict) or (missing := [role for role in family.files if role not in named]):
        raise ValueError(f"the model lacks {', '.join(missing) if isinstance(named, dict) else 'its files'}")
    files = {role: str(folder / str(named[role])) for role in family.files}
    if absent := [role for role, path in files.items() if not Path(path).is_file()]:  # sherpa-onnx ends the process then
        raise ValueError(f"the model's {', '.join(absent)} is not there")
    engine = family.load(files, 1 if family.parallel else threads)
    languages = tuple(map(str, options.get("languages", ())))
    translates = family.translates and bool(options.get("translates", True))
    return Model(family, engine, languages, translates, family.longest)
