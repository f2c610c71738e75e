"""Models in several GGUF files: which belong together, and what they say as one.

llama-gguf-split names them `<stem>-00001-of-00003.gguf` and writes split.no (from 0) and split.count into each; all metadata
stands in the first (gguf-split.cpp and llama-model-loader.cpp in llama.cpp).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from freehold.errors import BadModelFile
from freehold.hardware.gguf import Header

_PART = re.compile(r"(?P<stem>.+)-(?P<number>[0-9]{5})-of-(?P<count>[0-9]{5})(?P<end>\.gguf)", re.IGNORECASE)
MOST = 1000


def numbered(name: str) -> tuple[int, int] | None:
    """(number from 1, count) of a file that is one part of several, by its name; None for one that is whole."""
    found = _PART.fullmatch(name)
    return (int(found["number"]), int(found["count"])) if found else None


def siblings(name: str) -> tuple[str, ...]:
    """The names of all parts, of a file that is one of them; the name itself for a file that is whole.

    Raises BadModelFile for numbers that make no sense.
    """
    found = _PART.fullmatch(name)
    if not found:
        return (name,)
    number, count = int(found["number"]), int(found["count"])
    if not 1 <= number <= count <= MOST:
        raise BadModelFile(f"{name[:200]!a} is part {number} of {count}, which makes no sense.", "Choose another file.")
    return tuple(f"{found['stem']}-{each:05d}-of-{count:05d}{found['end']}" for each in range(1, count + 1))


def whole_name(name: str) -> str:
    """The name of a file without the number of its part."""
    found = _PART.fullmatch(name)
    return found["stem"] + found["end"] if found else name


def merged(headers: Sequence[Header]) -> Header:
    """What the parts of a model say as one: the metadata of the first, the tensors of all (each at an offset in its own file).

    Raises BadModelFile when they are not all parts of one model, in order.
    """
    count = len(headers)
    for number, header in enumerate(headers):
        said = header.metadata.get("split.count", 0) or 1
        if said != count or (count > 1 and header.metadata.get("split.no") != number):
            raise BadModelFile(
                f"File {number + 1} of {count} says that it is part {header.metadata.get('split.no', 0)} (from 0) of {said}.",
                "All parts of a model are needed, named …-00001-of-0000N.gguf, in one folder.",
            )
    tensors = tuple(tensor for header in headers for tensor in header.tensors)
    if len({tensor.name for tensor in tensors}) < len(tensors):
        raise BadModelFile("Two parts of the model hold the same tensor.", "Download them again.")
    first = headers[0]
    return first if count == 1 else Header(first.version, first.metadata, tensors, first.data_offset, first.marks)
