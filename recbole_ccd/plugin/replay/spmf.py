"""SPMF: of a reservoir, what the current model ranks low is visited again."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import scipy.sparse as sp
import torch
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import logsigmoid

from recbole_ccd.data.negative_sampler import NegativeSampler
from recbole_ccd.model.scoring import clear_cache, is_autoencoder, score_pairs
from recbole_ccd.plugin.base import PluginContext, TrainingPass
from recbole_ccd.plugin.replay.base import ReplayScheme
from recbole_ccd.plugin.replay.proxy_guided import score_pairs_cached
from recbole_ccd.plugin.replay.reservoir import ReservoirReplay
from recbole_ccd.ranking.gumbel import weighted_top_k
from recbole_ccd.ranking.topk import users_at_a_time
from recbole_ccd.registry import register
from recbole_ccd.utils.seeding import derive_seed, torch_generator


@register("spmf")
class SPMFReplay(ReplayScheme):
    r"""SPMF's replay: past interactions are drawn by how low the current model ranks them.

    .. math:: P(u, i) \propto e^{\epsilon \, r_{ui} / |R|}, \qquad
              L = -\frac{1}{|B|} \sum_{(u, i) \in B} \log\sigma(s_{ui} - s_{uj})

    Before each epoch all interactions of the reservoir R are ranked by the current model's scores, place
    r = 1 being the highest, and ``spmf_draws`` of them are drawn without replacement. After the epoch's
    batches a pass goes through them, with the pairwise ranking loss of SPMF and a negative j that is in
    neither the block nor the reservoir. Auto-encoders have no such pass: they read and reconstruct the
    interactions drawn as those of the block, and visit whoever has one.

    The reservoir is the uniform one of :class:`~recbole_ccd.plugin.replay.reservoir.ReservoirReplay`. In the
    paper the interactions of the block are drawn in the same way; here each epoch visits all of them.

    Source: Wang, Yin, Huang, Wang, Du, Nguyen, "Streaming Ranking Based Recommender Systems", SIGIR 2018.

    .. code-block:: yaml

        strategy: fine_tune
        replay: spmf
        reservoir_size: 20000
        spmf_draws: ~            # as many as the block has
        spmf_sharpness: 1.0      # epsilon
    """

    visits_everybody = True

    def bind(self, context: PluginContext) -> None:
        """Takes the reservoir, in order of users."""
        super().bind(context)
        self._reads_rows = is_autoencoder(self.model)
        users, items = self.block.pairs_of(ReservoirReplay.rows(self.block, self.config))
        shape = (self.block.n_users, self.block.n_items)
        stored = csr_matrix((np.ones(len(users), dtype=np.float32), (users, items)), shape=shape)
        positives = _binary(self.block.train_matrix + stored)
        # of whoever has had every item nothing can be told from what was not wanted
        full = NegativeSampler.saturated_users(positives) if not self._reads_rows else users[:0]
        others = sp.diags((~np.isin(np.arange(shape[0]), full)).astype(np.float32))
        self._positives = _binary(others @ positives)
        order = np.argsort(users, kind="stable")
        order = order[~np.isin(users[order], full)]
        device = self.model.device
        self._users, self._items = (torch.from_numpy(ids[order]).to(device) for ids in (users, items))
        self._drawn = self._users[:0]

    def before_epoch(self, epoch: int) -> None:
        """Ranks the reservoir by the current model, and draws."""
        if not len(self._users):
            return
        generator = torch_generator(self.seed, "replay", epoch)
        wanted: int | None = self.config["spmf_draws"]
        n, wanted = len(self._users), len(self.block.train) if wanted is None else wanted
        places = self._places()[None]
        numbers = torch.arange(1, n + 1, device=places.device)[None]
        sharpness = self.config["spmf_sharpness"] / n
        drawn = weighted_top_k(sharpness * places, numbers, min(wanted, n), generator)
        self._drawn = drawn[0] - 1

    @torch.no_grad()
    def _places(self) -> Tensor:
        """Place of each interaction of the reservoir among all of them, by the current model's scores."""
        clear_cache(self.model)
        self.model.eval()
        step = users_at_a_time(self.model.n_items) if self._reads_rows else len(self._users)
        pairs = zip(self._users.split(step), self._items.split(step), strict=True)
        scores = torch.cat([score_pairs_cached(self.model, *pair) for pair in pairs])
        places = torch.empty_like(scores)
        order = scores.argsort(descending=True, stable=True)
        places[order] = torch.arange(1, len(scores) + 1, device=scores.device).to(scores.dtype)
        return places

    def after_epoch(self, epoch: int) -> Iterator[TrainingPass]:
        """The pass over the interactions drawn."""
        if self._reads_rows or not len(self._drawn):
            return
        users, items = self._users[self._drawn], self._items[self._drawn]
        sampler = NegativeSampler(self._positives, seed=derive_seed(self.seed, "negatives", epoch))
        negatives = sampler.sample_by_key_ids(users.cpu().numpy(), 1).to(users.device)
        order = torch.randperm(len(users), generator=torch_generator(self.seed, "pass", epoch))
        size: int = self.config["train_batch_size"]

        def loss(batch: Tensor) -> Tensor:
            batch = batch.to(users.device)
            both = torch.cat([items[batch], negatives[batch]])
            scores, others = score_pairs(self.model, users[batch].repeat(2), both).chunk(2)
            return -logsigmoid(scores - others).sum() / size

        yield TrainingPass("replay", order.split(size), loss)

    def visited_users(self) -> Tensor | None:
        """For auto-encoders those of the block and of the reservoir."""
        if not self._reads_rows:
            return None
        of_block = torch.from_numpy(np.flatnonzero(self.block.train_matrix.getnnz(axis=1)))
        return torch.unique(torch.cat([of_block, self._users.cpu()]))

    def training_rows(self, rows: csr_matrix) -> csr_matrix:
        """The rows with the interactions drawn."""
        pairs = (ids[self._drawn].cpu().numpy() for ids in (self._users, self._items))
        ones = np.ones(len(self._drawn), dtype=np.float32)
        drawn = csr_matrix((ones, tuple(pairs)), shape=rows.shape)
        return rows.maximum(_binary(drawn)).tocsr()


def _binary(matrix: csr_matrix) -> csr_matrix:
    """The pattern of a matrix as ones, with sorted indices."""
    found = csr_matrix(matrix, dtype=np.float32)
    found.eliminate_zeros()
    found.data[:] = 1.0
    found.sort_indices()
    return found
