"""Distillation of a teacher's rankings: the losses, and the plugins that apply them."""

from recbole_ccd.plugin.distillation.base import DistillationLoss
from recbole_ccd.plugin.distillation.bridge import BridgeDistillation
from recbole_ccd.plugin.distillation.checks import check_ways
from recbole_ccd.plugin.distillation.gradient_alignment import GradientAlignment
from recbole_ccd.plugin.distillation.objective import (
    DistillationObjective,
    wants_grouped_items,
    wants_item_lists,
    wants_member_ranks,
)
from recbole_ccd.plugin.distillation.previous_teacher import PreviousTeacherDistillation
from recbole_ccd.plugin.distillation.relative_difficulty import RelativeDifficulty
from recbole_ccd.plugin.distillation.teacher import TeacherDistillation

__all__ = [
    "BridgeDistillation",
    "DistillationLoss",
    "DistillationObjective",
    "GradientAlignment",
    "PreviousTeacherDistillation",
    "RelativeDifficulty",
    "TeacherDistillation",
    "check_ways",
    "wants_grouped_items",
    "wants_item_lists",
    "wants_member_ranks",
]
