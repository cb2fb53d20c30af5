"""The documentation as a whole: links that lead somewhere, keys that exist, pages that are up to date."""

import ast
import re
import runpy
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from recbole_ccd.config import STAGES, CCDConfig
from recbole_ccd.config.catalogue import names_of, properties_dir
from recbole_ccd.config.sources import parse_arguments
from recbole_ccd.utils.commands import COMMANDS
from tests.documents import PAGES, REPOSITORY, blocks, program_arguments, prose

IDS = [str(page.relative_to(REPOSITORY)) for page in PAGES]
OF_DEVELOPERS = ("CONTRIBUTING.md", "CHANGELOG.md", "benchmarks/README.md")
RESULTS = sorted((REPOSITORY / "results").glob("*.md"))
README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
DEVELOPERS = [*PAGES, *(REPOSITORY / page for page in OF_DEVELOPERS), *RESULTS]
# keys that the program takes beside those of a run
OF_THE_PROGRAM = {argument.name for command in COMMANDS for argument in command.all_arguments} | {
    "config_files"
}


def anchors(page):
    """The anchors that GitHub gives the headings of a page."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    words = [re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings]
    return [word.strip().replace(" ", "-") for word in words]


@pytest.mark.parametrize("page", DEVELOPERS, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"https?://", target):
            continue
        name, _, anchor = target.partition("#")
        file = (page.parent / name).resolve() if name else page
        assert file.exists() and REPOSITORY in (file, *file.parents), f"{page.name}: {target}"
        assert not anchor or anchor in anchors(file), f"{page.name}: {target}"


def test_every_page_can_be_reached_from_the_readme():
    linked = set(re.findall(r"\]\(docs/([\w-]+\.md)", prose(REPOSITORY / "README.md")))
    assert {page.name for page in PAGES[1:]} == linked


def test_every_page_has_its_place_in_the_menu_of_the_site():
    menu = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    named = re.findall(r"[\w./-]+\.md", str(menu))
    assert sorted(named) == sorted(str(page.relative_to(REPOSITORY)) for page in DEVELOPERS)


def test_headings_of_a_page_have_anchors_of_their_own():
    for page in PAGES:
        assert len(set(anchors(page))) == len(anchors(page)), page.name


@pytest.mark.parametrize("page", IDS)
def test_commands_have_keys_and_values_that_exist(page):
    # settings of the classes on a page, for those who name its module
    of_the_page = {word for _, text in blocks(page, "python") for word in re.findall(r'"(\w+)":', text)}
    for arguments in program_arguments(page):
        given = parse_arguments(arguments)
        known = OF_THE_PROGRAM | (of_the_page if "plugins" in given else set())
        unknown = given.keys() - set(CCDConfig().final_config_dict) - known
        assert not unknown, f"{page}: {unknown}"
        for strategy in str(given.get("strategy", "ccd")).split(","):
            assert strategy in names_of("strategy") or "plugins" in given, (page, strategy)


@pytest.mark.parametrize("page", IDS)
def test_code_can_be_read(page):
    for language, text in blocks(page, "python", "yaml"):
        if language == "python":
            ast.parse(text)
        else:
            assert isinstance(yaml.safe_load(text), dict)


def test_yaml_on_the_pages_holds_known_keys():
    known = set(CCDConfig().final_config_dict)
    for page in IDS:
        for _, text in blocks(page, "yaml"):
            assert set(yaml.safe_load(text)) <= known, (page, text)


def test_options_are_what_the_property_files_say():
    made = runpy.run_path(str(REPOSITORY / "docs" / "make_options.py"))
    page = Path(made["PAGE"])
    assert page.read_text(encoding="utf-8") == made["page"](), "run python docs/make_options.py"
    text = page.read_text(encoding="utf-8")
    for file in properties_dir().rglob("*.yaml"):
        for key in yaml.safe_load(file.read_text(encoding="utf-8")) or {}:
            stage = next((stage for stage in STAGES if key.startswith(f"{stage}_")), "")
            assert f"`{key}" in text or (stage and f"`{key.removeprefix(f'{stage}_')}`" in text), key


def made_stages():
    """What docs/make_stages.py defines."""
    return runpy.run_path(str(REPOSITORY / "docs" / "make_stages.py"))


def test_the_diagram_is_what_its_script_makes():
    made = made_stages()
    assert Path(made["PICTURE"]).read_text(encoding="utf-8") == made["picture"](), "run docs/make_stages.py"


def test_the_diagram_has_words_for_those_who_do_not_see_it_and_stands_on_the_first_screen():
    picture = ElementTree.fromstring(made_stages()["picture"]())
    svg = "{http://www.w3.org/2000/svg}"
    assert picture.get("role") == "img"
    assert picture.get("aria-labelledby").split() == [
        picture.find(f"{svg}{n}").get("id") for n in ("title", "desc")
    ]
    shown = " ".join("".join(text.itertext()) for text in picture.iter(f"{svg}text"))
    for word in ("Student generation", "Student update", "Teacher update", "short cycle", "long cycle"):
        assert word in shown
    # a picture that is embedded may load nothing
    assert not [node for node in picture.iter() if any(name.endswith("href") for name in node.attrib)]
    (line,) = (n for n, text in enumerate(README.splitlines()) if text.endswith("](docs/stages.svg)"))
    alternative = README.splitlines()[line].removeprefix("![").partition("](")[0]
    assert line < 10 and all(word in alternative for word in ("student", "teacher", "short cycle"))


def luminance(colour):
    """Relative luminance of #rrggbb as WCAG 2 defines it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(weight * c for weight, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


@pytest.mark.parametrize("scheme", [0, 1], ids=["light", "dark"])
def test_the_diagrams_text_has_contrast(scheme):
    fills = {
        name: re.search("fill: (#[0-9a-f]{6})", pair[scheme])
        for name, pair in made_stages()["COLOURS"].items()
    }
    for ink, papers in {"text": ("page", "past", "now", "student", "teacher"), "quiet": ("page",)}.items():
        for paper in papers:
            high, low = sorted((luminance(fills[name][1]) for name in (ink, paper)), reverse=True)
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, paper)
