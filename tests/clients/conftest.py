"""A server for editors: a tiny code model with random weights that fills in the middle, a chat and an embedding model."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from freehold.store.pull import pull
from freehold.store.store import Store
from tests.conftest import Server, fake_model, serving
from tests.zoo import shapes, tokenizers
from tests.zoo.build import write

MARKS = ("<|fim_prefix|>", "<|fim_suffix|>", "<|fim_middle|>", "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>")


@pytest.fixture(scope="session")
def coding_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    data = tmp_path_factory.mktemp("coding")
    path = write(
        shapes._decoder("coder", "llama", tokenizers.bpe("qwen2", ("<|endoftext|>", *MARKS), eos=0), shapes._plain),
        tmp_path_factory.mktemp("file"),
    )
    pull(Store(data), str(path), name="coder", on_progress=lambda progress: None)
    fake_model(data)
    fake_model(data, "fake-embedding", "embedding")
    env = {
        "FREEHOLD_DEFAULT_CHAT": "fake",
        "FREEHOLD_DEFAULT_EMBEDDING": "fake-embedding",
        "FREEHOLD_ENGINE_CONTEXT": "2048",
        "FREEHOLD_ENGINE_SLOTS": "2",
    }
    with serving(data, env=env) as running:
        yield running
