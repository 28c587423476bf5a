"""What pip installs: the engine with the bundle in it and nothing else, from a wheel, an sdist or a checkout."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("DualFaceReconLib", "Resources", "training", "pyproject.toml", "setup.py", "README.md", "LICENSE")
SAMPLE = ROOT / "Resources" / "Samples" / "one_hip_2.dcm"
LENT = sorted({sysconfig.get_path(kind) for kind in ("purelib", "platlib")})  # as plain paths no editable install acts
BUILD = "import sys; from setuptools import build_meta; print(getattr(build_meta, sys.argv[1])(sys.argv[2]))"


def run(*command, cwd, **environment):
    """Standard output of a command that must succeed; the engine of this checkout is not on its path."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**inherited, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A copy of what is packaged: building leaves files, and what an earlier build left would come along."""
    folder = tmp_path_factory.mktemp("source")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__", "Screenshots"))
        else:
            shutil.copy(ROOT / part, folder / part)
    return folder


def built(kind, source, out):
    """The path of a wheel, an sdist or an editable wheel."""
    return out / run(sys.executable, "-c", BUILD, f"build_{kind}", out, cwd=source).splitlines()[-1]


def names(wheel):
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


@pytest.fixture(scope="module")
def wheel(source, tmp_path_factory):
    return built("wheel", source, tmp_path_factory.mktemp("wheel"))


def test_a_wheel_holds_the_engine_and_its_bundle(wheel):
    engine = {path.relative_to(ROOT).as_posix() for path in (ROOT / "DualFaceReconLib").rglob("*.py")}
    files = [*(ROOT / "Resources/Models").iterdir()]
    if (ROOT / "Resources/Vertebrae/manifest.json").is_file():
        files += [path for path in (ROOT / "Resources/Vertebrae").iterdir() if path.is_file()]
    bundle = {f"DualFaceReconLib/{path.relative_to(ROOT).as_posix()}" for path in files}
    assert names(wheel) == engine | bundle
    with zipfile.ZipFile(wheel) as archive:
        licences = {Path(name).name for name in archive.namelist() if "/licenses/" in name}
    assert licences == {"LICENSE", "LICENSES.md"}


def test_an_sdist_makes_the_same_wheel(source, wheel, tmp_path):
    with tarfile.open(built("sdist", source, tmp_path)) as archive:
        archive.extractall(tmp_path / "sdist", filter="data")
    [unpacked] = (tmp_path / "sdist").iterdir()
    assert names(built("wheel", unpacked, tmp_path)) == names(wheel)


def test_an_editable_install_reads_the_checkout(source, tmp_path):
    """And finds the bundle beside the package, where it lies."""
    with zipfile.ZipFile(built("editable", source, tmp_path)) as archive:
        archive.extractall(tmp_path / "site")
    program = "import site; site.addsitedir('site'); from DualFaceReconLib.bundle.store import SHIPPED; print(SHIPPED)"
    path = os.pathsep.join(["site", *LENT])
    printed = run(sys.executable, "-S", "-c", program, cwd=tmp_path, PYTHONPATH=path).strip()
    assert printed == str(source / "Resources" / "Models")


def test_the_bundle_is_found_in_what_pip_installs(wheel, tmp_path):
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    program = (
        "from DualFaceReconLib.bundle.files import verify; from DualFaceReconLib.bundle.store import SHIPPED;"
        "verify(SHIPPED); print(SHIPPED)"
    )
    printed = run(sys.executable, "-c", program, cwd=tmp_path, PYTHONPATH=str(tmp_path / "site")).strip()
    assert printed == str(tmp_path / "site" / "DualFaceReconLib" / "Resources" / "Models")


def test_the_version_is_one():
    import DualFaceReconLib

    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["version"] == DualFaceReconLib.__version__


@pytest.mark.slow
def test_pip_install_in_a_bare_environment(source, tmp_path):
    """From any folder `dualface` makes bones of a film; what it depends on is lent by the environment of the tests."""
    venv.create(tmp_path / "bare")
    windows = os.name == "nt"
    programs = tmp_path / "bare" / ("Scripts" if windows else "bin")
    python = programs / ("python.exe" if windows else "python")
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", cwd=tmp_path).strip())
    (site / "lent.pth").write_text("\n".join(LENT), encoding="utf-8")
    install = ("-m", "pip", "--python", python, "install", "--no-deps", "--no-build-isolation", "--no-index", source)
    run(sys.executable, *install, cwd=tmp_path)
    find = "from importlib.util import find_spec; print(find_spec('training'), find_spec('DualFaceReconLib').origin)"
    assert run(python, "-c", find, cwd=tmp_path).strip() == f"None {site / 'DualFaceReconLib' / '__init__.py'}"
    printed = run(programs / "dualface", "reconstruct", SAMPLE, "-o", "out", cwd=tmp_path, OPENBLAS_NUM_THREADS="1")
    assert "Result: out" in printed
    assert (tmp_path / "out" / "hip_right.stl").is_file()
