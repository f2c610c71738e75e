"""Modelfiles: what they say, and where they are wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import InvalidRequest
from freehold.store.ollama.modelfile import Modelfile, modelfile


def test_every_instruction_is_read() -> None:
    text = '''
# a comment
FROM qwen3:4b
  parameter temperature 0.7
PARAMETER top_k 20
PARAMETER stop "<|end|>"
PARAMETER stop END
SYSTEM """You are
  # not a comment
"brief"."""
TEMPLATE "one line"
LICENSE Apache-2.0
MESSAGE user Hello there
MESSAGE assistant """Arr,
matey."""
REQUIRES 0.6
'''
    assert modelfile(text) == Modelfile(
        base="qwen3:4b",
        system='You are\n  # not a comment\n"brief".',
        template="one line",
        license="Apache-2.0",
        parameters={"temperature": 0.7, "top_k": 20, "stop": ["<|end|>", "END"]},
        messages=[{"role": "user", "content": "Hello there"}, {"role": "assistant", "content": "Arr,\nmatey."}],
    )


def test_a_quote_within_a_text_is_part_of_it() -> None:
    assert modelfile('SYSTEM say "hello" twice').system == 'say "hello" twice'
    assert modelfile('SYSTEM "open').system == '"open'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("FROM x\nADAPTER a.gguf", "Line 2"),
        ("HELLO world", "HELLO"),
        ("FROM", "no instruction"),
        ('SYSTEM """open', "not closed"),
        ("PARAMETER temperature", "a name and a value"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(text: str, says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        modelfile(text)


@given(st.text('FROMSYSTEM "\n#x', max_size=80))
def test_no_text_breaks_the_reader(text: str) -> None:
    try:
        modelfile(text)
    except InvalidRequest as error:
        assert "Line" in error.message
