"""Small tokenizers of each kind that GGUF files carry: byte-level BPE, SentencePiece, unigram and WordPiece.

Keys and token types: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md and llama.cpp's src/llama-vocab.cpp.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import gguf
from gguf import TokenType

_CHATML = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
_WORDS = ("the", "is", "of", "and", "to", "in", "you", "what", "hello", "answer")


@dataclass(frozen=True)
class Tokenizer:
    """`ids` are the special tokens by the name of their key: bos, eos, fim_pre, … `flags` say what is added to a text."""

    model: str
    tokens: tuple[str, ...]
    types: tuple[TokenType, ...]
    ids: dict[str, int]
    pre: str | None = None
    scores: tuple[float, ...] = ()
    merges: tuple[str, ...] = ()
    flags: dict[str, bool] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    def add_to(self, writer: gguf.GGUFWriter) -> None:
        writer.add_tokenizer_model(self.model)
        if self.pre:
            writer.add_tokenizer_pre(self.pre)
        writer.add_token_list(list(self.tokens))
        writer.add_token_types(list(self.types))
        if self.scores:
            writer.add_token_scores(list(self.scores))
        if self.model == "gpt2":
            writer.add_token_merges(list(self.merges))
        for name, number in self.ids.items():
            writer.add_uint32(f"tokenizer.ggml.{name}_token_id", number)
        for name, flag in self.flags.items():
            writer.add_bool(f"tokenizer.ggml.{name}", flag)
        for name, number in self.numbers.items():
            writer.add_uint32(f"tokenizer.ggml.{name}", number)


def _letters_of_bytes() -> list[str]:
    """GPT-2's letter for each byte: printable ones stand for themselves, the others come from U+0100 on."""
    plain = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    moved = iter(range(0x100, 0x200))
    return [chr(byte) if byte in plain else chr(next(moved)) for byte in range(256)]


def bpe(pre: str, special: Sequence[str] = _CHATML, *, bos: int | None = None, eos: int = 2, **ids: int) -> Tokenizer:
    """Byte-level BPE. `bos`, `eos` and `ids` count within `special`, which stands behind the 256 bytes and the merges."""
    letters = _letters_of_bytes()
    tokens, merges = list(letters), []
    for word in _WORDS:
        made = letters[0x20]
        for letter in word:
            merges.append(f"{made} {letter}")
            made += letter
            if made not in tokens:
                tokens.append(made)
    merges = list(dict.fromkeys(merges))
    tokens.append(2 * letters[ord("\n")])
    first = len(tokens)
    places = {"eos": eos, **({} if bos is None else {"bos": bos}), **ids}
    return Tokenizer(
        model="gpt2",
        pre=pre,
        tokens=(*tokens, *special),
        types=(TokenType.NORMAL,) * first + (TokenType.CONTROL,) * len(special),
        merges=tuple(merges),
        ids={name: first + place for name, place in places.items()},
        flags={"add_bos_token": bos is not None},
    )


def _pieces() -> list[str]:
    return ["▁", *(f"▁{word}" for word in _WORDS), *(chr(code) for code in range(ord("a"), ord("z") + 1))]


def spm(special: Sequence[str] = (), *, add_space_prefix: bool = True, **ids: int) -> Tokenizer:
    """SentencePiece with byte fallback, as Llama 2 and Gemma have it; `ids` count within `special`, behind all others."""
    pieces = _pieces()
    head = ("<unk>", "<s>", "</s>")
    tokens = (*head, *(f"<0x{byte:02X}>" for byte in range(256)), *pieces, *special)
    first = len(tokens) - len(special)
    return Tokenizer(
        model="llama",
        tokens=tokens,
        types=(
            TokenType.UNKNOWN,
            TokenType.CONTROL,
            TokenType.CONTROL,
            *(TokenType.BYTE,) * 256,
            *(TokenType.NORMAL,) * len(pieces),
            *(TokenType.CONTROL,) * len(special),
        ),
        scores=(0.0,) * 259 + tuple(-float(rank) for rank in range(len(pieces))) + (0.0,) * len(special),
        ids={"bos": 1, "eos": 2, "unknown": 0, **{name: first + place for name, place in ids.items()}},
        flags={"add_bos_token": True, "add_eos_token": False, "add_space_prefix": add_space_prefix},
    )


def unigram() -> Tokenizer:
    """SentencePiece's unigram model, as the XLM-RoBERTa family has it."""
    head = ("<s>", "<pad>", "</s>", "<unk>")
    pieces = _pieces()
    return Tokenizer(
        model="t5",
        tokens=(*head, *pieces),
        types=(TokenType.CONTROL,) * 3 + (TokenType.UNKNOWN,) + (TokenType.NORMAL,) * len(pieces),
        scores=(0.0,) * 4 + tuple(-float(rank) for rank in range(len(pieces))),
        ids={"bos": 0, "padding": 1, "eos": 2, "seperator": 2, "unknown": 3},
        flags={"add_bos_token": True, "add_eos_token": True, "add_space_prefix": True},
        numbers={"token_type_count": 1},
    )


def wordpiece() -> Tokenizer:
    """BERT's WordPiece, in llama.cpp's form: beginnings of words are marked, continuations are not."""
    special = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
    letters = [chr(code) for code in (*range(ord("a"), ord("z") + 1), *range(ord("0"), ord("9") + 1))]
    words = [f"▁{word}" for word in (*_WORDS, *letters, ".", ",", "!", "?")]
    return Tokenizer(
        model="bert",
        tokens=(*special, *words, *letters),
        types=(TokenType.CONTROL,) * len(special) + (TokenType.NORMAL,) * (len(words) + len(letters)),
        ids={"padding": 0, "unknown": 1, "bos": 2, "cls": 2, "eos": 3, "seperator": 3, "mask": 4},
        numbers={"token_type_count": 2},
    )
