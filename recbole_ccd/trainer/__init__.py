"""How a stage is trained: one trainer, and what it is resumed from."""

from recbole_ccd.trainer.stage_trainer import LossError, StageTrainer, make_trainer

__all__ = ["LossError", "StageTrainer", "make_trainer"]
