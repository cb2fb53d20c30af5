"""What ways of distilling cannot work with, refused before anything is trained."""

from __future__ import annotations

from typing import TYPE_CHECKING

from recbole_ccd.data.block import reads_graph
from recbole_ccd.model.scoring import has_factors
from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.plugin.distillation.gradient_alignment import reads_interactions
from recbole_ccd.plugin.distillation.relative_difficulty import has_weighable_loss
from recbole_ccd.plugin.distillation.weighted import chosen_losses
from recbole_ccd.utils.errors import ConfigError, ModelError

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


def check_ways(config: CCDConfig) -> None:
    """Refuses ways of distilling that a student, or a teacher, cannot be distilled in.

    Args:
        config: the run's configuration.

    Raises:
        ModelError: If the student's class does not fit one; the message names key and remedy.
        ConfigError: If other settings do not.
    """
    if config["distill_head"] != "shared":
        _check_vectors(config, "distill_head", "take distill_head: shared")
    if config["distill_augmentation"] == "mixup":
        _check_vectors(config, "distill_augmentation", "leave it out")
        _check_lists(config, "distill_augmentation")
        _check_pick(config)
    if config["distill_augmentation"] == "edge_dropout":
        _check_graph(config, "distill_augmentation")
    if config["distill_weighting"] is not None and not has_weighable_loss(config.model_class):
        raise ModelError(
            f"distill_weighting is {config['distill_weighting']}, which weighs a BPR loss of single "
            f"interactions, and {config['model']} has none; leave it out, or take LightGCN, BPR or NGCF"
        )
    if config["distill_curriculum"] is not None:
        _check_lists(config, "distill_curriculum")
        _check_order(config)
    if config["distill_gradient_alignment"] > 0:
        _check_graph(config, "distill_gradient_alignment")
        _check_readers(config, "distill_gradient_alignment")


def _check_vectors(config: CCDConfig, key: str, otherwise: str) -> None:
    """What acts on vectors needs a student that scores by them."""
    if not has_factors(config.model_class):
        raise ModelError(
            f"{key}: {config[key]} acts on user and item vectors, by which {config['model']} does not score; "
            f"{otherwise}, or take LightGCN, BPR, NGCF, SGL or ENMF"
        )


def _check_lists(config: CCDConfig, key: str) -> None:
    """Lists of a way's own have nothing beside them that a teacher would have to be asked for."""
    asking = [
        kind.name for kind in chosen_losses(config) if kind.needs_member_ranks or kind.needs_grouped_items
    ]
    if asking:
        raise ConfigError(
            f"{key}: {config[key]} has lists of its own, and distill_loss {asking[0]} reads more of the "
            f"teacher than lists; leave {key} out, or take another loss"
        )


def _check_pick(config: CCDConfig) -> None:
    """What is picked by its loss needs losses that tell it."""
    silent = [kind.name for kind in chosen_losses(config) if kind.user_losses is DistillationLoss.user_losses]
    if config["distill_pick"] > 1 and silent:
        raise ConfigError(
            f"distill_pick is {config['distill_pick']}, and distill_loss {silent[0]} does not tell the loss "
            "of each user; write its user_losses, or leave distill_pick out"
        )


def _check_graph(config: CCDConfig, key: str) -> None:
    """What acts on a graph needs a student that has one, and is distilled on what comes out of it."""
    if not reads_graph(config.model_class):
        raise ModelError(
            f"{key} is {config[key]}, and {config['model']} propagates over no graph; leave it out, or take "
            "LightGCN, NGCF or SGL"
        )
    if "ego" in (config["distill_layer"], config.for_base_student()["distill_layer"]):
        raise ConfigError(
            f"{key} is {config[key]}, and with distill_layer: ego no graph has to do with what is distilled; "
            f"set distill_layer: final, or leave {key} out"
        )


def _check_readers(config: CCDConfig, key: str) -> None:
    """What is about a change of interactions needs a member that reads them."""
    members = [config.for_member(m).model_class for m in range(len(config["teacher_models"]))]
    if not any(map(reads_interactions, members)):
        names = ", ".join(dict.fromkeys(config["teacher_models"]))
        raise ModelError(
            f"{key} is {config[key]}, and no member of the teacher ({names}) reads a graph or users' rows; "
            "leave it out, or add LightGCN, NGCF, SGL or an auto-encoder to teacher_models"
        )


def _check_order(config: CCDConfig) -> None:
    """A course goes by the order of lists."""
    key = "distill_curriculum"
    if config["distill_lists"] == "seen_first":
        raise ConfigError(
            f"{key} is {config[key]}, which goes by the order of lists, and with distill_lists: seen_first "
            f"train items lead them in any order; set distill_lists: unseen, or leave {key} out"
        )
