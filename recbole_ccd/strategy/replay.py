"""Go on training on each block and on a sample of the past."""

from __future__ import annotations

import numpy as np
from recbole.model.abstract_recommender import GeneralRecommender

from recbole_ccd.data.block import Block, learns_from_rows
from recbole_ccd.seeding import numpy_generator
from recbole_ccd.strategy.fine_tune import FineTune
from recbole_ccd.strategy.stage import Stage


class Replay(FineTune):
    """Experience replay: every epoch of an update visits the block and a reservoir of past interactions.

    The reservoir is a uniform sample without replacement of the train rows of all blocks before
    (Vitter, "Random sampling with a reservoir", ACM TOMS 1985). Every row has a random key, and the rows
    with the smallest keys are kept: bottom-k sampling (Cohen & Kaplan, "Summarizing data using bottom-k
    sketches", PODC 2007). So reservoirs are nested: what has been dropped never comes back.

    Its rows are training data: they are no negatives of their users, and a model that trains on whole
    rows (ENMF) reads them. The graph of a graph model stays the configured one (``graph``), the same as
    under every other strategy: with ``block`` the reservoir is not propagated over.
    """

    name = "replay"

    def reservoir(self, block: Block) -> np.ndarray:
        """Row numbers of the reservoir when a block arrives, in the order of the stream.

        Args:
            block: the block that has arrived, not the base block.

        Returns:
            Shape ``(n,)``; ``reservoir_size`` rows, or all earlier train rows where there are fewer.
        """
        seed, earlier = self.config["seed"], block.earlier_train_rows
        keys = [numpy_generator(seed, "reservoir", k).random(len(rows)) for k, rows in enumerate(earlier)]
        smallest = np.argsort(np.concatenate(keys), kind="stable")[: self.config["reservoir_size"]]
        return np.sort(np.concatenate(earlier)[smallest])

    def pieces(self, block: Block) -> list[Block]:
        """The block with the reservoir added to its train rows."""
        return [block.with_earlier(self.reservoir(block))] if block.index else [block]

    def update(self, block: Block) -> GeneralRecommender:
        """The student grown to a block, after it has learned the block and the reservoir."""
        (mixed,) = self.pieces(block)
        known = mixed if learns_from_rows(self.config) else block

        def learn(stage: Stage) -> GeneralRecommender:
            student = self.grow(self.student, stage.config, known)
            self.learn(stage, student, self.student)
            return student

        return self.stage("student_update", mixed, self.config, learn, built_on=known)
