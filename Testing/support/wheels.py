"""What the pinned wheels require, as their metadata have it: python -m support.wheels writes host/wheels.json anew.

From Testing/, with a connection to PyPI: pip reads the wheels of every kind of computer, and installs none.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

TABLE = Path(__file__).parents[1] / "host" / "wheels.json"
PYTHON = "3.12"  # Slicer's
INTEL = "macosx_13_0_x86_64"
PLATFORMS = (("manylinux2014_x86_64", "manylinux_2_28_x86_64"), ("win_amd64",), ("macosx_14_0_arm64",), (INTEL,))


def wheels_of(pins: tuple[str, ...], platforms: tuple[str, ...]) -> list[dict[str, Any]]:
    """Name, version, file, Python and requirements of every pin's wheel."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        command = [
            *(sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps"),
            *("--only-binary=:all:", "--python-version", PYTHON, "--target", folder, "--report", str(report)),
            *(word for platform in platforms for word in ("--platform", platform)),
            *pins,
        ]
        subprocess.run(command, check=True)
        found = [(wheel["metadata"], wheel["download_info"]) for wheel in json.loads(report.read_text())["install"]]
    return [
        {
            "name": metadata["name"].lower().replace("_", "-"),
            "version": metadata["version"],
            "wheel": info["url"].rsplit("/", 1)[-1],
            "sha256": info["archive_info"]["hashes"]["sha256"],
            "requires_python": metadata.get("requires_python", ""),
            "requires": [text for text in metadata.get("requires_dist", []) if "extra ==" not in text],
        }
        for metadata, info in found
    ]


def main() -> None:
    sys.path.append(str(Path(__file__).parents[2] / "DualFaceRecon"))
    from host.desktop import Desktop

    with Desktop():
        from DualFaceReconPanel.packages import INTEL_MAC, USUAL

        table = {}
        for platforms in PLATFORMS:
            pins = (*INTEL_MAC.pinned, *INTEL_MAC.torch) if INTEL in platforms else USUAL.pinned
            table[platforms[0]] = wheels_of(pins, platforms)
    TABLE.write_text(json.dumps(table, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
