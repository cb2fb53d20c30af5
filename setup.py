"""Where the package's files lie; what describes it stands in pyproject.toml."""

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
    packages=[*find_packages(include=["recbole_ccd", "recbole_ccd.*"]), *SETTINGS],
    package_dir={"recbole_ccd": "recbole_ccd", **SETTINGS},
    package_data={
        **{name: ["*.yaml"] for name in SETTINGS},
        "recbole_ccd": ["py.typed"],
        "recbole_ccd.report.html": ["templates/*"],
    },
)
