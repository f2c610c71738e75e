"""The base pictograms: which ones are taken, what they are called, and how they look.

python pictograms.py         renders them to HOME/pictograms.npz: pictures [n, 128, 128, 4] uint8, premultiplied RGBA
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont, features

import sources

SIDE = 128
_STRIKE = 109  # the one size that the font's bitmaps have: 136×128 pixels
_FLAGS, _PARTS = 9, 2


@dataclass(frozen=True)
class Pictogram:
    """One drawing: its code points in hex, its name, other words for it, and emojibase's group and subgroup."""

    code: str
    name: str
    words: tuple[str, ...]
    group: int
    subgroup: int


def _gendered(entry: dict[str, Any]) -> bool:
    """A person drawn as a man or woman that the list also has as a person: one of the three is enough."""
    return "200D" in entry["hexcode"] and bool(re.match(r"(man|woman|men|women|kiss|couple|family)\b", entry["label"]))


def chosen() -> list[Pictogram]:
    """The pictograms that are drawn, in emojibase's order: no flags, no skin tones, no families, none facing the other way."""
    found = []
    for entry in sources.names():
        label, group = entry["label"], entry.get("group")
        if group in (None, _FLAGS, _PARTS) or _gendered(entry) or "facing right" in label or label.startswith("family"):
            continue
        name = re.sub(r"[“”\"!]", "", label).replace(":", "").strip().lower()
        words = tuple(t.lower() for t in entry.get("tags", ()) if t.lower() != name)
        found.append(Pictogram(entry["hexcode"], name, words, group, entry["subgroup"]))
    return found


def draw(font: ImageFont.FreeTypeFont, code: str) -> np.ndarray | None:
    """The picture of a code [128, 128, 4], premultiplied; None where the font has none or draws it as several."""
    text = "".join(chr(int(point, 16)) for point in code.split("-"))
    left, top, right, bottom = font.getbbox(text)
    if (right - left, bottom - top) != (136, 128):
        return None
    canvas = Image.new("RGBA", (136, 136), (0, 0, 0, 0))
    ImageDraw.Draw(canvas).text((0, 4), text, font=font, embedded_color=True)
    pixels = np.asarray(canvas, np.float32)
    if pixels[..., 3].max() < 128:
        return None
    pixels[..., :3] *= pixels[..., 3:] / 255
    planes = [Image.fromarray(pixels[..., c]).resize((SIDE, SIDE), Image.Resampling.LANCZOS) for c in range(4)]
    small = np.clip(np.stack([np.asarray(p) for p in planes], -1), 0, 255)
    small[..., :3] = np.minimum(small[..., :3], small[..., 3:])
    return small.round().astype(np.uint8)


def main() -> None:
    if not features.check("raqm"):
        raise SystemExit("Pillow has no raqm here, which draws the joined sequences.")
    font = ImageFont.truetype(str(sources.font()), _STRIKE)
    kept, pictures, seen = [], [], {}
    for pictogram in chosen():
        picture = draw(font, pictogram.code)
        if picture is None or (same := picture.tobytes()) in seen:
            continue
        seen[same] = pictogram.code
        kept.append(pictogram)
        pictures.append(picture)
    np.savez(sources.HOME / "pictograms.npz", pictures=np.stack(pictures))
    (sources.HOME / "pictograms.json").write_text(json.dumps([asdict(p) for p in kept], indent=1))
    print(len(kept), Counter(p.group for p in kept))


def load() -> tuple[list[Pictogram], np.ndarray]:
    listed = json.loads((sources.HOME / "pictograms.json").read_text())
    found = [Pictogram(**{**entry, "words": tuple(entry["words"])}) for entry in listed]
    return found, np.load(sources.HOME / "pictograms.npz")["pictures"]


if __name__ == "__main__":
    main()
