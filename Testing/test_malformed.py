"""Damaged films by the hundred: each ends in a picture or in a clear refusal, within 3 GB, without a crash."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from support.films import dataset, save

HERE = Path(__file__).parent


def run_bounded(script, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)])}
    command = [sys.executable, str(script), *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, errors="replace", check=False)


def judge(tmp_path, count):
    done = run_bounded(HERE / "support" / "malformed.py", tmp_path, 0, count)
    lines = [line for line in done.stdout.splitlines() if line.split(" ", 1)[0].isdigit()]
    assert done.returncode == 0, f"died after {lines[-1:]}: {done.stderr[-500:]}"
    assert len(lines) == count
    outcomes = [line.split(" ", 1)[1] for line in lines]
    assert [o for o in outcomes if not o.startswith(("picture of", "refused:"))] == []
    refusals = [o for o in outcomes if o.startswith("refused:")]
    assert all(len(o) < 400 and "Traceback" not in o for o in refusals)
    assert len(refusals) > count / 4  # the injuries are real ...
    assert len(outcomes) - len(refusals) > count / 20  # ... and some do no harm


def test_a_hundred_damaged_films(tmp_path):
    judge(tmp_path, 100)


@pytest.mark.slow
def test_three_thousand_damaged_films(tmp_path):
    judge(tmp_path, 3000)


@pytest.mark.skipif(sys.platform == "win32", reason="no RLIMIT_AS")
@pytest.mark.parametrize("kind", ["dcm", "nrrd"])
def test_the_largest_picture_fits_into_3_gb(tmp_path, kind):
    values = np.random.default_rng(0).integers(0, 4096, (10_000, 10_000), dtype=np.uint16)
    path = tmp_path / f"film.{kind}"
    if kind == "dcm":
        ds = dataset(ImagerPixelSpacing=[0.05, 0.05], FieldOfViewOrigin=None, PhotometricInterpretation="MONOCHROME1")
        ds.Rows, ds.Columns, ds.PixelData = *values.shape, values.tobytes()
        save(ds, path)
    else:
        sitk.WriteImage(sitk.GetImageFromArray(values), str(path))
    program = tmp_path / "read.py"
    program.write_text(
        "import sys; from support.malformed import bound_memory; bound_memory();"
        "from DualFaceReconLib.cli import main;"
        "sys.exit(main(['inspect', sys.argv[1], '--pixel-pitch', '0.05', '--picture', sys.argv[2]]))"
    )
    done = run_bounded(program, path, tmp_path / "p.png")
    assert done.returncode == 0, done.stderr
    assert "10000 x 10000 px" in done.stdout
