"""From a run directory to a model that recommends; neither data nor training is needed."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from logging import getLogger
from pathlib import Path
from typing import Any, TypeVar

import torch
from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.checkpoint import Manifest
from recbole_ccd.checkpoint.manifest import RUN
from recbole_ccd.checkpoint.manifest_schema import (
    BlockRecord,
    FileRecord,
    InteractionsRecord,
    OpenBlockRecord,
)
from recbole_ccd.checkpoint.serving_snapshot import RECORD, ServingSnapshot
from recbole_ccd.checkpoint.stored_interactions import REMEDY, read_rows, read_tensors, read_vocabulary
from recbole_ccd.config import CCDConfig
from recbole_ccd.data.block import Block
from recbole_ccd.data.interactions import Interactions
from recbole_ccd.data.stored_stream import StoredStream
from recbole_ccd.model.scoring import scores_pairs_only
from recbole_ccd.model.teacher import ordering_scorer
from recbole_ccd.ranking.topk import ScoreFn
from recbole_ccd.registry import KEY as PLUGINS
from recbole_ccd.serving.arguments import shown
from recbole_ccd.serving.recommender import ModelInfo, Recommender, steady
from recbole_ccd.strategy import strategy_class
from recbole_ccd.utils.atomic_files import given_path
from recbole_ccd.utils.errors import CCDError, ConfigError, RunError, one_line
from recbole_ccd.utils.seeding import derive_seed, exclusive

_Loaded = TypeVar("_Loaded")
_ROLES = ("student", "teacher")
# a run that goes on may finish a block while its files are read, but hardly several
_ATTEMPTS = 5
# seconds in which another thread that loads a model is done
_PATIENCE = 30.0


def load_student(run_dir: str | os.PathLike[str], role: str = "student") -> Recommender:
    """The deployed model of a run, ready to recommend on the CPU.

    The run directory is all that is needed. It may have been moved, the run need not be finished, and it
    may go on meanwhile; what is served is the model after the last finished block. Models that score by an
    inner product are served from their final embeddings, others (and the teacher) are built again.

    Args:
        run_dir: the run directory.
        role: ``student``, or ``teacher`` where the strategy has one.

    Raises:
        ConfigError: If there is no such role, or what is given is no path.
        RunError: If the folder is no run directory, or what is needed is not there, damaged or foreign.
    """
    return _of_last_block(run_dir, role, lambda folder, manifest: _loaded(folder, manifest, role))


def rebuilt_model(
    run_dir: str | os.PathLike[str], role: str = "student"
) -> tuple[CCDConfig, Block, GeneralRecommender]:
    """The deployed model of a run as a RecBole model, whatever it scores by.

    Args:
        run_dir: as of :func:`load_student`.
        role: as of :func:`load_student`.

    Returns:
        The run's configuration on the CPU, the last block that the model has learned, and the model.

    Raises:
        ConfigError: As :func:`load_student`.
        RunError: As :func:`load_student`.
    """

    def load(folder: Path, manifest: Manifest) -> tuple[CCDConfig, Block, GeneralRecommender]:
        entry, record, vocabulary = _parts(folder, manifest, role)
        with exclusive(_PATIENCE):
            return _rebuilt(folder, manifest.settings, entry, role, record, vocabulary)

    return _of_last_block(run_dir, role, load)


def _of_last_block(
    run_dir: str | os.PathLike[str], role: str, load: Callable[[Path, Manifest], _Loaded]
) -> _Loaded:
    """What is loaded of a run directory, which may be written to meanwhile."""
    folder = given_path("run_dir", run_dir, "a run directory")
    if not isinstance(role, str) or role not in _ROLES:
        raise ConfigError(f"role is {shown(role)}; give one of: {', '.join(_ROLES)}")
    manifest = _manifest(folder)
    for _ in range(_ATTEMPTS):
        try:
            return load(folder, manifest)
        except RunError:
            # a run that goes on removes what its manifest does not name any longer
            before, manifest = manifest, _manifest(folder)
            if manifest == before:
                raise
    return load(folder, manifest)


def _parts(
    folder: Path, manifest: Manifest, role: str
) -> tuple[BlockRecord, ServingSnapshot, Mapping[str, Sequence[str]]]:
    """The last block's checkpoint, interactions up to it, and their tokens."""
    entry = _last_block(folder, manifest, role)
    rows = _rows_of(manifest, entry)
    record = _record(folder, entry.files[RECORD], read_rows(folder, rows))
    return entry, record, read_vocabulary(folder, rows[-1])


def _loaded(folder: Path, manifest: Manifest, role: str) -> Recommender:
    """What a manifest names, as long as its files are there."""
    entry, record, vocabulary = _parts(folder, manifest, role)
    settings = manifest.settings
    if role == "student" and record.vectors is not None:
        return Recommender(ModelInfo(settings["model"], role, settings), record, vocabulary)
    # its weights are drawn before they are read
    with exclusive(_PATIENCE):
        *_, model = _rebuilt(folder, settings, entry, role, record, vocabulary)
    name = "+".join(settings["teacher_models"]) if role == "teacher" else settings["model"]
    return Recommender(ModelInfo(name, role, settings), record, vocabulary, _scores_of(model))


def _manifest(folder: Path) -> Manifest:
    found = Manifest.read(folder)
    if found is None:
        raise RunError(f"{folder} is not a run directory: it holds no manifest.json; give the one of a run")
    manifest, problem = found
    if problem is not None:
        getLogger("recbole_ccd").warning("%s; going on from the one before", problem)
    if manifest.kind != RUN:
        held = ", ".join(str(run.get("folder")) for run in manifest.runs)
        which = f", such as one of: {one_line(held)}" if held else ""
        raise RunError(f"{folder} holds {manifest.kind} and no single run; give the folder of a run{which}")
    return manifest


def _last_block(folder: Path, manifest: Manifest, role: str) -> BlockRecord:
    if not manifest.blocks:
        raise RunError(f"{folder} has finished no block yet; go on with it by --resume={folder}")
    entry = manifest.blocks[-1]
    if role == "student" and manifest.open is not None:
        entry = manifest.open
    if "student" not in entry.files:
        raise RunError(
            f"{folder} keeps no weights of {manifest.settings['model']}, which is not learned by gradient "
            "steps; serve a run of another model, such as LightGCN"
        )
    if RECORD not in entry.files or len(manifest.rows) <= entry.block:
        raise RunError(f"{folder} is of an earlier version, which kept nothing to serve; start the run anew")
    if role == "teacher" and "teacher-0" not in entry.files:
        strategy = manifest.settings["strategy"]
        raise RunError(f"{folder} keeps no teacher (strategy {strategy}); serve its student, or a run of ccd")
    return entry


def _rows_of(manifest: Manifest, entry: BlockRecord) -> list[InteractionsRecord]:
    """The interactions up to a block; there may be more of it that have not been learned yet."""
    earlier = [rows for rows in manifest.rows if rows.block < entry.block]
    own = [rows for rows in manifest.rows if rows.block == entry.block]
    return earlier + (own[: entry.arrivals] if isinstance(entry, OpenBlockRecord) else own)


def _record(folder: Path, file: FileRecord, rows: Interactions) -> ServingSnapshot:
    try:
        return ServingSnapshot.from_tensors(read_tensors(folder, file), rows)
    except KeyError as error:
        raise RunError(f"{file.in_folder(folder)} holds no {error}; {REMEDY}") from error


def _rebuilt(
    folder: Path,
    settings: Mapping[str, Any],
    entry: BlockRecord,
    role: str,
    record: ServingSnapshot,
    vocabulary: Mapping[str, Sequence[str]],
) -> tuple[CCDConfig, Block, GeneralRecommender]:
    """The model as its strategy restores it, on the interactions of the record, with its block."""
    states = {name: read_tensors(folder, file) for name, file in entry.files.items() if name != RECORD}
    try:
        # no file names code that is imported
        config = CCDConfig.from_dict({**settings, "use_gpu": False, PLUGINS: None})
        strategy = strategy_class(config)(config)
        block = StoredStream(config, record.rows, vocabulary)[record.block]
        strategy.restore(block, states)
    except CCDError:
        raise
    except Exception as error:  # whatever a model's own code raises without the columns of its data
        reason = one_line(f"{type(error).__name__}: {error}")
        raise RunError(
            f"the {role} in {folder} cannot be built again without its data ({reason}); serve another model"
        ) from error
    model: GeneralRecommender = getattr(strategy, role)
    # a few models draw when they score, and keep what they have drawn
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(config["seed"], "evaluation", record.block, role))
        ordering_scorer(model)(torch.ones(1, dtype=torch.int64))
    return config, block, model


def _scores_of(model: GeneralRecommender) -> ScoreFn:
    score = ordering_scorer(model)
    # pairs are many enough however few users there are
    return score if scores_pairs_only(model) else steady(score)
