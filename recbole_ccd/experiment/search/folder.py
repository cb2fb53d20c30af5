"""The folder of a search: begun, found again, and resumed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recbole_ccd.checkpoint import Manifest, RunLock, check_vacant, create_folder, default_run_directory
from recbole_ccd.checkpoint.compatibility import check_data, versions
from recbole_ccd.checkpoint.file_store import FileStore
from recbole_ccd.checkpoint.manifest import SEARCH
from recbole_ccd.checkpoint.restoration import restore_manifest
from recbole_ccd.checkpoint.run_directory import folder_name
from recbole_ccd.config import GridRun
from recbole_ccd.experiment.comparison import MakeStream
from recbole_ccd.experiment.run import rebuild_config
from recbole_ccd.experiment.search.outcome import SearchResult
from recbole_ccd.experiment.search.plan import Trial
from recbole_ccd.experiment.search.runner import Search
from recbole_ccd.experiment.search.space import Space
from recbole_ccd.utils.parallel import workers_of
from recbole_ccd.utils.signals import resumable

if TYPE_CHECKING:
    from recbole_ccd.utils.signals import InterruptHandler


def begin_search(
    space: Space,
    algorithm: str,
    trials: Sequence[Trial],
    make_stream: MakeStream,
    stop: InterruptHandler | None,
) -> SearchResult:
    """Checks all trials, writes down what they are, and makes them.

    Args:
        space: what is searched.
        algorithm: how.
        trials: all trials.
        make_stream: loads the data of a configuration and cuts them.
        stop: who may want it to end early.

    Raises:
        CCDError: a trial cannot work, or the folder not be made; nothing has been written then.
    """
    config = trials[0].runs[0].config
    names = (f"tune-{config['dataset']}", config["model"], config["strategy"])
    top = Path(config["run_dir"] or default_run_directory(*names, None))
    check_vacant(top)
    manifest = Manifest(SEARCH, versions=versions())
    search = Search(top, manifest, trials, make_stream, stop)
    manifest.data = search.check()
    common, manifest.runs = _entries(trials)
    described = [dimension.to_dict() for dimension in space.dimensions]
    manifest.settings = {"algorithm": algorithm, "space": described, "config": common}
    with workers_of(config), RunLock(create_folder(top)):
        FileStore(top).write(manifest)
        return search.run_trials()


def resume_search(
    top: Path,
    manifest: Manifest,
    sources: tuple[Any, ...],
    make_stream: MakeStream,
    stop: InterruptHandler | None,
) -> SearchResult:
    """Goes on with a search: trials that have been made are read, the others taken up or begun.

    Args:
        top: its folder.
        manifest: its manifest.
        sources: files, dictionary and arguments that are laid over the configuration of each run.
        make_stream: as of :func:`begin_search`.
        stop: who may want it to end early.

    Raises:
        CCDError: settings or data are not those it was begun with, or something cannot be read.
    """
    trials = _trials_in(top, manifest, sources)
    search = Search(top, manifest, trials, make_stream, stop)
    with resumable(top), RunLock(top):
        restore_manifest(top, held=True)
        search.read_outcomes()
        if search.waiting:
            for seed, data in search.check().items():
                check_data(top, manifest.data[seed], data)
        with workers_of(trials[0].runs[0].config) if search.waiting else nullcontext():
            return search.run_trials()


def _entries(trials: Sequence[Trial]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the manifest has of trials: what all runs have set alike, and the rest by trial and run."""
    configs = [run.config.to_dict() for trial in trials for run in trial.runs]
    first = configs[0]
    # 1, 1.0 and True are equal, and not the same setting
    common = {key: first[key] for key in first if len({repr(config.get(key)) for config in configs}) == 1}
    left = iter(configs)
    entries = []
    for trial in trials:
        runs = []
        for run in trial.runs:
            own = {key: value for key, value in next(left).items() if key not in common}
            runs.append({"label": run.label, "folder": run.folder, "config": own})
        entries.append({"folder": trial.folder, "values": trial.values, "runs": runs, "failed": None})
    return common, entries


def _trials_in(top: Path, manifest: Manifest, sources: tuple[Any, ...]) -> list[Trial]:
    """The trials that a manifest tells of, each run with the configuration it was begun with."""
    trials, common = [], manifest.settings["config"]
    names = [dimension["name"] for dimension in manifest.settings["space"]]
    for number, entry in enumerate(manifest.runs):
        runs = []
        for run in entry["runs"]:
            folder = folder_name(top, run["folder"])
            config = rebuild_config(top, _recorded(common, run), *sources)
            runs.append(GridRun(str(run["label"]), folder, config))
        # the manifest has them in another order
        trials.append(Trial(number, {name: entry["values"][name] for name in names}, runs))
    return trials


def _recorded(common: Mapping[str, Any], run: Mapping[str, Any]) -> dict[str, Any]:
    return {**common, **run["config"]}
