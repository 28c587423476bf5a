"""The Extensions Index's rules for a catalogue entry and its repository, as far as they can be checked offline.

    python -m support.index_rules [REPOSITORY]      # from Testing/; exit code 1 where something is wrong

After Slicer/ExtensionsIndex scripts/check_description_files.py and AGENTS.md, and Slicer's catalogue entry schema
1.0.2. What needs the published repository is left: that its addresses answer, and its topic 3d-slicer-extension.
"""

from __future__ import annotations

import ast
import json
import re
import struct
import subprocess
import sys
from pathlib import Path

NAME = "DualFaceRecon"
ENTRY = f"Resources/Index/{NAME}.json"
SCHEMA = (
    "https://raw.githubusercontent.com/Slicer/Slicer/main/Schemas/slicer-extension-catalog-entry-schema-v1.0.2.json"
)
TYPES = {
    "$schema": str,
    "category": str,
    "scm_url": str,
    "scm_revision": str,
    "scm_type": str,
    "build_dependencies": list,
    "dicom_support_rule": str,
    "build_subdirectory": str,
    "enabled": bool,
    "tier": int,
}
REQUIRED = ("$schema", "category", "scm_url")
LICENCES = ("LICENSE", "LICENCE", "License.txt", "license.txt", "LICENSE.txt", "COPYING", "COPYING.txt")
# All of ACCEPTED_EXTENSION_CATEGORIES in scripts/check_description_files.py
CATEGORIES = {
    *("Active Learning", "Analysis", "Auto3dgm", "BigImage", "Cardiac", "Chest Imaging Platform", "Conda"),
    *("Converters", "DICOM", "DSCI", "Developer Tools", "Diffusion", "Examples", "Exporter", "FTV Segmentation"),
    *("Filtering", "Filtering.Morphology", "Filtering.Vesselness", "Holographic Display", "Image Synthesis", "IGT"),
    *("Informatics", "Netstim", "Neuroimaging", "Nuclear Medicine", "Orthodontics", "Osteotomy Planning"),
    *("Otolaryngology", "Photogrammetry", "Pipelines", "Planning", "Printing", "Quantification", "Radiotherapy"),
    *("Registration", "Remote", "Rendering", "SPHARM", "Segmentation", "Sequences", "Shape Analysis"),
    *("Shape Regression", "Shape Visualization", "Simulation", "SlicerCMF", "SlicerMorph", "Spectral Imaging"),
    *("Supervisely", "Surface Models", "SurfaceLearner", "Tomographic Reconstruction", "Tracking", "Tractography"),
    *("Training", "Ultrasound", "Utilities", "Vascular Modeling Toolkit", "Virtual Reality", "VisSimTools"),
    *("Web System Tools", "Wizards"),
}
RAW = re.compile(r"https://raw\.githubusercontent\.com/[\w-]+/(\w+)/main/(\S+)")
CLONE_MB = 80  # of the index's 100
ICON_PX = (128, 128)
MINIMUM = "cmake_minimum_required(VERSION 3.20.6...3.22.6 FATAL_ERROR)"  # Utilities/Templates/Extensions/Default


def faults(root: Path) -> list[str]:
    """What is wrong, in sentences."""
    written = (root / ENTRY).read_bytes()
    wrong = [*_entry(json.loads(written))]
    if b"\r" in written:
        wrong.append("The entry's lines end with more than LF.")
    cmake = (root / "CMakeLists.txt").read_text(encoding="utf-8")
    wrong += _cmake(cmake, root)
    if not any((root / name).is_file() for name in LICENCES):
        wrong.append("There is no licence file in the root.")
    wrong += _file_scope(root / NAME / f"{NAME}.py")
    if (size := _clone_mb(root)) > CLONE_MB:
        wrong.append(f"A clone takes {size} MB.")
    return wrong


def _entry(entry: dict) -> list[str]:
    wrong = [f"The entry lacks {name}." for name in REQUIRED if name not in entry]
    wrong += [f"The schema knows no {name}." for name in entry if name not in TYPES]
    wrong += [f"{name} is of the wrong type." for name, value in entry.items() if type(value) is not TYPES.get(name)]
    if entry.get("$schema", "").split("#")[0] != SCHEMA:
        wrong.append("The schema is not the newest.")
    if entry.get("category") not in CATEGORIES:
        wrong.append(f"{entry.get('category')} is no accepted category.")
    if not 1 <= entry.get("tier", 1) <= 5:
        wrong.append("The tier is from 1 to 5.")
    url = entry.get("scm_url", "")
    if not url.startswith(("https://", "git://")):
        wrong.append("scm_url is no https or git address.")
    if "slicer" not in url.rsplit("/", 1)[-1].lower():
        wrong.append("The repository's name has no Slicer in it.")
    return wrong


def _cmake(text: str, root: Path) -> list[str]:
    wrong = []
    if re.search(r"project\s*\(\s*([^\s)]+)", text)[1] != NAME:
        wrong.append("CMake's project is not called as the entry's file.")
    if not text.startswith(MINIMUM):
        wrong.append("CMake's minimum is not that of the template.")
    for name in ("HOMEPAGE", "CATEGORY", "CONTRIBUTORS", "DESCRIPTION", "ICONURL", "SCREENSHOTURLS", "DEPENDS"):
        if not re.search(rf'set\s*\(EXTENSION_{name}\s*"[^"]+"', text):
            wrong.append(f"EXTENSION_{name} is not set.")
    if category := re.search(r'EXTENSION_CATEGORY\s*"([^"]+)"', text):
        wrong += [] if category[1] in CATEGORIES else [f"{category[1]} is no accepted category."]
    for name in ("ICONURL", "SCREENSHOTURLS"):
        urls = re.search(rf'EXTENSION_{name}\s*"([^"]*)"', text)
        for url in urls[1].split() if urls else ():
            match = RAW.fullmatch(url)
            if match is None or not (root / match[2]).is_file():
                wrong.append(f"{url} is no file of this repository.")
            elif name == "ICONURL" and _png_size(root / match[2]) != ICON_PX:
                wrong.append("The icon is not 128 x 128.")
    return wrong


def _file_scope(module: Path) -> list[str]:
    """Code outside of functions and classes may import Slicer and the standard library alone."""
    allowed = {"slicer", "qt", "ctk", "vtk", "__future__", *sys.stdlib_module_names}
    wrong = []
    for node in ast.parse(module.read_text(encoding="utf-8")).body:
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        wrong += [f"{name} is imported at file scope." for name in names if name.split(".")[0] not in allowed]
        if "pip_install" in ast.unparse(node) and not isinstance(node, ast.ClassDef | ast.FunctionDef):
            wrong.append("Something is installed at file scope.")
    return wrong


def _png_size(path: Path) -> tuple[int, int]:
    return struct.unpack(">II", path.read_bytes()[16:24])


def _clone_mb(root: Path) -> int:
    """Of the commit that is checked out, with its history; 0 where this is no clone.

    What nothing refers to is not counted: a working copy gathers it, a clone does not get it.
    """
    command = ["git", "-C", str(root), "rev-list", "--objects", "--disk-usage", "HEAD"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return 0 if done.returncode else int(done.stdout) >> 20


if __name__ == "__main__":
    found = faults(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parents[2])
    print("\n".join(found) or "Everything that can be checked offline is as the Extensions Index wants it.")
    sys.exit(bool(found))
