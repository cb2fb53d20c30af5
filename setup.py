"""Where the package's files lie; what describes it stands in pyproject.toml."""

from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

PROPERTIES = "recbole_ccd.properties"
FOLDERS = [
    "",
    *(path.name for path in sorted(Path(__file__).parent.joinpath("properties").iterdir()) if path.is_dir()),
]
# properties/ lies beside the package in the working tree and inside it when installed
SETTINGS = {f"{PROPERTIES}.{name}".rstrip("."): f"properties/{name}".rstrip("/") for name in FOLDERS}
# and so does docs/, to which messages and --help lead
DOCS = "recbole_ccd.docs"


class BuildPackage(build_py):
    """Leaves out the scripts that write pages."""

    def find_package_modules(self, package: str, package_dir: str) -> list[tuple[str, str, str]]:
        """The modules of a package.

        Args:
            package: its name.
            package_dir: its folder.
        """
        return [] if package == DOCS else super().find_package_modules(package, package_dir)


setup(
    cmdclass={"build_py": BuildPackage},
    packages=[*find_packages(include=["recbole_ccd", "recbole_ccd.*"]), *SETTINGS, DOCS],
    package_dir={"recbole_ccd": "recbole_ccd", **SETTINGS, DOCS: "docs"},
    package_data={
        DOCS: ["*.md", "*.svg"],
        **{name: ["*.yaml"] for name in SETTINGS},
        "recbole_ccd": ["py.typed"],
        "recbole_ccd.report.html": ["templates/*"],
    },
)
