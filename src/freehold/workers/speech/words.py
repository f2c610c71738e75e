"""How dates, times, amounts and the like are said, in the languages that most users have; in others the engine reads them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

_Rule = tuple[re.Pattern[str], Callable[[re.Match[str]], str]]


@dataclass(frozen=True)
class Words:
    """A language's words. `currencies` are one and many, `cents` likewise; `date` has a place for day, month and year."""

    dot: str = " "
    slash: str = " "
    at: str = " "
    months: str = ""
    date: str = "{day} {month} {year}"
    currencies: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    rules: tuple[_Rule, ...] = ()


def read_aloud(text: str, words: Words) -> str:
    """A text with its signs and figures as words, where the language's words are known."""
    if words.months:
        text = _DATE.sub(lambda found: _date(found, words), text)
    if words.currencies:
        text = _BEFORE.sub(lambda found: _amount(found, words), text)
        text = _BEHIND.sub(lambda found: _amount(found, words), text)
    for pattern, said in words.rules:
        text = pattern.sub(said, text)
    return text


def words_of(language: str) -> Words:
    """Of a language ("en-us"), by its first part."""
    return _LANGUAGES.get(language.partition("-")[0].lower(), _UNKNOWN)


_DATE = re.compile(r"(?<![\w-])(\d{4})-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])(?![\w-])")
_SIGNS = "$€£¥₹"
_FIGURE = r"(?P<whole>\d{1,3}(?:[,.'\u202f ]\d{3})+|\d{1,15})(?:[.,](?P<part>\d{1,2}))?(?![\d])"
_MANY = "thousand|million|billion|trillion|Millionen|Milliarden|millions|milliards|millones|milioni|k|K|M|bn|B"
_SCALE = rf"(?:\s?(?P<scale>{_MANY})\b)?"
_BEFORE = re.compile(rf"(?:US|A|C)?(?P<sign>[{_SIGNS}])\s?{_FIGURE}{_SCALE}")
_BEHIND = re.compile(rf"(?<![\w.,]){_FIGURE}{_SCALE}\s?(?P<sign>[{_SIGNS}])(?!\w)")
_SCALES = {"k": "thousand", "K": "thousand", "M": "million", "bn": "billion", "B": "billion"}


def _date(found: re.Match[str], words: Words) -> str:
    return words.date.format(day=int(found[3]), month=words.months.split()[int(found[2]) - 1], year=found[1])


def _amount(found: re.Match[str], words: Words) -> str:
    """ "$5.20" as "5 dollars 20": each part is a number that the engine reads."""
    one, many = words.currencies[found["sign"]]
    whole, part, scale = re.sub(r"\D", "", found["whole"]), found["part"], found["scale"]
    if scale:
        between = f"{found.string[found.end('whole') : found.end('part')]}" if part else ""
        return f"{whole}{between} {_SCALES.get(scale, scale)} {many}"
    name = one if whole == "1" and not part else many
    return f"{whole} {name} {part.ljust(2, '0')}" if part and part.strip("0") else f"{whole} {name}"


def _clock(found: re.Match[str]) -> str:
    hour, minute, half = int(found[1]), int(found[2]), found[3]
    if half:
        half = " ".join(half.replace(".", "").strip().upper())
    tail = f" {half}" if half else ""
    if minute == 0:
        return f"{hour}{tail}" if half else f"{hour} o'clock" if 0 < hour <= 12 else f"{hour} hundred hours"
    return f"{hour} {f'oh {minute}' if minute < 10 else minute}{tail}"


_UNITS = MappingProxyType(
    {
        "km/h": "kilometers per hour",
        "mph": "miles per hour",
        "°C": "degrees Celsius",
        "°F": "degrees Fahrenheit",
        "km": "kilometers",
        "cm": "centimeters",
        "mm": "millimeters",
        "kg": "kilograms",
        "mg": "milligrams",
        "kWh": "kilowatt hours",
        "TB": "terabytes",
        "GB": "gigabytes",
        "MB": "megabytes",
        "KB": "kilobytes",
        "GiB": "gibibytes",
        "MiB": "mebibytes",
        "GHz": "gigahertz",
        "MHz": "megahertz",
        "kHz": "kilohertz",
        "Hz": "hertz",
        "ms": "milliseconds",
    }
)
_SHORT = MappingProxyType({"e.g.": "for example", "i.e.": "that is", "vs.": "versus", "approx.": "approximately"})

_ENGLISH: tuple[_Rule, ...] = (
    (re.compile(r"\b(Mr|Mrs|Ms|Dr|Prof|St|Jr|Sr)\.(?=\s)"), lambda found: found[1]),  # the engine would end a sentence there
    (re.compile(r"\b(?:e\.g\.|i\.e\.|vs\.|approx\.)"), lambda found: _SHORT[found[0]]),
    (re.compile(r"\bNo\. ?(?=\d)"), lambda found: "number "),
    (re.compile(r"(?<!\w)#(?=\d)"), lambda found: "number "),
    (
        re.compile(r"(?<![\d:.])([01]?\d|2[0-3]):([0-5]\d)(?![\d:])(\s?[aApP]\.?[mM]\b\.?)?"),
        _clock,
    ),
    (
        re.compile(rf"(?<=\d)\s?({'|'.join(map(re.escape, sorted(_UNITS, key=len, reverse=True)))})(?![\w/])"),
        lambda found: f" {_UNITS[found[1]]}",
    ),
    (re.compile(r"(?<=\d)\s?–\s?(?=\d)"), lambda found: " to "),
)


def _plain(*names: str) -> Mapping[str, tuple[str, str]]:
    """Currencies whose names do not change with their number."""
    return dict(zip(_SIGNS, ((name, name) for name in names), strict=True))


_UNKNOWN = Words()
_LANGUAGES: Mapping[str, Words] = MappingProxyType(
    {
        "en": Words(
            dot="dot",
            slash="slash",
            at="at",
            months="January February March April May June July August September October November December",
            date="{month} {day}, {year}",
            currencies={
                "$": ("dollar", "dollars"),
                "€": ("euro", "euros"),
                "£": ("pound", "pounds"),
                "¥": ("yen", "yen"),
                "₹": ("rupee", "rupees"),
            },
            rules=_ENGLISH,
        ),
        "de": Words(
            dot="Punkt",
            slash="Schrägstrich",
            at="ät",
            months="Januar Februar März April Mai Juni Juli August September Oktober November Dezember",
            date="{day}. {month} {year}",
            currencies=_plain("Dollar", "Euro", "Pfund", "Yen", "Rupien"),
        ),
        "fr": Words(
            dot="point",
            slash="barre oblique",
            at="arobase",
            months="janvier février mars avril mai juin juillet août septembre octobre novembre décembre",
            currencies=_plain("dollars", "euros", "livres", "yens", "roupies"),
        ),
        "es": Words(
            dot="punto",
            slash="barra",
            at="arroba",
            months="enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre",
            date="{day} de {month} de {year}",
            currencies=_plain("dólares", "euros", "libras", "yenes", "rupias"),
        ),
        "it": Words(
            dot="punto",
            slash="barra",
            at="chiocciola",
            months="gennaio febbraio marzo aprile maggio giugno luglio agosto settembre ottobre novembre dicembre",
            currencies=_plain("dollari", "euro", "sterline", "yen", "rupie"),
        ),
        "pt": Words(
            dot="ponto",
            slash="barra",
            at="arroba",
            months="janeiro fevereiro março abril maio junho julho agosto setembro outubro novembro dezembro",
            date="{day} de {month} de {year}",
            currencies=_plain("dólares", "euros", "libras", "ienes", "rupias"),
        ),
        "nl": Words(
            dot="punt",
            slash="schuine streep",
            at="apenstaartje",
            months="januari februari maart april mei juni juli augustus september oktober november december",
            currencies=_plain("dollar", "euro", "pond", "yen", "roepie"),
        ),
    }
)
