"""What pyproject.toml cannot say: bundles lie in Resources/Models and Resources/Vertebrae, and go into the package.

Metadata is in pyproject.toml. `training` is for the checkout and is not installed, nor are the samples: nothing reads
them but demo and tests, and they would double the download.
"""

from pathlib import Path

from setuptools import find_packages, setup

FOLDERS = [name for name in ("Models", "Vertebrae") if Path("Resources", name, "manifest.json").is_file()]
BUNDLES = {f"DualFaceReconLib.Resources.{name}": f"Resources/{name}" for name in FOLDERS}

setup(
    packages=[*find_packages(include=["DualFaceReconLib*"]), *BUNDLES],
    package_dir=BUNDLES,
    package_data={package: ["*"] for package in BUNDLES},
)
