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


DRAWN = (
    "[...document.querySelectorAll('.plot')].map(p => [p.clientWidth, p.querySelector('svg')?.clientWidth])"
)
TITLES = "[...document.querySelectorAll('.plot')].map(p => p.layout?.yaxis?.title?.text)"


@pytest.mark.parametrize("name", ["run", "comparison"])
@pytest.mark.parametrize("width", [400, 1400])
def test_a_report_is_drawn_from_itself_alone(page, files, name, width):
    page.open(files / f"{name}.html", width)
    assert page.complaints == []
    # plotly makes pictures of heat maps itself
    assert [url for url in page.requests if not url.startswith("data:")] == [
        (files / f"{name}.html").as_uri()
    ]
    drawn = page.run(DRAWN)
    assert len(drawn) > 4 and all(room == shown for room, shown in drawn)
    assert page.run("document.documentElement.scrollWidth") == width


def test_pickers_and_legends(page, files):
    page.open(files / "run.html", 1400)
    assert page.run(TITLES)[0] == "recall@20"
    page.run(
        "(p => { p.value = '5'; p.dispatchEvent(new Event('change')); })(document.querySelector('select'))"
    )
    assert page.run(TITLES)[0] == "ndcg@100"
    shown = "[...document.querySelectorAll('#plot-1-text [data-key]')].filter(v => !v.hidden)"
    assert page.run(f"{shown}.map(v => v.dataset.key)") == ["5"]
    page.run("document.querySelector('.legend button').click()")
    assert page.run("document.querySelector('#plot-1').data.map(t => t.visible)") == [False, True]
    assert page.complaints == []


def test_on_paper_figures_are_as_wide_as_it(page, files):
    page.open(files / "run.html", 1400)
    before = page.run(DRAWN)
    page.run("window.dispatchEvent(new Event('beforeprint'))")
    assert page.run("document.querySelector('main').clientWidth") == 690
    assert all(room == shown < 690 for room, shown in page.run(DRAWN))
    page.run("window.dispatchEvent(new Event('afterprint'))")
    page.run(browser.SETTLED)
    assert page.run(DRAWN) == before
    assert page.paper().startswith(b"%PDF") and page.complaints == []
