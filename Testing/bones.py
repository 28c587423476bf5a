"""Real bones and reference registrations for tests; both lie beside the repository and may be absent."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from training.anatomy.meshes import read_ply

SHARED = Path(__file__).parent.parent.parent / "shared"
GOLDEN_CASES = ("femur", "femur_other", "hip")


def load_bone(people: str, person: str, bone: str) -> tuple[np.ndarray, np.ndarray]:
    """Vertices (V, 3) mm and triangles (T, 3) of a bone; skips the test where it is absent."""
    path = SHARED / "bones" / people / person / f"{bone}.ply"
    if not path.exists():
        pytest.skip(f"no bones at hand ({people}/{person}): CONTRIBUTING.md says where they come from")
    return read_ply(path)


def load_golden(case: str) -> dict[str, np.ndarray]:
    """A registration by the author's program: source, triangles, target, gbcpd_y ...; skips where it is absent."""
    path = SHARED / "golden" / f"{case}.npz"
    if not path.exists():
        pytest.skip("no reference registrations at hand")
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name].astype(int if name == "triangles" else float) for name in file.files}
