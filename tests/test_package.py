"""What is installed: the package with its settings, usable from any folder."""

import email
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement

import recbole_ccd
from recbole_ccd.utils.requirements import INSTALL_RECBOLE
from tests.conftest import SMALL, SMALL_CCD

PYTHONS = ("3.10", "3.11", "3.12", "3.13", "3.14")
REPOSITORY = Path(__file__).parents[1]
SOURCES = ("recbole_ccd", "properties", "docs", "setup.py", "pyproject.toml", "LICENSE", "README.md")


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
    pages = {
        f"recbole_ccd/docs/{path.name}"
        for path in (REPOSITORY / "docs").iterdir()
        if path.suffix in (".md", ".svg")
    }
    assert {"recbole_ccd/docs/options.md", "recbole_ccd/docs/stages.svg"} <= pages
    assert inside == modules | settings | templates | pages | {"recbole_ccd/py.typed"}


def test_help_leads_to_pages_that_are_installed(wheel, tmp_path):
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    done = subprocess.run(
        [sys.executable, "-m", "recbole_ccd", "--help"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
    )
    folder = Path(done.stdout.splitlines()[-1].removeprefix("The pages of the documentation are in "))
    assert folder == tmp_path / "site" / "recbole_ccd" / "docs"
    named = re.findall(r"\((\w+\.md)\)", done.stdout)
    assert sorted(named) == ["data.md", "tuning.md"] and all((folder / name).is_file() for name in named)


def test_the_command_is_installed(wheel):
    archive = zipfile.ZipFile(wheel)
    (entry_points,) = (name for name in archive.namelist() if name.endswith("entry_points.txt"))
    assert "run_ccd = recbole_ccd.cli:main" in archive.read(entry_points).decode()


@pytest.fixture(scope="module")
def metadata(wheel):
    """What an index shows of the package."""
    archive = zipfile.ZipFile(wheel)
    (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
    return email.message_from_bytes(archive.read(name))


def test_the_wheel_says_what_it_is(metadata):
    assert metadata["Name"] == "recbole_ccd" and metadata["Version"] == recbole_ccd.__version__
    assert metadata["License-Expression"] == "MIT" and "distillation" in metadata["Summary"]
    assert metadata["Description-Content-Type"] == "text/markdown"
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert metadata.get_payload(decode=True).decode("utf-8").strip() == readme.strip()
    links = dict(link.split(", ") for link in metadata.get_all("Project-URL"))
    assert links.keys() == {"Paper", "RecBole"} and all(link in readme for link in links.values())
    assert "recommender systems" in metadata["Keywords"].split(",")
    classifiers = metadata.get_all("Classifier")
    languages = {f"Programming Language :: Python :: {version}" for version in PYTHONS}
    assert {"Typing :: Typed", *languages} <= set(classifiers)


# what ``pip install --no-deps`` and users of ray bring
BY_THEMSELVES = {"recbole", "ray"}


def demanded(lines, python, *extras):
    """Requirements by name that count on a version of Python."""
    kept = {}
    for requirement in map(Requirement, lines):
        surroundings = [{"python_version": python, "extra": extra} for extra in extras or ("",)]
        if requirement.marker is None or any(map(requirement.marker.evaluate, surroundings)):
            assert requirement.name not in kept or extras, f"{requirement.name} occurs twice"
            kept[requirement.name.lower()] = requirement.specifier
    return kept


@pytest.mark.parametrize("python", PYTHONS)
def test_the_tested_set_has_everything_that_is_required(metadata, python):
    lines = (REPOSITORY / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = demanded([line for line in lines if line and line[0] != "#"], python)
    required = demanded(metadata.get_all("Requires-Dist"), python, "", "test", "ray")
    old = tuple(map(int, python.split("."))) < (3, 12)
    assert {"jinja2", "torch", "texttable", "pytest"} <= required.keys()
    assert ("recbole" in required) == ("recbole" in pinned) == ("ray" in pinned) == old
    assert required.keys() - BY_THEMSELVES <= pinned.keys()
    for name, bounds in required.items():
        assert name not in pinned or str(pinned[name]).removeprefix("==") in bounds, name


def test_what_installs_it_is_the_same_everywhere():
    readme, ci = ((REPOSITORY / name).read_text(encoding="utf-8") for name in ("README.md", ".ci/run"))
    run, test = re.findall(r"^pip install -r .*$", readme, re.M)
    assert run == f"pip install -r requirements.txt && {INSTALL_RECBOLE} && python run_ccd.py"
    assert test == f'pip install -r requirements.txt -e ".[test]" && {INSTALL_RECBOLE} && python -m pytest'
    assert re.search(rf"^ *{re.escape(test)}$", ci, re.M)
    assert INSTALL_RECBOLE in (REPOSITORY / "requirements.txt").read_text(encoding="utf-8")


def test_the_ruff_of_each_commit_is_the_pinned_one():
    pinned = dict(re.findall(r"^([\w.-]+)==(\S+)$", (REPOSITORY / "requirements.txt").read_text(), re.M))
    hooks = yaml.safe_load((REPOSITORY / ".pre-commit-config.yaml").read_text())["repos"][0]["hooks"]
    assert [hook["additional_dependencies"] for hook in hooks] == [[f"ruff=={pinned['ruff']}"]] * len(hooks)


def test_the_newest_changes_are_those_of_this_version():
    versions = re.findall(r"^## (\S+)$", (REPOSITORY / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)
    assert versions[0] == recbole_ccd.__version__ and versions[-1] == "0.1.0"


def test_the_paper_is_what_is_cited():
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    paper = citation["preferred-citation"]
    assert [author["family-names"] for author in paper["authors"]] == ["Lee", "Kang", "Kweon", "Yu"]
    assert "2405.19046" in paper["url"] and paper["title"] in (REPOSITORY / "README.md").read_text("utf-8")


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


@pytest.mark.slow
def test_the_archive_of_sources_has_its_tests_and_they_run(tmp_path):
    unwanted = shutil.ignore_patterns(
        "__pycache__",
        ".git",
        "*.egg-info",
        ".*_cache",
        ".hypothesis",
        ".venv",
        "build",
        "dist",
        "saved",
        "log",
        "log_tensorboard",
    )
    shutil.copytree(REPOSITORY, tmp_path / "copy", ignore=unwanted)
    build = "import setuptools.build_meta as build; build.build_sdist('../built')"
    done = subprocess.run(
        [sys.executable, "-c", build], cwd=tmp_path / "copy", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    (archive,) = (tmp_path / "built").glob("*.tar.gz")
    shutil.unpack_archive(archive, tmp_path / "sources")
    (root,) = (tmp_path / "sources").iterdir()
    for folder in ("tests", "docs", "properties", "recbole_ccd", "results", "benchmarks", ".ci"):
        there = {
            path.relative_to(REPOSITORY) for path in (REPOSITORY / folder).rglob("*.*") if path.is_file()
        }
        kinds = (".py", ".md", ".yaml", ".svg", ".j2", ".js", ".css")
        wanted = {path for path in there if path.suffix in kinds}
        assert not {str(path) for path in wanted if not (root / path).is_file()}
    tests = ["tests/test_package.py", "tests/test_help.py", "tests/loss", "tests/test_results.py"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-n", "0", *tests],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout
