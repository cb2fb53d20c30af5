"""What is installed: the package with its settings, usable from any folder."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.conftest import SMALL, SMALL_CCD

REPOSITORY = Path(__file__).parents[1]
SOURCES = ("recbole_ccd", "properties", "setup.py", "pyproject.toml", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel built from a copy, since building writes into the tree."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in SOURCES:
        source = REPOSITORY / name
        if source.is_dir():
            shutil.copytree(source, folder / "copy" / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(source, folder / "copy" / name)
    build = ["wheel", ".", "--no-deps", "--no-build-isolation", "--quiet", "--no-index", "-w", str(folder)]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *build], cwd=folder / "copy", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


def test_the_wheel_holds_all_modules_and_settings(wheel):
    inside = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(REPOSITORY)) for path in (REPOSITORY / "recbole_ccd").rglob("*.py")}
    settings = {
        f"recbole_ccd/{path.relative_to(REPOSITORY)}" for path in (REPOSITORY / "properties").rglob("*.yaml")
    }
    assert {"recbole_ccd/properties/overall.yaml", "recbole_ccd/properties/strategy/ccd.yaml"} <= settings
    assert any(name.startswith("recbole_ccd/properties/dataset/") for name in settings)
    templates = {
        str(path.relative_to(REPOSITORY))
        for path in (REPOSITORY / "recbole_ccd" / "report" / "html" / "templates").iterdir()
    }
    assert "recbole_ccd/report/html/templates/page.html.j2" in templates
    assert inside == modules | settings | templates


def test_the_command_is_installed(wheel):
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "run_ccd = recbole_ccd.__main__:main" in archive.read(entry_points).decode()


QUICK = {**SMALL, **SMALL_CCD, "teacher_models": ["BPR"], "teacher_args": {}, "block_ratios": [0.6, 0.4]}
# deterministic algorithms make torch import its compiler
QUICK["reproducibility"] = False
CODE = """
import os, sys
import recbole_ccd
assert not {{"torch", "recbole", "ray"}} & set(sys.modules), "importing is heavy"
from recbole_ccd import CCDConfig, create_stream, create_strategy
config = CCDConfig()
print(recbole_ccd.__file__, config["model"], config["dataset"], config["distill_top_k"])
os.chdir("../run")
config = CCDConfig("BPR", "tiny", config_dict={keys!r})
create_strategy(config).run(create_stream(config))
assert not [name for name in sys.modules if name.split(".")[0] == "ray" or name == "recbole.quick_start"]
"""


@pytest.mark.slow
def test_the_installed_package_is_light_and_needs_neither_the_checkout_nor_ray(wheel, tiny_folder, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    for name in ("empty", "run"):
        (tmp_path / name).mkdir()
    code = CODE.format(keys={**QUICK, "data_path": str(tiny_folder)})
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code],
        cwd=tmp_path / "empty",
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site"), "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [
        str(tmp_path / "site" / "recbole_ccd" / "__init__.py"),
        "LightGCN",
        "ml-100k",
        "40",
    ]
    assert not list((tmp_path / "empty").iterdir())
