"""The documentation as a site: built without a warning, whole by itself, and searched from a disk."""

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.documents import REPOSITORY
from tests.report.browser import browsing, find

pytestmark = pytest.mark.slow
# what a browser fetches by itself, and not when someone follows it
FETCHED = {("script", "src"), ("img", "src"), ("link", "href"), ("iframe", "src"), ("source", "srcset")}
SEARCH = """(async () => {
  const box = document.querySelector("[data-md-component=search-query]");
  document.querySelector("#__search").click();
  box.value = "plasticity_ema";
  box.dispatchEvent(new Event("input", {bubbles: true}));
  for (let n = 0; n < 300; n++) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    const found = [...document.querySelectorAll(".md-search-result__item a")].map((link) => link.href);
    if (found.length) return found;
  }
})()"""


class Links(HTMLParser):
    """What a page leads to, what it loads, and the anchors that it has."""

    def __init__(self, page):
        super().__init__()
        self.targets, self.loaded, self.anchors = [], [], set()
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        for name, value in attrs:
            if name == "id":
                self.anchors.add(value)
            elif (tag, name) in FETCHED:
                self.loaded.append(value)
            elif (tag, name) == ("a", "href"):
                self.targets.append(value)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    pytest.importorskip("material", reason='the site needs pip install -e ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)]
    surroundings = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(build, cwd=REPOSITORY, env=surroundings, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_leads_nowhere_in_vain_and_loads_nothing_from_elsewhere(site):
    pages = {page: Links(page) for page in site.rglob("*.html")}
    assert {site / name for name in ("index.html", "docs/options.html", "CHANGELOG.html")} <= set(pages)
    for page, links in pages.items():
        # 404.html is served at any address, and so has addresses from the root
        base = site if page.name == "404.html" else page.parent
        for target in links.targets + links.loaded:
            parts = urlsplit(target)
            if parts.scheme:
                assert target not in links.loaded, f"{page} loads {target}"
                continue
            path = unquote(parts.path)
            file = (base / path.removeprefix("/")).resolve() if path else page
            assert file.is_file(), f"{page}: {target}"
            if parts.fragment and file in pages:
                assert unquote(parts.fragment) in pages[file].anchors | {"__skip"}, f"{page}: {target}"


def test_sources_to_which_pages_lead_can_be_read_there(site):
    text = (site / "recbole_ccd" / "strategy" / "ccd.py.html").read_text(encoding="utf-8")
    assert "BridgeDistillation" in text and 'class="highlight"' in text
    assert "strategy/ccd.yaml.html" in (site / "properties.html").read_text(encoding="utf-8")


@pytest.mark.skipif(not find(), reason="needs a chromium")
def test_pages_fit_a_telephone_and_are_searched_without_a_network(site, tmp_path):
    with browsing(tmp_path) as page:
        for name in ("index.html", "docs/options.html", "docs/errors.html", "results/yelp-ccd.html"):
            for width in (400, 1400):
                page.open(site / name, width)
                assert page.run("document.documentElement.scrollWidth") <= width, (name, width)
                assert not page.complaints
                # icons are data of the style sheet
                assert {urlsplit(address).scheme for address in page.requests} <= {"file", "data"}
        found = page.run(SEARCH)
        assert any(Path(urlsplit(address).path) == site / "docs" / "options.html" for address in found), found
        assert not page.complaints
