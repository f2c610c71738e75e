"""Which library is tested with which feature: read from the programs and the locks, and written into docs/clients.md."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

HERE = Path(__file__).parent
JS = HERE.parent / "sdk" / "js"

# What a cell says: the test's name begins with the key.
FEATURES = {
    "chat": "chat, several turns, text in parts",
    "stream": "streams, which add up to the whole answer",
    "usage": "tokens counted, in streams as well",
    "tools": "tools: called, their results answered",
    "toolstream": "tool calls in a stream",
    "schema": "answers that hold to a schema",
    "vision": "pictures refused where no model sees, by an error of the library's own",
    "embeddings": "embeddings, of one text and of many",
    "responses": "Responses API",
    "state": "what is stored: gone on from, listed, deleted",
    "fim": "code filled in",
    "rerank": "documents ranked",
    "speech": "text spoken",
    "hearing": "speech transcribed",
    "models": "models listed",
    "errors": "errors of the library's own classes, with their reasons",
    "retry": "a busy server asked again when it says",
    "timeout": "who waits no longer frees a place",
    "leaving": "who leaves a stream frees a place",
}


@dataclass(frozen=True)
class Library:
    """A library under test. `package` is its name in the lock of `place`, an environment or "npm"; `program` uses it."""

    key: str
    title: str
    package: str
    place: str
    program: str

    @property
    def path(self) -> Path:
        return (JS / "clients" if self.place == "npm" else HERE / "python") / self.program

    @property
    def version(self) -> str:
        return _locked(self.place)[self.package]

    @property
    def tests(self) -> tuple[str, ...]:
        """The names of the program's tests, as they stand in it."""
        pattern = r'^test\("([^"]+)"' if self.place == "npm" else r"^(?:async )?def test_(\w+)"
        return tuple(re.findall(pattern, self.path.read_text(encoding="utf-8"), re.MULTILINE))

    @property
    def features(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(map(feature_of, self.tests)))


LIBRARIES = (
    Library("openai-python", "openai", "openai", "current", "use_openai.py"),
    Library("openai-python-2", "openai", "openai", "older", "use_openai.py"),
    Library("anthropic-python", "anthropic", "anthropic", "current", "use_anthropic.py"),
    Library("ollama-python", "ollama", "ollama", "current", "use_ollama.py"),
    Library("mistralai", "mistralai", "mistralai", "current", "use_mistralai.py"),
    Library("cohere", "cohere", "cohere", "current", "use_cohere.py"),
    Library("langchain", "LangChain", "langchain-core", "current", "use_langchain.py"),
    Library("llama-index", "LlamaIndex", "llama-index-core", "older", "use_llama_index.py"),
    Library("litellm", "LiteLLM", "litellm", "current", "use_litellm.py"),
    Library("pydantic-ai", "Pydantic AI", "pydantic-ai-slim", "current", "use_pydantic_ai.py"),
    Library("instructor", "Instructor", "instructor", "older", "use_instructor.py"),
    Library("haystack", "Haystack", "haystack-ai", "current", "use_haystack.py"),
    Library("openai-npm", "openai", "openai", "npm", "openai.test.mjs"),
    Library("anthropic-npm", "anthropic", "@anthropic-ai/sdk", "npm", "anthropic.test.mjs"),
    Library("ollama-npm", "ollama", "ollama", "npm", "ollama.test.mjs"),
    Library("ai", "Vercel AI SDK", "ai", "npm", "ai.test.mjs"),
    Library("langchain-npm", "LangChain.js", "@langchain/core", "npm", "langchain.test.mjs"),
)


def feature_of(test: str) -> str:
    """The feature that a test is about: its name up to the first space, colon or underscore."""
    return re.split(r"[ :_]", test, maxsplit=1)[0]


@cache
def _locked(place: str) -> dict[str, str]:
    if place == "npm":
        packages = json.loads((JS / "package-lock.json").read_text(encoding="utf-8"))["packages"]
        return {path.removeprefix("node_modules/"): found.get("version", "") for path, found in packages.items()}
    text = (HERE / "locks" / f"{place}.lock").read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE))


def markdown() -> str:
    """The tables: a row a feature, a column a library."""
    python = [library for library in LIBRARIES if library.place != "npm"]
    npm = [library for library in LIBRARIES if library.place == "npm"]
    return "\n\n".join(_table(title, some) for title, some in (("Python", python), ("npm", npm)) if some)


def _table(title: str, libraries: list[Library]) -> str:
    heads = [f"{library.title} {library.version}" for library in libraries]
    rows = [
        [meaning, *("✓" if feature in library.features else "" for library in libraries)]
        for feature, meaning in FEATURES.items()
        if any(feature in library.features for library in libraries)
    ]
    lines = [[title, *heads], ["---", *("---" for _ in heads)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
