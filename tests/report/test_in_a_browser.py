"""Reports as a browser shows them: nothing is complained about, nothing fetched, nothing cut off."""

import pytest

from recbole_ccd.report.html import comparison_report, run_report
from tests.report import browser
from tests.report.pages import comparison_document, run_document

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(browser.find() is None, reason="there is no Chromium"),
]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    with browser.browsing(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("reports")
    (folder / "run.html").write_text(run_report(run_document(6)), encoding="utf-8")
    (folder / "comparison.html").write_text(comparison_report(comparison_document()), encoding="utf-8")
    return folder


FIGURES = "[...document.querySelectorAll('svg.plot, table.heat')].filter(p => p.getClientRects().length)"
# what is wider than the page, but for tables that can be scrolled and what is folded
CUT = """[...document.querySelectorAll('main *')].filter(e => !e.closest('.scroll, svg, details')
    && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML.slice(0, 80))"""
SCROLLED = """[...document.querySelectorAll('.scroll')].filter(e => e.getClientRects().length
    && e.scrollWidth > e.clientWidth).map(e => e.textContent.slice(0, 80))"""


def shown_in(page, scheme):
    page.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


@pytest.mark.parametrize("name", ["run", "comparison"])
@pytest.mark.parametrize("width", [400, 800, 1400])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_report_is_drawn_from_itself_alone(page, files, name, width, scheme):
    shown_in(page, scheme)
    page.open(files / f"{name}.html", width)
    assert page.complaints == []
    assert page.requests == [(files / f"{name}.html").as_uri()]
    assert page.run(f"{FIGURES}.length") > 4
    assert page.run("document.documentElement.scrollWidth") == width
    assert page.run(CUT) == []
    if width == 400:
        # open what is folded, too
        page.run("document.querySelectorAll('details').forEach(d => d.open = true)")
        assert page.run(SCROLLED) == []
    # letters and the ground below them
    ink, ground = (
        page.run(f"getComputedStyle(document.body).{what}.match(/\\d+/g).map(Number)")
        for what in ("color", "backgroundColor")
    )
    assert abs(sum(ink) - sum(ground)) > 3 * 180 and (sum(ink) > sum(ground)) == (scheme == "dark")
    line = "getComputedStyle(document.querySelector('figure .series .line')).stroke"
    assert page.run(line) == {
        ("run", "light"): "rgb(0, 114, 178)", ("run", "dark"): "rgb(69, 169, 245)",
        ("comparison", "light"): "rgb(0, 114, 178)", ("comparison", "dark"): "rgb(69, 169, 245)",
    }[name, scheme]  # fmt: skip


def test_pickers_and_legends(page, files):
    shown_in(page, "light")
    page.open(files / "run.html", 1400)
    shown = "[...document.querySelectorAll('figure [data-key]')].filter(v => v.getClientRects().length)"
    assert set(page.run(f"{shown}.map(v => v.dataset.key)")) == {"0"}
    page.run(
        "(p => { p.value = '5'; p.dispatchEvent(new Event('change')); })(document.querySelector('select'))"
    )
    assert set(page.run(f"{shown}.map(v => v.dataset.key)")) == {"5"}
    assert "ndcg@100" in page.run(f"{shown}[0].textContent")
    page.run("document.querySelector('.legend button').click()")
    lines = (
        "[...document.querySelectorAll('#averages figure .series')].filter(v => v.getClientRects().length)"
    )
    assert set(page.run(f"{lines}.map(v => v.dataset.series)")) == {"teacher"}
    assert page.complaints == []


def test_the_numbers_of_a_place_are_told_beside_the_pointer(page, files):
    page.open(files / "run.html", 1400)
    place = "document.querySelectorAll('.place')[1].getBoundingClientRect()"
    x, y = (page.run(f"{place}.{side} + 5") for side in ("x", "y"))
    page.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    told = page.run("document.getElementById('told').innerText")
    assert told == "block 1\nstudent: 0.1072\nteacher: 0.1572"
    page.ask("Input.dispatchMouseEvent", type="mouseMoved", x=2, y=y)
    assert page.run("document.getElementById('told').hidden")


def test_without_javascript_all_is_there(page, files):
    page.open(files / "run.html", 800, scripts=False)
    assert page.run("document.querySelector('noscript').getClientRects().length") > 0
    assert page.run(f"{FIGURES}.length") > 4
    assert page.run("document.querySelector('.controls').getClientRects().length") == 0


def test_on_paper_everything_is_there(page, files):
    shown_in(page, "dark")
    page.open(files / "run.html", 1400)
    assert page.paper().startswith(b"%PDF") and page.complaints == []
    page.ask("Emulation.setEmulatedMedia", media="print")
    # paper is white, whatever the screen is
    assert page.run("getComputedStyle(document.body).color") == "rgb(34, 34, 34)"
    page.ask("Emulation.setEmulatedMedia", media="")
