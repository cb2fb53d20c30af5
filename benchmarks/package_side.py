"""The package's side of the comparisons: every call of ``recbole_ccd`` that the hot paths make is here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import yelp
from recbole.data.interaction import Interaction
from recbole.model.general_recommender import LightGCN as RecBoleLightGCN
from scipy.sparse import csr_matrix
from sklearn.utils.extmath import randomized_svd
from torch import Tensor

from recbole_ccd.config import CCDConfig
from recbole_ccd.data.block import Block
from recbole_ccd.data.negative_sampler import NegativeSampler
from recbole_ccd.data.similarity import similarity_graph
from recbole_ccd.data.sparse import pairs_matrix
from recbole_ccd.evaluation.full_sort import FullSortEvaluator
from recbole_ccd.model.growth import build, grow
from recbole_ccd.model.lightgcn import LightGCN
from recbole_ccd.model.scoring import clear_cache, factors, score_rows
from recbole_ccd.model.teacher import TeacherEnsemble, teacher_scorer
from recbole_ccd.plugin.distillation import TeacherDistillation
from recbole_ccd.plugin.distillation.rrd import RelaxedRankingDistillation
from recbole_ccd.plugin.regularization import chosen_regularizers
from recbole_ccd.plugin.replay import ProxyGuidedReplay, ReplaySource
from recbole_ccd.plugin.replay.proxy_guided import Pairs, ReplayDraws
from recbole_ccd.ranking.lists import top_lists
from recbole_ccd.ranking.rank import ranks_of
from recbole_ccd.ranking.teacher_rankings import TeacherRankings
from recbole_ccd.ranking.topk import users_at_a_time
from recbole_ccd.trainer import StageTrainer, make_trainer
from recbole_ccd.utils.seeding import deterministic, seed_stage

__all__ = ["Scene", "Stage", "similarity_graph"]

# what the distillation epoch samples: most of the catalogue, as the paper does on Yelp
UNINTERESTING = {"n_uninteresting_items": 10_000, "n_uninteresting_users": 11_500}
SEED = 2020


class Stage:
    """A trainer with its loader, run epoch by epoch as a stage of a run is.

    Attributes:
        trainer: a stage's trainer, bound to its block.
        loader: its train loader.
    """

    def __init__(self, trainer: StageTrainer, excluded: csr_matrix | None = None) -> None:
        self.trainer = trainer
        self.loader = trainer.block.train_loader(trainer.config, SEED, excluded)

    def epoch(self) -> Any:
        """The next epoch: what is drawn before it, all batches, and the pass after it."""
        with deterministic(self.trainer.config["reproducibility"]):
            return self.trainer._train_epoch(self.loader, self.trainer.epochs_run)

    def terms(self, batch: Interaction) -> tuple[Tensor, ...]:
        """What the plugins add to the loss of a batch."""
        return tuple(term for plugin in self.trainer.plugins for term in plugin.batch_losses(batch))

    def batches(self) -> list[Interaction]:
        """One epoch's batches."""
        return list(self.loader)

    def replayed(self) -> Pairs:
        """Users, items and labels of the replay pass."""
        return self.trainer.plugins[0].state_dict()["pairs"]


class Scene:
    """The Yelp blocks, and models on them with weights that look trained.

    Args:
        data_path: the folder that holds ``yelp-ccd/``.
    """

    def __init__(self, data_path: str | Path) -> None:
        self.config, self.stream = yelp(data_path, **UNINTERESTING)

    def block(self, index: int) -> Block:
        """A block of the stream."""
        return self.stream[index]

    def student(self, index: int, seed: int = 0) -> LightGCN:
        """A student (LightGCN, d = 8, 2 layers) that knows a block."""
        return self._model(self.config, self.block(index), seed)

    def member(self, index: int, seed: int = 0) -> LightGCN:
        """A teacher's member (LightGCN, d = 128, 2 layers) that knows a block."""
        return self._model(self.config.for_member(0), self.block(index), seed)

    @staticmethod
    def _model(config: CCDConfig, block: Block, seed: int) -> LightGCN:
        """A model with the leading singular vectors of its interactions as embeddings, and some noise.

        Such scores spread like a trained model's, so that sorts, clamps and top lists meet what they meet
        in a run, and no epoch has to be waited for. The noise, which differs by seed, keeps rows without
        interactions apart and makes models disagree.
        """
        seed_stage(SEED + seed, True, "benchmark")
        model = build(config, block)
        tables = model.user_embedding.weight, model.item_embedding.weight
        users, values, items = randomized_svd(
            block.train_so_far, tables[0].shape[1], n_iter=2, random_state=0
        )
        with torch.no_grad():
            for table, vectors in zip(tables, (users, items.T), strict=True):
                vectors = torch.from_numpy(vectors * np.sqrt(values)).float()
                table.copy_(3.0 * vectors / vectors.norm(dim=1).max().clamp(min=1e-6))
                table.add_(0.05 * torch.randn_like(table))
        model.eval()
        return model

    def distillation(self) -> Stage:
        """Student generation on block 0, with the top lists of one member as the teacher's knowledge."""
        block, config = self.block(0), self.config.for_stage("student_generation")
        teacher = self.member(0)
        k, n_excluded = config["distill_top_k"], config["exclusion_top_k"]
        lists = top_lists(
            lambda users: score_rows(teacher, users),
            torch.arange(block.n_users),
            block.n_items,
            max(k, n_excluded),
            k,
            block.train_matrix,
            users_at_a_time(block.n_items),
        )
        items = lists[0][:, :n_excluded]
        excluded = pairs_matrix([items], block.n_users, block.n_items)
        rankings = TeacherRankings(lists[0][:, :k].contiguous(), lists[1], excluded, items)
        trainer = make_trainer(config, self.student(0)).bind(block, "student generation", SEED)
        trainer.exclude(excluded).add(TeacherDistillation(rankings))
        self.rankings = rankings
        # the stage's own draws, as they depend on the seed alone
        self._loss = RelaxedRankingDistillation(config, trainer.model, rankings, block.train_matrix, SEED)
        return Stage(trainer, excluded)

    def list_wise(self, rows: Tensor, swapped: bool) -> Tensor:
        """Our weighted distillation loss of some users, or with ``swapped`` of some items."""
        loss = self._loss.item_loss if swapped else self._loss.user_loss
        return self.config[f"distill_{'item' if swapped else 'user'}_weight"] * loss(rows)

    def uninteresting(self, rows: Tensor, swapped: bool) -> Tensor:
        """The ids our sampler has drawn for some rows, shape (B, n), padded with 0."""
        side = self._loss._items if swapped else self._loss._users
        mask = side.sampler.windows(rows, side.ineligible).mask(side.sampler.n_columns)
        place, column = mask.nonzero(as_tuple=True)
        count = mask.sum(1)
        ids = torch.zeros(len(rows), int(count.max()), dtype=torch.int64)
        ids[torch.arange(ids.shape[1]) < count[:, None]] = column
        return ids

    def teacher_update(self, n_anchors: int | None) -> Stage:
        """Teacher update on block 1: LWC-KD, PIW, and replay from two proxies and the student.

        Args:
            n_anchors: ``lwc_kd_anchors``.
        """
        self.config["lwc_kd_anchors"] = n_anchors
        config, block = self.config.for_member(0).for_stage("teacher_update"), self.block(1)
        self.frozen = self.member(0)
        model = grow(self.frozen, config, block)
        draws = {name: config.per_block(f"teacher_replay_{name}", 1) for name in ("stability", "plasticity")}
        sources = [ReplaySource(name, self.student(0, s), n) for s, (name, n) in enumerate(draws.items())]
        sources.append(
            ReplaySource("student", self.student(1), config.per_block("teacher_replay_student", 1))
        )
        trainer = make_trainer(config, model).bind(block, "teacher update", SEED, previous=self.frozen)
        with deterministic(config["reproducibility"]):
            trainer.add(ProxyGuidedReplay("teacher", sources), *chosen_regularizers(config, model))
        return Stage(trainer)

    @staticmethod
    def layers(model: LightGCN) -> list[tuple[Tensor, Tensor]]:
        """User and item embeddings of layers 0 ... L - 1, on which LWC-KD acts."""
        return [torch.split(layer, [model.n_users, model.n_items]) for layer in model.layers()[:-1]]

    @staticmethod
    def recboles(stage: Stage) -> RecBoleLightGCN:
        """RecBole's own LightGCN with the weights of a stage's model, on the same graph."""
        model, trainer = stage.trainer.model, stage.trainer
        twin = RecBoleLightGCN(trainer.config, trainer.block.model_data(trainer.config))
        twin.load_state_dict(model.state_dict())
        return twin

    @staticmethod
    def recboles_layers(model: RecBoleLightGCN) -> list[tuple[Tensor, Tensor]]:
        """The same as :meth:`layers` for RecBole's model, by its own kind of product."""
        layers = [model.get_ego_embeddings()]
        for _ in range(model.n_layers - 1):
            layers.append(torch.sparse.mm(model.norm_adj_matrix, layers[-1]))
        return [torch.split(layer, [model.n_users, model.n_items]) for layer in layers]

    @staticmethod
    def imitation(stage: Stage) -> list[Tensor]:
        """PIW's learned tensors: centres, their matrices, then weight and bias of each of its two layers."""
        return stage.trainer.optimizer.param_groups[-1]["params"]

    def replay(
        self,
        proxies: list[LightGCN],
        live: LightGCN,
        n_candidates: int,
        n_draws: int,
        sample: int | None = None,
    ) -> Pairs:
        """Candidates of the proxies, discrepancy of ranks, and the draw, for all users of block 1.

        Args:
            proxies: the models to draw from.
            live: the model that may have forgotten.
            n_candidates: length of a proxy's list.
            n_draws: items per user and proxy.
            sample: items on which ranks are estimated; None counts all.
        """
        for model in (*proxies, live):
            clear_cache(model)
        sources = [ReplaySource(str(number), proxy, n_draws) for number, proxy in enumerate(proxies)]
        seen, temperature = self.block(1).recent_train_matrix, self.config["replay_temperature"]
        replay = ReplayDraws(sources, seen, n_candidates, temperature, SEED, torch.device("cpu"), sample)
        self.candidates = [source.candidates for source in sources]
        return replay.draw(live, epoch=0)

    @staticmethod
    def vectors(model: LightGCN) -> tuple[Tensor, Tensor]:
        """User and item vectors whose inner products are the model's scores."""
        with torch.no_grad():
            return factors(model)

    @staticmethod
    def ranks(scores: Tensor, items: Tensor) -> Tensor:
        """Ranks of given items."""
        return ranks_of(scores, items).long()

    @staticmethod
    def estimated_ranks(scores: Tensor, items: Tensor, n_sampled: int) -> Tensor:
        """Ranks of given items, estimated on some of all items."""
        sample = torch.randperm(scores.shape[1] - 1)[:n_sampled] + 1
        return ranks_of(scores, items, sample)

    def teacher_lists(self, members: list[LightGCN], k: int) -> tuple[Tensor, Tensor]:
        """Top items of every user and top users of every item of block 0, of the ensemble."""
        block = self.block(0)
        ensemble = TeacherEnsemble(self.config, block.train, members)
        ensemble.eval()
        users = torch.arange(block.n_users)
        score = teacher_scorer(ensemble)
        size = users_at_a_time(block.n_items, score, k)
        return top_lists(score, users, block.n_items, k, k, block.train_matrix, size)

    def sampler(self, excluded: csr_matrix) -> NegativeSampler:
        """Uniform negatives of block 0 outside the train part and an exclusion set."""
        return NegativeSampler(self.block(0).train_matrix, "uniform", 1.0, excluded, SEED)

    def evaluate(self, model: LightGCN) -> dict[str, float]:
        """Recall and NDCG on the test part of block 0, loader included."""
        clear_cache(model)
        return FullSortEvaluator(self.config).evaluate(model, self.block(0).measured_loader(self.config))
