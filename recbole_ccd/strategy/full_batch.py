"""Train anew on everything so far: what following a stream is measured against."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from typing import TYPE_CHECKING, Any

from recbole.model.abstract_recommender import GeneralRecommender
from torch import Tensor

from recbole_ccd.config.catalogue import is_context
from recbole_ccd.data.block import Block
from recbole_ccd.data.context_fields import check_fields
from recbole_ccd.data.stream import BlockStream
from recbole_ccd.model.context import KD_DAGFM, PHASES
from recbole_ccd.model.growth import check_buildable, fitted, learns_by_steps
from recbole_ccd.registry import register
from recbole_ccd.strategy.base import Strategy
from recbole_ccd.strategy.stage import Stage
from recbole_ccd.trainer.lazy_adam import check_lazy
from recbole_ccd.utils.errors import ModelError

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig

# models trained in several phases, by a trainer that writes files of its own and keeps no best weights
SEVERAL_PHASES = ("NCL", "RaCT")
# one pass without negatives: whoever counts must count each interaction once
ONE_PASS: dict[str, Any] = {"base_epochs": 1, "train_neg_sample_args": None}


@register("full_batch")
class FullBatch(Strategy):
    """A fresh model at every block, trained on the train rows of all blocks so far.

    It keeps all data and forgets nothing, at a cost that grows with the stream. Each training is a stage
    ``base`` with the ``base_*`` settings and the configured validation (``valid_blocks``). The model of
    the base block is the one the other strategies start from (``base``).

    Nothing is grown, so with ``base: plain`` any general recommender of RecBole will do that is trained
    in one phase. So will those that learn nothing by gradient steps: Pop, Random, ItemKNN, AsymKNN,
    EASE, SLIMElastic, ADMMSLIM and NCEPLRec. These are fitted anew on every block, the base block too,
    whatever ``base`` says. They are RecBole's, and so is what they cost: EASE and ADMMSLIM invert a dense
    items × items matrix, AsymKNN fills a dense users × items one, and SLIMElastic solves a regression
    per item. Random and ADMMSLIM (against ties) draw numbers when they score: two runs are equal, two
    calls are not.

    The context-aware FM, DeepFM, DCNV2 and KD_DAGFM can be trained here alone. They read ids and features
    of users and items, and tables call them context baselines.
    """

    learns_everything = True

    @property
    def student_stages(self) -> tuple[str, ...]:
        """That of the base block trains it again on all blocks so far, whatever began it."""
        return ("base", "student_generation")

    def check_models(self, stream: BlockStream) -> None:
        """Refuses models that cannot be trained here, and users for whom no negative can be drawn.

        Raises:
            ModelError: If the model is trained in several phases, cannot be built, or cannot be the base
                student asked for.
            DataError: If a user has interacted with every known item.
        """
        self._check_inputs(stream[0])
        if not learns_by_steps(self.config):
            return
        if self.config["model"] in SEVERAL_PHASES:
            raise ModelError(
                f"model: {self.config['model']} is trained in several phases, which no stage can do; "
                "take LightGCN, BPR, NGCF, MultiVAE, EASE, …"
            )
        if self.config["base"] == "distilled":
            super().check_models(stream)
        else:
            check_lazy(self.config, "student", self.student_stages)
            check_buildable(self.config, stream[0])
            self.check_negatives(stream, self.config)

    def check_block(self, block: Block) -> None:
        """Refuses a user for whom no negative can be drawn, where the model needs any, or lost features."""
        self._check_inputs(block)
        if learns_by_steps(self.config):
            super().check_block(block)

    def _check_inputs(self, block: Block) -> None:
        if is_context(self.config.model_class):
            check_fields(self.config, block.train)

    def check_student(self, stream: BlockStream) -> None:
        """Refuses a student that cannot be distilled on the base block.

        Raises:
            ModelError: If the student has no user and item embeddings, or is no model that can be grown.
        """
        try:
            super().check_student(stream)
        except ModelError as error:
            raise ModelError(f"{error}; or train it by itself from the start with --base=plain") from None

    def models(self) -> Mapping[str, GeneralRecommender]:
        """The student, or nothing where it has no weights.

        What a model without gradient steps has fitted is not in its state dict; it is fitted again from
        the data rather than kept.
        """
        return super().models() if learns_by_steps(self.config) else {}

    def train_plainly(self, block: Block, config: CCDConfig) -> GeneralRecommender:
        """A fresh model learns a block with its own loss, or with one after the other where it has phases."""
        if issubclass(config.model_class, KD_DAGFM):
            return self.stage("base", block, config, learn_in_phases)
        return super().train_plainly(block, config)

    def restore(self, block: Block, states: Mapping[str, Mapping[str, Tensor]]) -> None:
        """The student, on all that it has learned; see :class:`Strategy`."""
        self._check_inputs(block)
        super().restore(block, states)

    def fit_again(self, block: Block) -> GeneralRecommender | None:
        """The student of a block, fitted as it was then, where it has no weights to be saved."""
        if learns_by_steps(self.config):
            return None
        recorded = list(self.result.stages)
        (whole,) = self.pieces(block)
        student = self.train_plainly(whole, self._one_pass())
        # it is recorded already
        self.result.stages = recorded
        return student

    def train_block(self, block: Block) -> None:
        """The base student on block 0, and a fresh model on every other block."""
        (whole,) = self.pieces(block)
        if not learns_by_steps(self.config):
            self.student = self.train_plainly(whole, self._one_pass())
        elif block.index:
            self.student = self.train_plainly(whole, self.config)
        else:
            self.student = self.train_base_student(block, self.config["base"] == "distilled")
            # the teacher has done its part
            self.teacher = None
            self.discard_rankings()

    def _one_pass(self) -> CCDConfig:
        config = deepcopy(self.config)
        for key, value in ONE_PASS.items():
            config[key] = value
        return config


def learn_in_phases(stage: Stage) -> GeneralRecommender:
    """A fresh KD_DAGFM is trained as a teacher, distilled into its student, and fine-tuned.

    Each phase is a training with the stage's epochs and early stopping, and begins with the best weights of
    the one before.
    """
    model = fitted(stage.config, stage.block)
    for phase in PHASES:
        model.phase = phase
        stage.trainer(model, phase=phase).run(stage.config["show_progress"])
    return model
