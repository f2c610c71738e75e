"""Text as it is to be spoken: without what is only there for the eye. What is left is read as it stands; nothing in it is a
command to the engine."""

from __future__ import annotations

import html
import re
import unicodedata

from freehold.workers.speech.words import Words, read_aloud, words_of

# Letters in mathematical styles and of full width: the same words in another dress.
_STYLED = re.compile("[\U0001d400-\U0001d7ff\uff10-\uff19\uff21-\uff3a\uff41-\uff5a]+")
_PICTURES = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u2300-\u23ff\ufe00-\ufe0f\u20e3\U000e0020-\U000e007f]+(?:\u200d[\U0001f000-\U0001faff\u2600-\u27bf\ufe0f]+)*"
)
_JOINERS = "\u200c\u200d"  # they have a meaning between the letters of some scripts

_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[^\n]{0,200}$", re.M)
_RULE = re.compile(r"^[ \t]*(?:[-*_=][ \t]*){3,}$", re.M)
_TABLE_RULE = re.compile(r"^[ \t]*\|?(?:[ \t]*:?-{2,}:?[ \t]*\|)+[ \t]*(?::?-{2,}:?)?[ \t]*$", re.M)
_LINE_MARK = re.compile(r"^[ \t]*(?:#{1,6}[ \t]+|(?:>[ \t]?)+|[-*+•‣◦][ \t]+(?:\[[ xX]\][ \t]+)?)", re.M)
_TABLE_ROW = re.compile(r"^[ \t]*\|(.+)\|[ \t]*$", re.M)
_LINK = re.compile(r"!?\[([^\[\]\n]{0,500})\]\([^()\s]{0,2000}(?:\s\"[^\"\n]{0,200}\")?\)")
_STRONG = re.compile(r"\*{2,3}|_{2,3}|~~|`+")
_EMPHASIS = re.compile(r"(?<![\w*])[*_](?=\S)|(?<=\S)[*_](?![\w*])")
_TAG = re.compile(r"</?[a-zA-Z][\w:-]{0,40}(?:\s[^<>\n]{0,500})?/?>|<!--.{0,500}?-->|<\?[^<>\n]{0,200}\?>")
_ADDRESS = re.compile(r"\b(?:https?://|ftp://|www\.)[^\s<>\"'()\[\]{}|]+", re.I)
_MAIL = re.compile(r"\b[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}\b")
_BLANKS = re.compile(r"[ \t\f\v\u00a0\u2000-\u200a\u202f\u205f\u3000]+")
_EMPTY_LINES = re.compile(r" ?\n(?: ?\n)+ ?| ?\n ?")


def clean(text: str, language: str) -> str:
    """The words of a text. `language` is that of the voice ("en-us"): numbers, dates and addresses are put into its words."""
    words = words_of(language)
    text = _BLANKS.sub(" ", _letters(text))  # runs of blanks would cost the patterns their square
    for pattern in (_FENCE, _RULE, _TABLE_RULE, _LINE_MARK):
        text = pattern.sub("", text)
    text = _TABLE_ROW.sub(lambda row: ", ".join(cell.strip() for cell in row[1].split("|")) + ".", text)
    text = _LINK.sub(lambda link: link[1], text)
    text = _MAIL.sub(lambda found: _spelt(found[0], words), text)
    text = _ADDRESS.sub(lambda found: _address(found[0], words), text)
    text = _TAG.sub(" ", text)
    text = _EMPHASIS.sub("", _STRONG.sub("", text))
    if "&" in text:
        text = _letters(html.unescape(text))
    text = read_aloud(text, words)
    return _EMPTY_LINES.sub("\n", _BLANKS.sub(" ", text)).strip()


def has_words(text: str) -> bool:
    """Whether there is anything to say in a piece of a cleaned text."""
    return any(letter.isalnum() or unicodedata.category(letter) in {"Sc", "Sm"} or letter in "&%@#*/\\" for letter in text)


def _letters(text: str) -> str:
    """Without control characters, pictures and what is invisible: to espeak-ng, a control character begins a command."""
    text = unicodedata.normalize("NFC", text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n"))
    text = _STYLED.sub(lambda found: unicodedata.normalize("NFKC", found[0]), text)
    text = _PICTURES.sub(" ", text)
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return text.translate({ord(letter): _shown(letter) for letter in set(text)})


def _shown(letter: str) -> str:
    match unicodedata.category(letter):
        case "Cc" | "Zl" | "Zp":
            return letter if letter == "\n" else " "
        case "Cf":
            return letter if letter in _JOINERS else ""
        case "Cs" | "Co" | "Cn":
            return " "
    return letter


def _address(address: str, words: Words) -> str:
    """Host and path, as one would say them; what follows a question mark or a hash is for machines."""
    stem = address.rstrip(".,;:!?")
    rest = address[len(stem) :]
    plain = re.sub(r"^(?:https?|ftp)://", "", stem, flags=re.I)
    plain = re.split(r"[?#]", plain)[0].rpartition("@")[2]
    return _spelt(plain.removeprefix("www.").rstrip("/"), words) + rest


def _spelt(address: str, words: Words) -> str:
    said = dict.fromkeys("-_%=+", " ") | {".": f" {words.dot} ", "/": f" {words.slash} ", "@": f" {words.at} "}
    return "".join(said.get(letter, letter) for letter in address)
