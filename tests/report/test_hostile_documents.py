"""Whatever a document holds, a page shows it and never reads it."""

import copy

import pytest

from recbole_ccd.report.html import comparison_report, run_report, settings
from recbole_ccd.utils.errors import RunError
from tests.report.pages import Read, comparison_document, run_document

HOSTILE = "</script></style></title>--><injected onx=1>\" onx='1' ' onx=\"1\" {{ 7 }}{% x %}&lt;\u2028\ud800"
# what write_report tells of a document that does not fit its format
TOLD = (RunError, KeyError, TypeError, ValueError, IndexError, AttributeError)


def small(document):
    """The document with one metric and a few stages."""
    metric = document["primary_metric"]
    for key in ("metrics", "new_users", "new_items"):
        if key in document:
            document[key] = {metric: document[key][metric]}
    if "stages" in document:
        document["stages"] = document["stages"][-4:]
    return document


DOCUMENTS = {
    run_report: small(run_document(2, learning_rate=0.5)),
    comparison_report: small(comparison_document(n_seeds=2)),
}


def mutated(document):
    """The document once for each key and for each value in it, in whose place something hostile stands."""

    def places(node, path=()):
        entries = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in list(entries):
            yield (*path, key), value
            if isinstance(value, dict | list):
                yield from places(value, (*path, key))

    for path, value in places(document):
        for of_key in (False, True):
            changed = copy.deepcopy(document)
            node = changed
            for step in path[:-1]:
                node = node[step]
            if of_key and isinstance(path[-1], str):
                # its place among the others stays
                entries = [(HOSTILE if key == path[-1] else key, one) for key, one in node.items()]
                node.clear()
                node.update(entries)
                yield path, changed
            elif not of_key and not isinstance(value, dict | list):
                node[path[-1]] = HOSTILE
                yield path, changed


@pytest.mark.slow
@pytest.mark.parametrize("report", DOCUMENTS, ids=lambda report: report.__name__)
def test_no_string_of_a_document_becomes_a_part_of_its_page(report, monkeypatch):
    # every setting is shown as one that differs
    monkeypatch.setattr(settings, "_defaults", lambda config: {})
    shown = Read(report(DOCUMENTS[report]))
    kinds = {tag for tag, _ in shown.tags}
    names = {name for _, attrs in shown.tags for name in attrs}
    n_shown = 0
    for path, document in mutated(DOCUMENTS[report]):
        try:
            text = report(document)
        except TOLD:
            continue
        n_shown += "injected" in text
        assert "<injected" not in text and text.encode("utf-8"), path
        read = Read(text)
        assert {tag for tag, _ in read.tags} <= kinds, path
        assert {name for _, attrs in read.tags for name in attrs} <= names, path
        assert list(read.scripts) == list(shown.scripts), path
    # texts in the place of numbers that are drawn are refused
    assert n_shown >= 20
