"""Models that other programs keep on this machine: Ollama's, LM Studio's, Hugging Face's cache, llama.cpp's cache.

They are used where they lie: nothing is copied, changed or removed. Their names say whose they are: `ollama/qwen3:4b`,
`lmstudio/org/repo/file`, `hf/org/repo:file`, `llamacpp/file`.
"""

from __future__ import annotations

from freehold.store.found.found import PROGRAMS, Found
from freehold.store.found.roots import Roots, usual

__all__ = ["PROGRAMS", "Found", "Roots", "usual"]
