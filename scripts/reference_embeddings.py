"""Computes tests/data/embeddings-reference.json: what all-MiniLM-L6-v2 says by PyTorch, to judge our own embeddings by.

    python -m venv ref && ref/bin/pip install torch transformers
    ref/bin/python scripts/reference_embeddings.py FOLDER

FOLDER is the unpacked model (config.json, model.safetensors, tokenizer.json). Runs on the CPU in float32, one text at a time:
the mean of the last hidden states over all tokens, normalised. Nothing is truncated. The vectors are base64 of
little-endian float32.
"""

from __future__ import annotations

import base64
import json
import random
import sys
from pathlib import Path

import torch
from transformers import AutoModel, AutoTokenizer

TARGET = Path(__file__).parent.parent / "tests" / "data" / "embeddings-reference.json"
LONGEST = 510  # word pieces; two more are [CLS] and [SEP]

FIXED = [
    "freehold",
    "A",
    "42",
    "Own the land you build on.",
    "The tenant left, but the landlord kept the keys.",
    "Who keeps the keys when the tenant has gone?",
    "Models run on the machine under your desk.",
    "Privacy is not a promise; it is a wall without a door.",
    "def area(width: float, height: float) -> float:\n    return width * height",
    "SELECT name, price FROM fruit WHERE price < 3.50 ORDER BY name DESC;",
    "Crème brûlée, naïve façade, jalapeño, Ångström, Dvořák.",
    "Straße und Übermut, Äpfel, Öl.",
    "ΑΒΓ αβγ, а ещё кириллица.",
    "我们在自己的机器上运行模型。",
    "ひらがなとカタカナ、そして漢字。",
    "mail@example.org wrote: see https://example.org/a?b=c&d=e#f (today!)",
    "$1,234.56 + 7% − 8°C = ???",
    "ALL CAPITALS, then none; CamelCase and snake_case_words.",
    "don't won't it's o'clock — “quoted” … ‘single’",
    "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "one\ttab, two  spaces,\nand a line",
    "😀 emoji 🚀 between words",
    "[CLSX] {braces} <tags> |pipes| `ticks` ~tilde~ ^caret^",
    "x" * 100,  # WordPiece makes longer words unknown; llama.cpp reads them piece by piece
    "e\u0301tude with a combining accent",
]
WORDS = """
    river stone lantern engine quiet morning harbour copper signal window garden winter paper thunder orchard compass
    velvet bridge canvas meadow anchor whisper mountain kettle ribbon shadow timber island pepper marble feather candle
    forest library station market captain teacher farmer doctor painter baker carries builds finds watches breaks paints
    sells remembers follows opens slowly gladly never often between beyond under against seven twelve hundred old bright
    narrow heavy patient electric digital neural quantum legal private federal monthly and or but because while the a
    this every
""".split()  # noqa: SIM905
LENGTHS = (1, 2, 3, 5, 8, 12, 16, 20, 25, 32, 40, 50, 64, 80, 100, 120, 150, 180, 220, 260, 300, 330, 360, 380, 400)


def texts() -> list[str]:
    """Fifty texts of 1 to 400 words, the same on every run."""
    chance = random.Random(20261124)
    return FIXED + [made(chance, length) for length in LENGTHS]


def made(chance: random.Random, length: int) -> str:
    """Sentences of `length` words altogether."""
    words: list[str] = []
    for index in range(length):
        word = chance.choice(WORDS)
        starts = index == 0 or words[-1].endswith(".")
        word = word.capitalize() if starts else word
        words.append(word + chance.choice([".", ",", "", "", "", "", "", ""]))
    return " ".join(words)


def main() -> None:
    folder = sys.argv[1]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    vectors, longest = [], 0
    for text in texts():
        tokens = tokenizer(text, return_tensors="pt", truncation=False)
        pieces = tokens["input_ids"].shape[1] - 2
        longest = max(longest, pieces)
        if pieces > LONGEST:
            sys.exit(f"too long, {pieces} word pieces: {text[:60]!r}")
        with torch.no_grad():
            states = model(**tokens).last_hidden_state[0]
        vector = torch.nn.functional.normalize(states.mean(dim=0), dim=0)
        vectors.append(base64.b64encode(vector.numpy().astype("<f4").tobytes()).decode())
    TARGET.parent.mkdir(exist_ok=True)
    TARGET.write_text(json.dumps({"texts": texts(), "vectors": vectors}, indent=0, ensure_ascii=True) + "\n", encoding="utf-8")
    print(f"{len(vectors)} vectors of {len(vector)}, texts of up to {longest} word pieces")


if __name__ == "__main__":
    main()
