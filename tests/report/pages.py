"""Made-up results for reports, and what can be read off a page."""

import json
from html.parser import HTMLParser

from recbole_ccd.evaluation import Comparison
from recbole_ccd.evaluation.stage_record import stage_record
from tests.evaluation.results import runs
from tests.report.test_tables import TinyConfig, make_result

MEMBERS = ["LightGCN", "MultiVAE"]


def run_document(n_blocks=3, roles=("student", "teacher"), learned=True, **config):
    """What a result.json of a made-up run holds, read back from the file; see ``make_result``."""
    result = make_result(n_blocks, roles)
    result._config = {**TinyConfig(result.head), "seed": 7, "teacher_models": MEMBERS, **config}
    result.head |= {key: value for key, value in config.items() if key in result.head}
    for k in range(n_blocks):
        stages = [("base", 0), ("base", 1), ("base", None)] if k == 0 else [("student_update", None)]
        stages += [("student_generation", None), *([("teacher_update", m) for m in (0, 1)] if k else [])]
        for n, (stage, member) in enumerate(stages):
            more = {"loss": [0.75, 0.5 + k / 10], "valid_score": [[2, 0.125 + n / 100]]}
            if stage.endswith("update"):
                more["replayed"] = {"stability": 30 + k, "plasticity": 10}
            result.stages.append(stage_record(k, stage, member, 2, 1.5 + n, more if learned else None))
    return json.loads(json.dumps(result.to_dict(), sort_keys=True))


def comparison_document(n_seeds=3, teacher=(0.7, 0.6), **labels):
    """What a comparison.json of made-up runs holds; ``labels`` are further labels and their strategies."""
    levels = [(0.3, 0.2 + seed / 10) for seed in range(n_seeds)]
    found = {"static": runs("static", [(0.3, 0.1)] * n_seeds, topk=[20], lwc_kd_weight=0.5)}
    found |= {"ccd": runs("ccd", levels, teacher=teacher, topk=[20], lwc_kd_weight=0.1)}
    found["fine_tune"] = runs("fine_tune", [(0.3, 0.15)] * n_seeds, topk=[20])
    found |= {label: runs(strategy, levels) for label, strategy in labels.items()}
    return json.loads(json.dumps(Comparison(found).to_dict(), sort_keys=True))


class Read(HTMLParser):
    """A page, read.

    Attributes:
        tags: every start tag with its attributes, in order.
        figures: the plots by the title of their figure, each by key.
        captions: the text of the captions by that title.
        text: all text outside of scripts and styles.
    """

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.texts, self.scripts = [], [], [], {}
        self._titles, self._name, self.captions = {}, None, {}
        self.feed(page)
        self.close()
        assert self.open == []
        data = json.loads(self.scripts["figures"])
        self.plots = data
        self.figures = {}
        for name, title in self._titles.items():
            self.figures.setdefault(title, []).append(data[name])
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if (
            tag not in ("meta", "link", "br", "circle", "rect", "path")
            or self.get_starttag_text()[-2:] != "/>"
        ):
            if tag not in ("meta", "link"):
                self.open.append((tag, dict(attrs)))

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        tag, attrs = self.open[-1] if self.open else ("", {})
        if tag == "script":
            self.scripts[attrs.get("id", "own")] = data
        elif tag != "style":
            self.texts.append(data)
            if tag == "h3" and "id" in attrs:
                self._titles[attrs["id"].removesuffix("-title")] = data
            caption = next((a["id"] for t, a in self.open if t == "figcaption"), None)
            if caption is not None:
                title = self._titles[caption.removesuffix("-text")]
                self.captions[title] = (self.captions.get(title, "") + " " + data).strip()

    def figure(self, title, key=""):
        """The plot of the first figure with a title."""
        return self.figures[title][0][key]


def series(plot):
    """The traces of a plot by name."""
    return {trace["name"]: trace for trace in plot["data"]}
