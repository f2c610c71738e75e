"""Packs editors/vscode into a .vsix, which `code --install-extension` takes: a zip of its files with two manifests.

The format is Open Packaging Conventions with the manifest that `vsce` writes; the same files give the same bytes.
"""

from __future__ import annotations

import json
import sys
import zipfile
from pathlib import Path
from xml.sax.saxutils import escape, quoteattr

SOURCE = Path(__file__).parent.parent / "editors" / "vscode"
TYPES = {".json": "application/json", ".js": "application/javascript", ".md": "text/markdown", ".vsixmanifest": "text/xml"}
SCHEMA = "http://schemas.microsoft.com/developer/vsx-schema/2011"


def manifest(package: dict[str, str], engine: str) -> str:
    identity = " ".join(
        f"{name}={quoteattr(value)}"
        for name, value in (
            ("Language", "en-US"),
            ("Id", package["name"]),
            ("Version", package["version"]),
            ("Publisher", package["publisher"]),
        )
    )
    return f"""<?xml version="1.0" encoding="utf-8"?>
<PackageManifest Version="2.0.0" xmlns="{SCHEMA}">
  <Metadata>
    <Identity {identity}/>
    <DisplayName>{escape(package["displayName"])}</DisplayName>
    <Description xml:space="preserve">{escape(package["description"])}</Description>
    <Properties>
      <Property Id="Microsoft.VisualStudio.Code.Engine" Value={quoteattr(engine)}/>
      <Property Id="Microsoft.VisualStudio.Code.ExtensionKind" Value="workspace"/>
    </Properties>
  </Metadata>
  <Installation><InstallationTarget Id="Microsoft.VisualStudio.Code"/></Installation>
  <Dependencies/>
  <Assets>
    <Asset Type="Microsoft.VisualStudio.Code.Manifest" Path="extension/package.json" Addressable="true"/>
    <Asset Type="Microsoft.VisualStudio.Services.Content.Details" Path="extension/README.md" Addressable="true"/>
    <Asset Type="Microsoft.VisualStudio.Services.Content.License" Path="extension/LICENSE" Addressable="true"/>
  </Assets>
</PackageManifest>
"""


def types() -> str:
    rows = "".join(f'<Default Extension="{suffix}" ContentType="{kind}"/>' for suffix, kind in TYPES.items())
    namespace = "http://schemas.openxmlformats.org/package/2006/content-types"
    rows += '<Override PartName="/extension/LICENSE" ContentType="text/plain"/>'
    return f'<?xml version="1.0" encoding="utf-8"?>\n<Types xmlns="{namespace}">{rows}</Types>\n'


def main(target: Path) -> None:
    package = json.loads((SOURCE / "package.json").read_text(encoding="utf-8"))
    files = {
        "extension.vsixmanifest": manifest(package, package["engines"]["vscode"]).encode(),
        "[Content_Types].xml": types().encode(),
    }
    for path in sorted(SOURCE.rglob("*")):
        if path.is_file():
            files[f"extension/{path.relative_to(SOURCE).as_posix()}"] = path.read_bytes()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data, zipfile.ZIP_DEFLATED)
    print(f"written: {target}")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path("freehold.vsix"))
