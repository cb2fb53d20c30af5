"""A comparison as read from its comparison.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from recbole_ccd.evaluation.comparison import AT_END, FORMAT, Comparison
from recbole_ccd.evaluation.result import ROLES
from recbole_ccd.evaluation.seeds import Gain, Spread
from recbole_ccd.utils.errors import RunError

_KEYS = {
    "dataset": str,
    "model": str,
    "seeds": list,
    "n_blocks": int,
    "primary_metric": str,
    "labels": list,
    "runs": dict,
    "metrics": dict,
}


class StoredComparison:
    """What can be read back of a comparison without its runs; methods are those of :class:`Comparison`.

    Args:
        document: what comparison.json holds. One that an earlier version wrote has no matrices and settings,
            and options of LA and RA are taken for the defaults.

    Attributes:
        labels, seeds, head, strategies, roles, metric_names, primary_metric, n_blocks, eval_part,
            eval_users: as there.
        config: what all runs have set alike, which may be nothing.
        unserved: as there; empty where an earlier version has measured none.
        own_config: what each label has set otherwise than another.

    Raises:
        RunError: If it is not of format 1, or lacks something.
    """

    def __init__(self, document: Any) -> None:
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise RunError(
                f"this is no comparison.json of format {FORMAT}; give a comparison of this version"
            )
        wrong = [key for key, kind in _KEYS.items() if not isinstance(document.get(key), kind)]
        if wrong:
            raise RunError(
                f"comparison.json lacks {', '.join(wrong)}, or holds something else there; start anew"
            )
        self._metrics, self._runs = document["metrics"], document["runs"]
        self.labels: list[str] = document["labels"]
        self.seeds: list[int] = document["seeds"]
        self.head = {key: document[key] for key in ("dataset", "model")}
        self.n_blocks: int = document["n_blocks"]
        self.primary_metric: str = document["primary_metric"]
        self.include_base: bool = document.get("la_include_base", True)
        self.include_current: bool = document.get("ra_include_current", False)
        self.eval_part: str = document.get("eval_part", "test")
        self.eval_users: int | None = document.get("eval_users")
        self.config: Mapping[str, Any] = document.get("config", {})
        self.unserved: list[dict[str, float] | None] = document.get("unserved", [])
        try:
            self.metric_names = sorted(self._metrics, key=lambda name: name != self.primary_metric)
            self.strategies = {label: self._runs[label]["strategy"] for label in self.labels}
            self.own_config = {label: self._runs[label].get("config", {}) for label in self.labels}
            self.roles = [role for role in ROLES if self.labels_of(role)]
        except (KeyError, TypeError, AttributeError) as error:
            raise RunError(f"comparison.json does not fit format {FORMAT} ({error!r}); start anew") from error

    def labels_of(self, role: str) -> list[str]:
        """The labels whose runs have the role."""
        found = self._metrics[self.primary_metric].get(role, {"labels": {}})["labels"]
        return [label for label in self.labels if label in found]

    def spreads(self, role: str, metric: str, label: str, quantity: str) -> list[Spread]:
        """Mean and deviation of a quantity, one entry per block or a single one."""
        found = self._metrics[metric][role]["labels"][label].get(quantity)
        if found is None:
            # an earlier version has not measured it
            return [Spread(None, None)] * (1 if quantity in AT_END else self.n_blocks - 1)
        parts = [found[name] for name in ("mean", "std", "error") if name in found]
        return [Spread(*one) for one in ([parts] if quantity in AT_END else zip(*parts, strict=True))]

    def ranking(self, role: str, metric: str, quantity: str) -> list[tuple[list[str], list[str]]]:
        """The best and the second best labels, one pair per entry of :meth:`spreads`."""
        found = self._metrics[metric][role]
        if quantity not in found["best"]:
            return [([], [])] * (1 if quantity in AT_END else self.n_blocks - 1)
        best, second = (found[place][quantity] for place in ("best", "second"))
        return [(best, second)] if quantity in AT_END else list(zip(best, second, strict=True))

    def gains(self, role: str, metric: str) -> dict[str, list[Gain | None]]:
        """What each label of CCD gains in H over the best competitor, block by block."""
        found = self._metrics[metric][role]["gains"]
        return {
            label: [gain and Gain(**gain) for gain in found[label]] for label in self.labels if label in found
        }

    def sizes(self, label: str) -> dict[str, dict[str, int]]:
        """Parameters and bytes by role after the last block."""
        return self._runs[label]["sizes"]

    def seconds(self, label: str) -> dict[str, float]:
        """Seconds of training, of the ``base`` block and of all ``updates``."""
        return self._runs[label]["seconds"]

    def costs(self, label: str) -> dict[str, list[float | None]]:
        """Seconds and memory of training by block; nothing where an earlier version has left them out."""
        return self._runs[label].get("costs", {"seconds": [], "rss_mb": []})

    def matrix(self, role: str, metric: str, label: str) -> list[list[float]] | None:
        """R, mean over seeds; None where an earlier version has left it out."""
        return self._metrics[metric][role]["labels"][label].get("R", {}).get("mean")


AnyComparison = Comparison | StoredComparison
"""A comparison of runs, or what is stored of it."""
