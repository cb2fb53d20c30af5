"""Tests that every plugin must pass: a user's class inherits them in three lines.

::

    from recbole_ccd.plugin.conformance import PluginConformance


    class TestMine(PluginConformance):
        settings = {"plugins": "my_ideas", "strategy": "fine_tune", "base": "plain", "regularizer": "mine"}
        neutral = {"mine_weight": 0.0}

pytest finds such a class by its name. The tests run small streams that are generated; a class takes seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from recbole_ccd.quick_start import resume, run_ccd
from recbole_ccd.utils.atomic_files import load_tensors
from recbole_ccd.utils.signals import InterruptHandler

SMALL: Mapping[str, Any] = {
    "model": "BPR",
    "embedding_size": 8,
    "teacher_models": ["BPR"],
    "teacher_args": {"embedding_size": 16},
    "epochs": 4,
    "eval_step": 1,
    "stopping_step": 5,
    # so slow that the last epoch is the best, and what happens before it counts
    "learning_rate": 0.001,
    "train_batch_size": 256,
    "student_generation_train_batch_size": 128,
    "distill_top_k": 8,
    "exclusion_top_k": 8,
    "student_replay_candidates": 10,
    "teacher_replay_candidates": 10,
    "similarity_degree": 4,
    "piw_clusters": 3,
    "graphsail_clusters": 3,
    "pisa_clusters": 3,
    # what is drawn anew now and then is drawn anew in the middle of a stage
    "uninteresting_redraw": 2,
    "replay_redraw": 2,
    "metrics": ["Recall", "NDCG"],
    "topk": [5],
    "valid_metric": "Recall@5",
    "metric_decimal_place": 15,
    "checkpoint_every": 1,
    "show_progress": False,
    "use_gpu": False,
    "prepare_update": False,
    "write_report": False,
}
"""Settings of every run, under those of the class: four epochs of small models."""

Outcome = tuple[dict[str, np.ndarray], dict[str, list[list[float | None]]]]
"""Weights after the last block, and every R, by names."""

_DATASET, _N_BLOCKS = "generated", 3
# a process ends after it has been asked so often whether it should: once in every stage, after its third
# epoch, in which what is drawn now and then has been drawn anew
_LOOKS = 3


class PluginConformance:
    """What a plugin owes to the runs that it takes part in.

    Attributes:
        settings: what chooses the plugin, and whatever else it needs: ``plugins``, the strategy, ...
        neutral: settings under which it must have no effect, such as a weight of 0; None if there are none.
        without: settings that leave it out. By default ``replay`` or ``regularizer`` is none, if ``settings``
            has it; a distillation loss is compared with another one, both without effect.
    """

    settings: ClassVar[Mapping[str, Any]]
    neutral: ClassVar[Mapping[str, Any] | None] = None
    without: ClassVar[Mapping[str, Any] | None] = None
    _whole: ClassVar[Outcome | None] = None

    def test_a_run_ends_and_the_plugin_has_an_effect(self, tmp_path: Path) -> None:
        """A run ends, with finite weights, and is another one than without the plugin."""
        weights, R = self._outcome(tmp_path)
        assert all(np.isfinite(value).all() for value in weights.values())
        assert all(len(rows) == _N_BLOCKS for rows in R.values())
        left_out = {**self.settings, **self._left_out()}
        others, _ = _outcome(_run(tmp_path / "without", left_out))
        assert not _same(weights, others), "the plugin changes nothing; is it chosen, and has it a weight?"

    def test_an_interrupted_run_is_the_uninterrupted_one(self, tmp_path: Path) -> None:
        """A run that is interrupted again and again, and resumed, is the uninterrupted one bit for bit."""
        weights, R = self._outcome(tmp_path)
        parts, breaks = _run_in_parts(tmp_path / "parts", self.settings)
        assert breaks > 1, "the run was over before it could be interrupted"
        again, R_again = _outcome(parts)
        differing = sorted(name for name, value in weights.items() if not _equal(value, again.get(name)))
        assert weights.keys() == again.keys() and not differing, f"state_dict lacks something: {differing}"
        assert R == R_again, "the weights are equal, and what was measured is not"

    def test_nothing_of_a_later_block_is_known(self, tmp_path: Path) -> None:
        """A run on the first blocks alone gives the first rows of every R, bit for bit."""
        _, R = self._outcome(tmp_path)
        _, R_first = _outcome(_run(tmp_path / "first", self.settings, _N_BLOCKS - 1))
        assert R.keys() == R_first.keys()
        for name, rows in R_first.items():
            assert R[name][: len(rows)] == rows, f"{name} of the first blocks depends on the last one"

    def test_the_neutral_setting_changes_no_bit(self, tmp_path: Path) -> None:
        """A run under ``neutral`` is that without the plugin, bit for bit."""
        if self.neutral is None:
            return
        neutral = {**self.settings, **self.neutral}
        weights, R = _outcome(_run(tmp_path / "neutral", neutral))
        others, R_others = _outcome(_run(tmp_path / "without", {**neutral, **self._left_out()}))
        assert _same(weights, others) and R == R_others, f"with {self.neutral} the plugin has an effect"

    def _outcome(self, folder: Path) -> Outcome:
        """What the run with the plugin gives, run once for all tests of a class."""
        whole: Outcome | None = vars(type(self)).get("_whole")
        if whole is None:
            whole = type(self)._whole = _outcome(_run(folder / "whole", self.settings))
        return whole

    def _left_out(self) -> Mapping[str, Any]:
        if self.without is not None:
            return self.without
        plain = {key: None for key in ("replay", "regularizer") if self.settings.get(key) is not None}
        if plain:
            return plain
        return {"distill_loss": "listnet" if self.settings.get("distill_loss") == "kl" else "kl"}


class Countdown(InterruptHandler):
    """Wants a run to end after it has been asked so often whether it should."""

    def __init__(self, looks: int) -> None:
        super().__init__()
        self._left = looks

    @property
    def requested(self) -> bool:
        """Whether it has been asked often enough; every look counts."""
        self._left -= 1
        return self._left <= 0

    def now(self) -> None:
        """Ends the run if it has.

        Raises:
            KeyboardInterrupt: it has been asked often enough.
        """
        if self._left <= 0:
            raise KeyboardInterrupt

    @contextmanager
    def gracefully(self) -> Iterator[None]:
        """A time like any other: the next look ends the run all the same."""
        yield


def write_stream(folder: Path, n_users: int = 70, n_items: int = 60, n_rows: int = 2600) -> list[str]:
    """Writes a stream in blocks: new users and items appear in every block, and tastes are of three kinds.

    Args:
        folder: where the data set's folder is made.
        n_users: how many users there are at the end.
        n_items: how many items.
        n_rows: how many interactions.

    Returns:
        The blocks' names, for ``benchmark_filename``.
    """
    generator = np.random.default_rng(0)
    share = 0.4 + 0.6 * np.arange(n_rows) / n_rows
    users, items = ((generator.random(n_rows) * share * size).astype(int) for size in (n_users, n_items))
    items = np.where(generator.random(n_rows) < 0.7, items // 3 * 3 + users % 3, items)
    home, names = folder / _DATASET, [f"b{number}" for number in range(_N_BLOCKS)]
    home.mkdir(parents=True, exist_ok=True)
    cuts = np.linspace(0, n_rows, _N_BLOCKS + 2).astype(int)[[0, *range(2, _N_BLOCKS + 2)]]
    for name, start, end in zip(names, cuts[:-1], cuts[1:], strict=True):
        rows = [f"u{u}\ti{i}" for u, i in zip(users[start:end], items[start:end], strict=True)]
        text = "\n".join(["user_id:token\titem_id:token", *rows]) + "\n"
        (home / f"{_DATASET}.{name}.inter").write_text(text, encoding="utf-8")
    return names


def _keys(place: Path, settings: Mapping[str, Any], n_blocks: int = _N_BLOCKS) -> dict[str, Any]:
    names = write_stream(place)
    keys = {**SMALL, "load_col": {"inter": ["user_id", "item_id"]}, **settings}
    keys |= {"dataset": _DATASET, "data_path": str(place), "run_dir": str(place / "run")}
    return {**keys, "benchmark_filename": names[:n_blocks]}


def _run(place: Path, settings: Mapping[str, Any], n_blocks: int = _N_BLOCKS) -> Path:
    run_ccd(config_dict=_keys(place, settings, n_blocks))
    return place / "run"


def _run_in_parts(place: Path, settings: Mapping[str, Any]) -> tuple[Path, int]:
    """A finished run directory, and how often the run was interrupted."""
    keys, breaks = _keys(place, settings), 0
    # no file of a run may name a user's modules
    named = {"plugins": settings["plugins"]} if "plugins" in settings else {}
    while True:
        stop = Countdown(_LOOKS)
        try:
            if breaks:
                resume(place / "run", config_dict=named, stop=stop)
            else:
                run_ccd(config_dict=keys, stop=stop)
            return place / "run", breaks
        except KeyboardInterrupt:
            breaks += 1


def _outcome(run_dir: Path) -> Outcome:
    document = json.loads((run_dir / "result.json").read_text(encoding="utf-8"))
    last = run_dir / "checkpoints" / f"block-{document['n_blocks'] - 1}"
    weights = {
        f"{file.stem}: {name}": (value.to_dense() if value.is_sparse else value).numpy()
        for file in sorted(last.glob("*.pt"))
        for name, value in load_tensors(file).items()
    }
    metrics = document["metrics"]
    R = {f"{name} of the {role}": metrics[name][role]["R"] for name in metrics for role in metrics[name]}
    return weights, R


def _equal(one: np.ndarray, other: np.ndarray | None) -> bool:
    return other is not None and one.dtype == other.dtype and np.array_equal(one, other)


def _same(one: Mapping[str, np.ndarray], other: Mapping[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
