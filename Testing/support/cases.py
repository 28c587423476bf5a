"""Cases of which less is judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from pathlib import Path

from training.cases import read_case


def judged_by(case: Path, bones: Collection[str], folder: Path) -> Path:
    """A copy of a case in a folder, of which these bones alone are judged: each takes a second."""
    copy = Path(shutil.copytree(case, folder / case.name))
    whole = read_case(case)
    metadata = {**whole.metadata, "unscored": [bone for bone in whole.meshes if bone not in bones]}
    (copy / "case.json").write_text(json.dumps(metadata), encoding="utf-8")
    return copy
