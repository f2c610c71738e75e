"""Grammars that would keep an engine busy for ever are told from those that people write."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from freehold.errors import InvalidRequest
from freehold.protocol.requests import ChatRequest, parse
from freehold.protocol.requests.grammars import too_ambiguous

JSON = r"""
root   ::= object  # a comment with ( and "
value  ::= object | array | string | number | ("true" | "false" | "null") ws
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}" ws
array  ::= "[" ws (value ("," ws value)*)? "]" ws
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt] | "u" [0-9a-fA-F]{4}))* "\"" ws
number ::= ("-"? ([0-9] | [1-9] [0-9]{0,15})) ("." [0-9]+)? ([eE] [-+]? [0-9] [1-9]{0,15})? ws
ws     ::= | " " | "\n" [ \t]{0,20}
"""
ARITHMETIC = """
root ::= (expr "=" ws term "\\n")+
expr ::= term ([-+*/] term)*
term ::= ident | num | "(" ws expr ")" ws
ident ::= [a-z] [a-z0-9_]* ws
num ::= [0-9]+ ws
ws ::= [ \\t\\n]*
"""


def rules(line: str, number: int, last: str) -> str:
    """The line once for each number, with the next number as N, then the last rule."""
    body = "\n".join(f"r{n} ::= " + line.replace("N", f"r{n + 1}") for n in range(number))
    return f"{body}\nr{number} ::= {last}\nroot ::= r0"


@pytest.mark.parametrize(
    "grammar",
    [
        JSON,
        ARITHMETIC,
        'root ::= "yes" | "no"',
        "root ::= " + " | ".join(f'"v{n}"' for n in range(2900)),
        'root ::= ("a" | "b" | "aa" | "ab")*',
        'root ::= "a"{0,1000}',
        'root ::= [0-9]{3} "-" [0-9]{4}',
        rules('"x" N', 500, '"a"'),
        'root ::= list\nlist ::= item ("," list)?\nitem ::= [a-z]+ ws\nws ::= " "*',
        "root ::= <think> !</think>* </think> .*",
        'root ::= missing "a"',
        "not a grammar (((",
        "",
    ],
)
def test_what_people_write_passes(grammar: str) -> None:
    assert not too_ambiguous(grammar)


@pytest.mark.parametrize(
    "grammar",
    [
        rules("N N", 28, '"a"?'),
        rules('N | N "b"', 28, '"a"'),
        rules('"x" | N | N', 28, '"a"'),
        rules("(N | N)", 28, '"a"'),
        rules('N "b"? | N', 28, '"a"*'),
        'root ::= "x" r0\n' + rules("N | N", 28, '"a"').replace("root", "other"),
        'root ::= ("a"?){0,900}',
        'root ::= "x" ' + '("a" | "b")? ' * 6000,
        "root ::= " + '"" | ' * 100 + '"a"',
        "root ::= " + "(" * 5000 + '"a"' + ")" * 5000,
        rules("N", 300, '"a"'),
    ],
)
def test_what_would_keep_an_engine_busy_is_refused(grammar: str) -> None:
    assert too_ambiguous(grammar)


def test_a_request_with_such_a_grammar_is_refused() -> None:
    grammar = rules("N N", 28, '"a"?')
    raw = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "grammar": grammar}).encode()
    with pytest.raises(InvalidRequest, match="ambiguous") as raised:
        parse(ChatRequest, raw)
    assert raised.value.param == "grammar"


@given(st.text(alphabet='ab ()|*+?{},0123"[]\\:=#<>.!\n-', max_size=200))
def test_whatever_is_given_is_counted(text: str) -> None:
    too_ambiguous(text)
    too_ambiguous(f"root ::= {text}")
