"""Chat templates of Ollama's models. They are written in Go's language, which no engine here runs.

Most GGUF files bring a template of their own, in the language that llama.cpp runs, and that one is used. For the others, the
family is recognised by the markers in Ollama's template, and Freehold's own template of that family stands in.
"""

from __future__ import annotations

from importlib.resources import files
from typing import Literal

TEMPLATES = "templates"  # a folder of freehold.store
Family = Literal["chatml", "llama3", "llama2", "mistral", "gemma", "phi3"]

# The first whose markers are all there; the order tells those apart that share some.
_MARKERS: tuple[tuple[Family, tuple[str, ...]], ...] = (
    ("chatml", ("<|im_start|>", "<|im_end|>")),
    ("llama3", ("<|start_header_id|>", "<|eot_id|>")),
    ("gemma", ("<start_of_turn>", "<end_of_turn>")),
    ("llama2", ("[INST]", "<<SYS>>")),
    ("mistral", ("[INST]", "[/INST]")),
    ("phi3", ("<|user|>", "<|assistant|>", "<|end|>")),
)


def family_of(template: str) -> Family | None:
    """The family of a template in Go's language, by the markers of its turns; None for one that is not known."""
    return next((family for family, markers in _MARKERS if all(marker in template for marker in markers)), None)


def jinja_of(family: Family) -> str:
    """Freehold's template of a family, as text."""
    return (files("freehold.store") / TEMPLATES / f"{family}.jinja").read_text(encoding="utf-8")


def translated(template: str) -> tuple[str | None, tuple[str, ...]]:
    """(a template to fall back on, notes) for Ollama's template. Without one, a model is only good for completions."""
    family = family_of(template)
    if family is not None:
        return jinja_of(family), ()
    plain = template.split() == ["{{", ".Prompt", "}}"]
    if plain:  # Ollama's own way to say that there is none
        return None, ()
    return None, ("Its chat template is of a kind that is not known here. Unless its weights bring one, chats use ChatML.",)
