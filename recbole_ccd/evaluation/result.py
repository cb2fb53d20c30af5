"""What a run over a stream measured: ``StreamResult``, and result.json format 1 that other programs read."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from torch import nn

from recbole_ccd.config.catalogue import CONTEXT_BASELINE, CONTEXT_MODELS
from recbole_ccd.evaluation.sampling import Error, Measurement, next_errors, summary_errors
from recbole_ccd.evaluation.summary import check_triangle, summarise, summarise_next
from recbole_ccd.model.size import size_of
from recbole_ccd.utils.errors import RunError

FORMAT = 1
ROLES = ("student", "teacher")
RANDOM = "random"
"""Whoever has learned nothing: a random order of the items, which FWT is measured from."""
UNSERVED = ("users", "items", "interactions")
_HEAD = ("dataset", "model", "strategy", "seed")
_DOCUMENT = {
    "n_blocks": int,
    "primary_metric": str,
    "metrics": dict,
    "new_users": dict,
    "new_items": dict,
    "known": list,
    "sizes": dict,
    "stages": list,
    "config": dict,
}

Metrics = Mapping[str, float]


class ResultConfig(Protocol):
    """What a result reads from the configuration; ``CCDConfig`` has it."""

    primary_metric: str

    def __getitem__(self, key: str) -> Any: ...

    def metric_names(self) -> list[str]:
        """The metrics, such as ``recall@20``."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """Every key, in values that JSON can hold."""
        ...


class StreamResult:
    """Collects a run's measurements, in order, and writes them as result.json format 1.

    Args:
        config: gives ``dataset``, ``model``, ``strategy`` and ``seed``, the metrics' names, and itself as a
            dict, in which ``la_include_base`` (default True: the base block counts in LA and RA),
            ``ra_include_current`` (default False: RA leaves the current block out) and ``eval_part`` (default
            ``test``: what R was measured on) and ``eval_users`` (default None: on all users) are looked up.
        n_blocks: K + 1, the blocks of the stream, base block included.
        known: ``{"users": n, "items": n}`` per block: how many are known after it, without the padding entry.

    Attributes:
        stages: one record per finished stage of training, in order (see ``stage_record.stage_record``).

    Raises:
        ValueError: If ``known`` has not one entry per block.
    """

    def __init__(self, config: ResultConfig, n_blocks: int, known: Sequence[Mapping[str, int]]) -> None:
        if len(known) != n_blocks:
            raise ValueError(f"known has {len(known)} entries for {n_blocks} blocks")
        self.head = {key: config[key] for key in _HEAD}
        self.metric_names = list(config.metric_names())
        self.primary_metric = config.primary_metric
        self.n_blocks = n_blocks
        self.known = [{"users": int(k["users"]), "items": int(k["items"])} for k in known]
        self.sizes: dict[str, dict[str, int]] = {}
        self.stages: list[dict[str, Any]] = []
        self._config = config.to_dict()
        self.include_base: bool = self._config.get("la_include_base", True)
        self.include_current: bool = self._config.get("ra_include_current", False)
        self.eval_part: str = self._config.get("eval_part", "test")
        self.eval_users: int | None = self._config.get("eval_users")
        self._rows: dict[str, list[list[Measurement]]] = {}
        self._new: dict[str, dict[str, dict[int, Measurement]]] = {"users": {}, "items": {}}
        # by the last block that had been learned
        self._next: dict[str, dict[int, Measurement]] = {}
        self._unserved: dict[int, dict[str, float]] = {}

    def extend(self, known: Sequence[Mapping[str, int]]) -> None:
        """Take in that there are more blocks by now.

        Args:
            known: as of the constructor, of all blocks; it begins with what was known before.
        """
        self.known = [{"users": int(k["users"]), "items": int(k["items"])} for k in known]
        self.n_blocks = len(self.known)

    @property
    def roles(self) -> list[str]:
        """The roles that have rows, the student first."""
        return [role for role in ROLES if self._rows.get(role)]

    def n_rows(self, role: str) -> int:
        """How many blocks the role has been evaluated after."""
        return len(self._rows.get(role, []))

    def add_row(self, role: str, block: int, per_block: Sequence[Metrics]) -> None:
        """Record row k of R: the model after block k on the test parts of blocks 0..k.

        Args:
            role: ``student`` or ``teacher``.
            block: k; rows come in order, from 0.
            per_block: k + 1 dictionaries of every metric.

        Raises:
            ValueError: If the role is unknown, the row is out of order or of the wrong length, or a metric is
                missing or not finite.
        """
        _check_role(role)
        expected = self.n_rows(role)
        if block != expected or block >= self.n_blocks:
            raise ValueError(f"{role}: row {block} came where row {expected} of {self.n_blocks} was due")
        if len(per_block) != block + 1:
            raise ValueError(f"{role}: row {block} has {len(per_block)} entries instead of {block + 1}")
        row = [self._values(entry) for entry in per_block]
        self._rows.setdefault(role, []).append(row)

    def add_new_entities(self, role: str, block: int, users: Metrics | None, items: Metrics | None) -> None:
        """Record the metrics over the users and over the test items that are new in a block.

        Args:
            role: ``student`` or ``teacher``.
            block: the block, whose row may come before or after.
            users: every metric over the new users; None if there are none.
            items: every metric over the new items; None if there are none.

        Raises:
            ValueError: If the role or the block is unknown, or a metric is missing or not finite.
        """
        _check_role(role)
        if not 0 <= block < self.n_blocks:
            raise ValueError(f"{role}: there is no block {block} among {self.n_blocks}")
        for kind, metrics in (("users", users), ("items", items)):
            if metrics is not None:
                self._new[kind].setdefault(role, {})[block] = self._values(metrics)

    def add_next(self, role: str, block: int, metrics: Metrics) -> None:
        """Record the metrics of a role's model after a block on the block that comes then.

        Args:
            role: ``student``, ``teacher``, or ``random`` for a random order of the items.
            block: the last block that the model has learned.
            metrics: every metric.

        Raises:
            ValueError: If the role is unknown, no block comes after this one, or a metric is missing or not
                finite.
        """
        if role not in (*ROLES, RANDOM):
            _check_role(role)
        self._check_not_last(block)
        self._next.setdefault(role, {})[block] = self._values(metrics)

    def add_unserved(self, block: int, shares: Mapping[str, float]) -> None:
        """Record what nobody could be served of that comes after a block.

        Args:
            block: the last block that has been learned.
            shares: of the ``users``, ``items`` and ``interactions`` of the next one.

        Raises:
            ValueError: If no block comes after this one, or a share is missing or not between 0 and 1.
        """
        self._check_not_last(block)
        found = {kind: float(shares.get(kind, math.nan)) for kind in UNSERVED}
        if not all(0 <= share <= 1 for share in found.values()):
            raise ValueError(f"shares are not between 0 and 1: {found}")
        self._unserved[block] = found

    def _check_not_last(self, block: int) -> None:
        if not 0 <= block < self.n_blocks - 1:
            raise ValueError(f"no block comes after block {block} among {self.n_blocks}")

    def set_size(self, role: str, model: nn.Module) -> None:
        """Record how many ``parameters`` and ``bytes`` a model has (see ``size.size_of``).

        Raises:
            ValueError: If the role is unknown.
        """
        _check_role(role)
        self.sizes[role] = size_of(model)

    @property
    def settings(self) -> Mapping[str, Any]:
        """The run's configuration; an old result.json may lack keys."""
        return self._config

    def summary(self, role: str, metric: str) -> dict[str, Any]:
        """R, LA, RA, H, BWT and forgetting of one role under one metric (see ``summary.summarise``).

        Raises:
            KeyError: If the role has no rows or the metric was not measured.
        """
        matrix = [[entry[metric] for entry in row] for row in self._rows[role]]
        return summarise(matrix, self.include_base, self.include_current)

    def new_entities(self, kind: str, role: str, metric: str) -> list[float | None]:
        """One metric over the new ``users`` or ``items`` (kind), per row; None where not measured."""
        per_block = self._new[kind].get(role, {})
        return [per_block[k][metric] if k in per_block else None for k in range(self.n_rows(role))]

    def next_values(self, role: str, metric: str) -> list[float | None]:
        """One metric on block k + 1 of the role's model after block k, k < K; None where not measured."""
        found = self._next.get(role, {})
        return [found[k][metric] if k in found else None for k in range(self.n_blocks - 1)]

    def next_summary(self, role: str, metric: str) -> dict[str, Any]:
        """These with their mean and FWT (see ``summary.summarise_next``)."""
        return summarise_next(self.next_values(role, metric), self.next_values(RANDOM, metric))

    def summary_error(self, role: str, metric: str) -> dict[str, Any]:
        """The standard errors of :meth:`summary`, in its form; None everywhere where all users were measured.

        Raises:
            KeyError: As there.
        """
        matrix = [[entry[metric] for entry in row] for row in self._rows[role]]
        errors = [[entry.errors.get(metric) for entry in row] for row in self._rows[role]]
        return summary_errors(matrix, errors, self.include_base, self.include_current)

    def new_entity_errors(self, kind: str, role: str, metric: str) -> list[Error]:
        """The standard errors of :meth:`new_entities`."""
        per_block = self._new[kind].get(role, {})
        return [per_block[k].errors.get(metric) if k in per_block else None for k in range(self.n_rows(role))]

    def next_error(self, role: str, metric: str) -> dict[str, Any]:
        """The standard errors of :meth:`next_summary`, in its form."""
        ours, random = (
            [found[k].errors.get(metric) if k in found else None for k in range(self.n_blocks - 1)]
            for found in (self._next.get(one, {}) for one in (role, RANDOM))
        )
        return next_errors(ours, random, [value is not None for value in self.next_values(role, metric)])

    @property
    def unserved(self) -> list[dict[str, float] | None]:
        """Shares of ``users``, ``items``, ``interactions`` of block k + 1 that could not be served, k < K."""
        return [self._unserved.get(k) for k in range(self.n_blocks - 1)]

    def to_dict(self) -> dict[str, Any]:
        """The document of result.json, format 1: plain values only, roles without rows left out."""
        return {
            "format": FORMAT,
            **self.head,
            **({"kind": CONTEXT_BASELINE} if self.head["model"] in CONTEXT_MODELS else {}),
            "n_blocks": self.n_blocks,
            "primary_metric": self.primary_metric,
            "metrics": {m: {role: self.summary(role, m) for role in self.roles} for m in self.metric_names},
            "new_users": self._new_document("users"),
            "new_items": self._new_document("items"),
            "next": self._next_document(),
            "known": [dict(entry) for entry in self.known],
            "sizes": {role: dict(size) for role, size in self.sizes.items()},
            "stages": [dict(stage) for stage in self.stages],
            "config": self._config,
            **({} if self.eval_users is None else {"standard_error": self._error_document()}),
        }

    @classmethod
    def from_dict(cls, document: Any, config: ResultConfig | None = None) -> StreamResult:
        """Read back what ``to_dict`` gave, whole or of an unfinished run.

        Args:
            document: the parsed result.json. LA, RA and H are computed anew from R.
            config: the run's configuration that goes on; that of the document when left out.

        Returns:
            A result that equals the one written and can be added to.

        Raises:
            RunError: If the document is not of format 1 or its shapes do not fit.
        """
        _check_document(document)
        try:
            result = cls(config or _StoredConfig(document), document["n_blocks"], document["known"])
            for role in ROLES:
                result._read_role(document, role)
            # an earlier version has measured none
            if "next" in document:
                errors = document.get("standard_error", {}).get("next", {})
                result._read_next(document["next"], errors)
            result.sizes = {role: dict(size) for role, size in document["sizes"].items()}
            result.stages = [dict(stage) for stage in document["stages"]]
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as error:
            raise RunError(f"result.json does not fit format {FORMAT} ({error}); start anew") from error
        return result

    def _read_role(self, document: Mapping[str, Any], role: str) -> None:
        metrics = document["metrics"]
        matrices = {m: metrics[m][role]["R"] for m in self.metric_names if role in metrics[m]}
        if not matrices:
            return
        for matrix in matrices.values():
            check_triangle(matrix)
        if len({len(matrix) for matrix in matrices.values()}) > 1:
            raise ValueError(f"{role}: R has more rows under one metric than under another")
        for k in range(len(matrices[self.primary_metric])):
            errors = document.get("standard_error", {}).get("metrics", {})
            row = [
                Measurement(
                    {m: R[k][j] for m, R in matrices.items()},
                    {m: errors[m][role]["R"][k][j] for m in errors},
                )
                for j in range(k + 1)
            ]
            self.add_row(role, k, row)
            new = [self._read_new(document, kind, role, k) for kind in ("new_users", "new_items")]
            self.add_new_entities(role, k, *new)

    def _read_new(self, document: Mapping[str, Any], kind: str, role: str, block: int) -> Measurement | None:
        values = {m: document[kind][m][role][block] for m in self.metric_names}
        errors = document.get("standard_error", {}).get(kind, {})
        found = {m: errors[m][role][block] for m in errors}
        return None if None in values.values() else Measurement(values, found)

    def _read_next(self, document: Mapping[str, Any], errors: Mapping[str, Any]) -> None:
        metrics = document["metrics"]
        for role in (*ROLES, RANDOM):
            found = {m: metrics[m][role]["next"] for m in self.metric_names if role in metrics[m]}
            columns = zip(*found.values(), strict=True)
            for block, values in enumerate(columns):
                if None not in values:
                    of_block = {m: errors[m][role]["next"][block] for m in errors}
                    self.add_next(role, block, Measurement(zip(found, values, strict=True), of_block))
        for block, shares in enumerate(document["unserved"]):
            if shares is not None:
                self.add_unserved(block, shares)

    def _next_document(self) -> dict[str, Any]:
        roles = [role for role in ROLES if self._next.get(role)]
        return {
            "metrics": {
                m: {
                    **{role: self.next_summary(role, m) for role in roles},
                    **({RANDOM: {"next": self.next_values(RANDOM, m)}} if self._next.get(RANDOM) else {}),
                }
                for m in self.metric_names
            },
            "unserved": [shares and dict(shares) for shares in self.unserved],
        }

    def _error_document(self) -> dict[str, Any]:
        """All standard errors, each in the place that its value has in the document."""
        names, learning = self.metric_names, [role for role in (*ROLES, RANDOM) if self._next.get(role)]
        return {
            "users": self.eval_users,
            "metrics": {m: {role: self.summary_error(role, m) for role in self.roles} for m in names},
            **{
                f"new_{kind}": {
                    m: {role: self.new_entity_errors(kind, role, m) for role in self.roles} for m in names
                }
                for kind in ("users", "items")
            },
            "next": {m: {role: self.next_error(role, m) for role in learning} for m in names},
        }

    def _new_document(self, kind: str) -> dict[str, Any]:
        return {m: {role: self.new_entities(kind, role, m) for role in self.roles} for m in self.metric_names}

    def _values(self, metrics: Metrics) -> Measurement:
        missing = [name for name in self.metric_names if name not in metrics]
        if missing:
            raise ValueError(f"metrics are missing: {', '.join(missing)}")
        values = {name: float(metrics[name]) for name in self.metric_names}
        if not all(map(math.isfinite, values.values())):
            raise ValueError(f"metrics are not finite: {values}")
        errors = metrics.errors if isinstance(metrics, Measurement) else {}
        return Measurement(values, {name: errors[name] for name in values if name in errors})


class _StoredConfig:
    """The configuration as it stands in a result.json."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self.primary_metric: str = document["primary_metric"]

    def __getitem__(self, key: str) -> Any:
        return self._document[key]

    def metric_names(self) -> list[str]:
        # The primary metric first: a file with sorted keys has lost the order of the configuration.
        return sorted(self._document["metrics"], key=lambda name: name != self.primary_metric)

    def to_dict(self) -> dict[str, Any]:
        return self._document["config"]


def _check_role(role: str) -> None:
    if role not in ROLES:
        raise ValueError(f"unknown role {role!r}; the roles are {', '.join(ROLES)}")


def _check_document(document: Any) -> None:
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise RunError(f"this is no result.json of format {FORMAT}; give the result of a run of this version")
    wrong = [key for key, kind in _DOCUMENT.items() if not isinstance(document.get(key), kind)]
    wrong += [key for key in _HEAD if key not in document]
    if wrong:
        raise RunError(
            f"result.json lacks {', '.join(wrong)}, or holds something else there; start the run anew"
        )
