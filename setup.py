"""Packaging of recbole_ccd."""

from pathlib import Path

from setuptools import find_packages, setup

PROPERTIES = "recbole_ccd.properties"
FOLDERS = [
    "",
    *(path.name for path in sorted(Path(__file__).parent.joinpath("properties").iterdir()) if path.is_dir()),
]
# properties/ lies beside the package in the working tree and inside it when installed
SETTINGS = {f"{PROPERTIES}.{name}".rstrip("."): f"properties/{name}".rstrip("/") for name in FOLDERS}

setup(
    name="recbole_ccd",
    version="0.1.0",
    description="Continual collaborative distillation for RecBole",
    license="MIT",
    python_requires=">=3.10,<3.12",  # ray, which RecBole imports, has no wheel for 3.12 and newer
    packages=[*find_packages(include=["recbole_ccd", "recbole_ccd.*"]), *SETTINGS],
    package_dir={"recbole_ccd": "recbole_ccd", **SETTINGS},
    package_data={
        **{name: ["*.yaml"] for name in SETTINGS},
        "recbole_ccd.report.html": ["page.html", "page.css", "page.js"],
    },
    install_requires=[
        "recbole==1.2.1",  # we subclass its Config, Dataset and Trainer
        "torch>=2.6",  # before it, torch.load(weights_only=True) could be made to run code (CVE-2025-32434)
        "numpy>=1.23,<2",  # RecBole and ray use names that numpy 2 removed, such as np.bool8
        "pandas>=1.5,<3",  # RecBole assigns in place to columns that pandas 3 copies
        "scipy>=1.9,<1.13",  # seven of RecBole's models call dok_matrix._update, gone in 1.13
        "setuptools<81",  # ray imports pkg_resources, gone in later versions
        "scikit-learn",  # k-means, as RecBole uses it
        "threadpoolctl",
        "pyyaml",
        "tqdm",
        "tensorboard",
        "plotly",
        "tabulate",
        "colorlog",
        "colorama",
    ],
    extras_require={"test": ["hypothesis", "pytest", "pytest-xdist", "ruff"]},
    entry_points={"console_scripts": ["run_ccd=recbole_ccd.__main__:main"]},
)
