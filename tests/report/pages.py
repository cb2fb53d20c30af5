"""Made-up results for reports, and what can be read off a page."""

import base64
import json
from html.parser import HTMLParser

from torch import nn

from recbole_ccd.evaluation import Comparison, StreamResult
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


def wide_comparison(n_blocks, metrics):
    """What a comparison.json of eight strategies, three seeds and so many blocks and metrics holds."""
    found = {}
    names = "static fine_tune lwc_kd piw graphsail replay full_batch ccd".split()
    for n, name in enumerate(names):
        found[name] = []
        for seed in (1, 2, 3):
            config = TinyConfig(dataset="tiny", model="BPR", strategy=name, seed=seed)
            config.metric_names = lambda: metrics
            result = StreamResult(config, n_blocks, [{"users": k, "items": k} for k in range(n_blocks)])
            for role in ("student", "teacher") if name == "ccd" else ("student",):
                for i in range(n_blocks):
                    row = [0.1 + (7 * n + 5 * seed + 3 * i + j) % 31 / 300 for j in range(i + 1)]
                    result.add_row(role, i, [dict.fromkeys(metrics, value) for value in row])
                result.set_size(role, nn.Linear(3, 2))
            found[name].append(result)
    return Comparison(found).to_dict()


class Drawn:
    """A figure as it stands on a page.

    Attributes:
        series: how each series looks, by its name: colours, dashes, marker, and the numbers of its points,
            bars and error bars.
        tips: what is told of each place, in lines.
        cells: the rows of a heat map, each with the class and the text of its cells.
        titles: of the axes.
        labels: what stands on bars.
    """

    def __init__(self):
        self.series, self.tips, self.cells, self.titles, self.labels = {}, [], [], [], []

    def values(self):
        """By name what the places tell: pairs of place and text."""
        found = {}
        for tip in self.tips:
            place, *entries = tip.split("\n")
            for entry in entries:
                name, _, value = entry.rpartition(": ")
                found.setdefault(name, []).append((place.rpartition(" ")[2], value))
        return found


class Read(HTMLParser):
    """A page, read.

    Attributes:
        tags: every start tag with its attributes, in order.
        figures: the figures by their title, each by key.
        captions: the text of the captions by that title.
        scripts: what scripts hold.
        downloads: what the page offers, by file name.
        text: all text outside of scripts, styles and figures.
    """

    def __init__(self, page):
        super().__init__()
        self.tags, self.open, self.texts, self.scripts = [], [], [], {}
        self.figures, self.captions, self.downloads = {}, {}, {}
        self._title, self._key = None, ""
        self.feed(page)
        self.close()
        assert self.open == []
        self.text = " ".join(" ".join(self.texts).split())

    def handle_starttag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        if tag not in ("meta", "link"):
            self.open.append((tag, attrs))
        if tag == "a" and "download" in attrs:
            content = attrs["href"].partition("base64,")[2]
            self.downloads[attrs["download"]] = base64.b64decode(content).decode()
        if tag == "figure":
            self._title, self._key = None, ""
        if self._title is None:
            return
        if "data-key" in attrs:
            self._key = attrs["data-key"]
        if tag == "g" and attrs.get("class") == "series":
            # the two axes of a figure have the same names
            self._figure.series.setdefault(attrs["data-series"], {"look": attrs["style"]})
        elif tag == "tr" and self._inside("table", "heat"):
            self._figure.cells.append([])
        elif tag == "td" and self._inside("table", "heat"):
            self._figure.cells[-1].append([attrs["class"], ""])

    def handle_startendtag(self, tag, attrs):
        attrs = dict(attrs)
        self.tags.append((tag, attrs))
        name = next((a["data-series"] for _, a in self.open if "data-series" in a), None)
        if self._title is None or name is None:
            return
        one = self._figure.series[name]
        if tag == "use":
            one["marker"], one["points"] = attrs["href"], one.get("points", 0) + 1
        elif attrs.get("class") == "line":
            one["dashes"], one["width"] = attrs["stroke-dasharray"], float(attrs["stroke-width"])
        elif attrs.get("class") == "errors":
            one["errors"] = attrs["d"].count("M")
        elif tag == "rect":
            rect = {key: float(attrs[key]) for key in ("x", "y", "width", "height")}
            if attrs.get("class") == "bar":
                one.setdefault("bars", []).append(rect)
            else:
                one["pattern"] = attrs["fill"]

    def handle_endtag(self, tag):
        assert self.open.pop()[0] == tag
        if tag == "figure":
            self._title = None

    def handle_data(self, data):
        tag, attrs = self.open[-1] if self.open else ("", {})
        if tag == "script":
            self.scripts[attrs.get("id", "own")] = data
            return
        if tag == "style":
            return
        if tag == "h3" and self._inside("figure"):
            self._title = data
            self.figures.setdefault(data, []).append({})
        if self._title is not None:
            if tag == "title":
                self._figure.tips.append(data)
            elif tag == "td" and self._figure.cells:
                self._figure.cells[-1][-1][1] = data
            elif tag == "text" and attrs.get("class") == "title":
                self._figure.titles.append(data)
            elif tag == "text" and attrs.get("class") == "label":
                self._figure.labels.append(data)
            elif attrs.get("class") == "caption":
                self.captions[self._title] = (self.captions.get(self._title, "") + " " + data).strip()
        if not self._inside("svg"):
            self.texts.append(data)

    def _inside(self, tag, kind=""):
        return any(t == tag and kind in a.get("class", "") for t, a in self.open)

    @property
    def _figure(self):
        return self.figures[self._title][-1].setdefault(self._key, Drawn())

    def figure(self, title, key=""):
        """The first figure with a title, as one choice shows it."""
        return self.figures[title][0][key]


def series(drawn):
    """By name the values that a figure tells, None where there is a dash, and what of them are deviations."""
    return {
        name: [None if value == "–" else float(value.replace(",", "").split(" ± ")[0]) for _, value in found]
        for name, found in drawn.values().items()
    }
