"""What pyproject.toml cannot say: the bundle lies in Resources/Models, and is installed into the package.

Metadata is in pyproject.toml. `training` is for the checkout and is not installed, nor are the samples: nothing reads
them but demo and tests, and they would double the download.
"""

from setuptools import find_packages, setup

BUNDLES = {"DualFaceReconLib.Resources.Models": "Resources/Models"}

setup(
    packages=[*find_packages(include=["DualFaceReconLib*"]), *BUNDLES],
    package_dir=BUNDLES,
    package_data={package: ["*"] for package in BUNDLES},
)
