"""Proxy-guided replay: what a frozen model ranks high and the live one now low (CCD)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch import Tensor
from torch.nn.functional import embedding

from recbole_ccd.loss.replay import annealed
from recbole_ccd.model.scoring import clear_cache, is_autoencoder, row_scorer, score_pairs, score_rows
from recbole_ccd.plugin.base import PluginContext, TrainingPass
from recbole_ccd.plugin.replay.base import ReplayScheme, ReplaySource
from recbole_ccd.plugin.replay.steps import Pairs, ReplaySteps
from recbole_ccd.ranking.gumbel import gumbel_top_k, merge_pairs
from recbole_ccd.ranking.rank import Barred, ranks_above, ranks_of
from recbole_ccd.ranking.rank_sample import RankSample
from recbole_ccd.ranking.tiles import InnerProducts
from recbole_ccd.ranking.topk import (
    ScoreFn,
    excluded_pairs,
    list_length,
    mask_rows,
    top_k,
    users_at_a_time,
)
from recbole_ccd.registry import register
from recbole_ccd.utils.parallel.workers import Workers, nothing
from recbole_ccd.utils.seeding import derive_seed, torch_generator

if TYPE_CHECKING:
    from recbole_ccd.data.block import Block

Law = Callable[[Tensor, Tensor, Tensor, int, float, torch.Generator], Tensor]
_PAIRS_AT_A_TIME = 65536
# users whose scores tell a model's scale: of so many a mean is known to half a hundredth of their deviation
_SCALE_USERS = 1 << 15


def top_candidates(
    model: GeneralRecommender,
    seen: csr_matrix | None,
    n_candidates: int,
    workers: Workers | None = None,
    waiting: Callable[[], None] = nothing,
    users: Tensor | None = None,
) -> Tensor:
    """The items a model ranks highest for every user it knows, or for some.

    Args:
        model: a frozen model; what it has cached for scoring is dropped first.
        seen: users × items that are no candidates; None for none.
        n_candidates: length of a list; see :func:`~recbole_ccd.ranking.topk.list_length`.
        workers: who ranks; None for this process.
        waiting: called now and then while workers are at it.
        users: ids of the users, shape ``(n,)``; None for all.

    Returns:
        Shape ``(n_users, n_candidates)``, 0-padded, row = user id; or ``(n, n_candidates)``, in the order of
        the users given.
    """
    n_candidates = list_length(n_candidates, model.n_items)
    clear_cache(model)
    model.eval()
    if users is None:
        users = torch.arange(model.n_users, device=model.device)
    score = row_scorer(model)
    size = users_at_a_time(model.n_items, score, n_candidates)
    return top_k(score, users, n_candidates, seen, size, workers, waiting=waiting)


class ReplayDraws:
    """Draws replay pairs from frozen sources against a live model's current ranks.

    For each source and user, ``n_draws`` items without replacement among the source's top
    ``n_candidates``, with probability proportional to ``exp(temperature·(live rank - source rank))``.
    Each model ranks the items it knows, the user's seen items left out unless the source is of all.

    The soft label of a pair is ``σ(s)`` of the source's score ``s``. Given a scale (μ, δ), it is
    ``σ(μ + δ·(s - μ') / δ')``, with mean μ' and deviation δ' of the source's scores of its candidates.

    Attributes:
        drawn: pairs of the last draw by source; one that several sources drew counts for each of them.
    """

    def __init__(
        self,
        sources: Sequence[ReplaySource],
        seen: csr_matrix,
        n_candidates: int,
        temperature: float,
        seed: int,
        device: torch.device,
        rank_sample: int | None = None,
        scale: tuple[float, float] | None = None,
        law: Law = gumbel_top_k,
    ) -> None:
        """Finds the candidates of the sources that lack them, and their scales where those are needed.

        Args:
            sources: frozen models; those that draw nothing are dropped.
            seen: users × items that are no candidates: the train parts of this block and the one before.
            n_candidates: length of a source's list (A).
            temperature: ε.
            seed: seed of the draws.
            device: where the models live.
            rank_sample: items on which live ranks are estimated; None counts all.
            scale: mean and standard deviation that the scores behind the labels are brought to; None leaves
                each source its own.
            law: draws some items of each row by their ranks.
        """
        self._rank_sample, self._law = rank_sample, law
        self._sources = [source for source in sources if source.n_draws > 0]
        self._seen, self._temperature, self._seed, self._device = seen, temperature, seed, device
        self.drawn: dict[str, int] = {}
        self._candidates: list[Tensor] = []
        for source in self._sources:
            if source.candidates is None:
                barred = None if source.of_all else seen
                source.candidates = top_candidates(source.model, barred, n_candidates)
            self._candidates.append(source.candidates)
        self._scale = scale
        pairs = zip(self._sources, self._candidates, strict=True)
        self._scales = {} if scale is None else {s.name: score_scale(s.model, lists) for s, lists in pairs}

    @torch.no_grad()
    def draw(self, live: GeneralRecommender, epoch: int) -> Pairs:
        """Draws anew.

        Args:
            live: the model whose ranks tell what is forgotten; in eval mode.
            epoch: for the seed.

        Returns:
            Users, items and soft labels (the largest where sources agree), each ``(P,)``.
        """
        empty = torch.zeros(0, dtype=torch.int64, device=self._device)
        users, items, labels = [empty], [empty], [empty.float()]
        generator = torch_generator(self._seed, "replay", epoch)
        self.drawn = {source.name: 0 for source in self._sources}
        if not self._sources:
            return merge_pairs(users, items, labels)
        n_users = max(source.model.n_users for source in self._sources)
        score, sample = row_scorer(live), self._sampled_items(live.n_items, epoch)
        rank, size = partial(self._live_ranks, score, sample), users_at_a_time(live.n_items)
        if sample is not None and isinstance(score, InnerProducts):
            rank = partial(self._sampled_ranks, score, RankSample.of(score, sample))
            size = users_at_a_time(len(sample))
        for batch in torch.arange(1, n_users, device=self._device).split(size):
            candidates = [_rows_or_none(lists, batch) for lists in self._candidates]
            ranks = rank(batch, candidates)
            for source, ids, now in zip(self._sources, candidates, ranks, strict=True):
                place = torch.arange(1, ids.shape[1] + 1, device=ids.device).expand_as(ids).float()
                drawn = self._law(now, place, ids, source.n_draws, self._temperature, generator)
                kept = drawn > 0
                users.append(batch.unsqueeze(1).expand_as(drawn)[kept])
                items.append(drawn[kept])
                self.drawn[source.name] += len(users[-1])
                labels.append(self._labels(source, users[-1], items[-1]))
        return merge_pairs(users, items, labels)

    def _labels(self, source: ReplaySource, users: Tensor, items: Tensor) -> Tensor:
        scores = score_pairs_cached(source.model, users, items)
        if self._scale is not None:
            (mean, std), (own_mean, own_std) = self._scale, self._scales[source.name]
            scores = mean + std * (scores - own_mean) / max(own_std, 1e-8)
        return torch.sigmoid(scores)

    def _sampled_items(self, n_items: int, epoch: int) -> Tensor | None:
        if self._rank_sample is None or self._rank_sample >= n_items - 1:
            return None
        generator = torch_generator(self._seed, "ranked items", epoch)
        return (torch.randperm(n_items - 1, generator=generator)[: self._rank_sample] + 1).to(self._device)

    def _live_ranks(
        self, score: ScoreFn, sample: Tensor | None, users: Tensor, candidates: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """The live ranks of each source's candidates, among the items that the source could draw."""
        scores, ranks = score(users), dict[int, Tensor]()
        for of_all in (True, False):
            places = [place for place, source in enumerate(self._sources) if source.of_all == of_all]
            if not of_all:
                # the live model may be the distilled student, which does not know the block's new items
                mask_rows(scores, users, self._seen, -torch.inf)
            if places:
                items = [candidates[place] for place in places]
                found = ranks_of(scores, torch.cat(items, dim=1), sample)
                widths = [ids.shape[1] for ids in items]
                ranks.update(zip(places, found.split(widths, dim=1), strict=True))
        return [ranks[place] for place in range(len(candidates))]

    def _sampled_ranks(
        self, score: InnerProducts, sample: RankSample, users: Tensor, candidates: Sequence[Tensor]
    ) -> Sequence[Tensor]:
        """The same, of which no more is scored than the sample and the candidates."""
        vectors, items, wanted = score.users[users], torch.cat(list(candidates), dim=1), list[Tensor]()
        sampled, at = vectors @ sample.vectors.T, sample.place[items]
        for ids in candidates:
            wanted.append(torch.bmm(embedding(ids, score.items), vectors[:, :, None]).squeeze(2))
        # an item is not above itself: another product rounds otherwise
        scores = torch.where(at < 0, torch.cat(wanted, dim=1), sampled.gather(1, at.clamp(min=0)))
        rows, places = excluded_pairs(users, self._seen, len(score.items))
        places = sample.place[places]
        drawn, widths = places >= 0, [ids.shape[1] for ids in candidates]
        unseen = torch.tensor([not source.of_all for source in self._sources], device=users.device)
        holds = unseen.repeat_interleave(torch.tensor(widths, device=users.device))
        barred = Barred(rows[drawn], places[drawn], holds)
        return ranks_above(sampled, scores, items, len(score.items), barred).split(widths, dim=1)


def _rows_or_none(lists: Tensor, users: Tensor) -> Tensor:
    """Rows of id lists, all 0 for users beyond their end."""
    rows = lists[users.clamp(max=len(lists) - 1)].long()
    return rows.masked_fill_((users >= len(lists)).unsqueeze(1), 0)


def score_pairs_cached(model: GeneralRecommender, users: Tensor, items: Tensor) -> Tensor:
    """Scores of pairs from the model's cached propagation; no gradients.

    Args:
        model: a frozen model in eval mode.
        users: ids, shape ``(P,)``, sorted so that equal ones are neighbours.
        items: ids, shape ``(P,)``.
    """
    if getattr(model, "restore_user_e", None) is not None:
        return (model.restore_user_e[users] * model.restore_item_e[items]).sum(dim=1)
    if is_autoencoder(model):
        distinct, place = torch.unique_consecutive(users, return_inverse=True)
        return score_rows(model, distinct)[place, items]
    return score_pairs(model, users, items)


def score_scale(model: GeneralRecommender, lists: Tensor) -> tuple[float, float]:
    """How large a model's scores of the items on its users' lists are.

    Of many users some tell, spread evenly over the ids, which are in order of arrival.

    Args:
        model: a model in eval mode.
        lists: item ids, shape ``(n_users, n)``, 0-padded, row = user id; row 0 is nobody's.

    Returns:
        Mean and standard deviation; 0 and 1 of no items.
    """
    users = _spread_users(len(lists), lists.device)
    return _moments(model, users, lists[users])


def own_scale(model: GeneralRecommender, block: Block, n_candidates: int) -> tuple[float, float]:
    """How large a model's scores of its own best unseen items are, as :func:`score_scale` tells.

    Args:
        model: a model in training, between two epochs.
        block: the block to learn.
        n_candidates: how many items of each user.
    """
    users = _spread_users(model.n_users, model.device)
    lists = top_candidates(model, block.recent_train_matrix, n_candidates, users=users)
    scale = _moments(model, users, lists)
    clear_cache(model)
    return scale


def _spread_users(n_users: int, device: torch.device) -> Tensor:
    """Every user, or of many every second, third ... one."""
    return torch.arange(1, n_users, max(n_users // _SCALE_USERS, 1), device=device)


@torch.no_grad()
def _moments(model: GeneralRecommender, users: Tensor, lists: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of scores: of the items (n, k), 0-padded, for users (n,)."""
    count, moments = 0, torch.zeros(2, dtype=torch.float64)
    step = max(_PAIRS_AT_A_TIME // lists.shape[1], 1)
    for batch, items in zip(users.split(step), lists.split(step), strict=True):
        rows, places = torch.nonzero(items, as_tuple=True)
        scores = score_pairs_cached(model, batch[rows], items[rows, places].long()).double()
        moments += torch.stack([scores.sum(), scores.square().sum()]).cpu()
        count += len(rows)
    if not count:
        return 0.0, 1.0
    mean, square = (moments / count).tolist()
    return mean, max(square - mean**2, 0.0) ** 0.5


def with_pseudo_interactions(rows: csr_matrix, pairs: Pairs, value: float) -> csr_matrix:
    """What an auto-encoder reads: rows, and replayed pairs with less weight.

    Args:
        rows: users × items.
        pairs: users, items and labels, which are not read.
        value: what a pair counts.
    """
    users, items, _ = (part.cpu().numpy() for part in pairs)
    # in single precision, as scores are
    values = torch.full((len(users),), value).numpy()
    return (rows + csr_matrix((values, (users, items)), shape=rows.shape)).tocsr()


@register("proxy_guided")
class ProxyGuidedReplay(ReplayScheme):
    r"""Replays what proxies rank high and the model in training now ranks low.

    .. math:: L = -\lambda e^{-t / \tau} \sum_{(u,i)} \bigl[ y_{ui} \log\sigma(s_{ui}) +
              (1 - y_{ui}) \log(1 - \sigma(s_{ui})) \bigr], \qquad
              P(i \mid u) \propto e^{\epsilon (r_{ui} - r^p_{ui})}

    in epoch t, with live scores s, a proxy's soft labels y, and the ranks of an item now and by the proxy.
    Pairs are redrawn every ``replay_redraw`` epochs (:class:`ReplayDraws`). Keys of the role say in which
    optimizer steps they are learned (``*_replay_batch_size``, :class:`ReplaySteps`), and whether labels are
    on the sources' scales or on that of the model's own best scores when the stage begins
    (``*_replay_labels``).

    Auto-encoders have no such steps: they read and reconstruct the replayed pairs as interactions of value
    ``pseudo_interaction_value``, and visit every known user, since replay gives old users rows too.

    Source: Lee, Kang, Kweon, Yu, "Continual Collaborative Distillation for Recommender System", KDD 2024
    (arXiv 2405.19046).

    .. code-block:: yaml

        strategy: ccd
        replay: proxy_guided
        proxies: [stability, plasticity]
        student_replay_weight: 0.5     # lambda
        student_replay_decay: 10       # tau
        student_replay_stability: 5
        student_replay_plasticity: 5
        replay_temperature: 1.0e-4     # epsilon
    """

    needs_proxies = True
    visits_everybody = True

    def bind(self, context: PluginContext) -> None:
        """Finds candidates, and the scale of the labels."""
        super().bind(context)
        block, config = self.block, self.config
        candidates = config.per_block(f"{self.role}_replay_candidates", block.index)
        temperature, seed = config["replay_temperature"], derive_seed(self.seed, "draws")
        self._reads_rows = is_autoencoder(self.model)
        matched = config[f"{self.role}_replay_labels"] == "matched" and not self._reads_rows
        self._draws = ReplayDraws(
            self.sources,
            block.recent_train_matrix,
            candidates,
            temperature,
            seed,
            self.model.device,
            config["replay_rank_sample"],
            own_scale(self.model, block, candidates) if matched else None,
        )
        self._steps = ReplaySteps(context, self.role)
        self.propagates = self._steps.propagates
        self._rank_with = self.rank_with or self.model
        self._replayed: dict[str, int] = {}

    def before_epoch(self, epoch: int) -> None:
        """Draws replay pairs anew every ``replay_redraw`` epochs, and shares them out over the batches."""
        if epoch % self.config["replay_redraw"] == 0:
            self._rank_with.eval()
            self._pairs = self._draws.draw(self._rank_with, epoch)
            clear_cache(self._rank_with)
        weight = self._weight(epoch)
        if weight > 0:
            for name, count in self._draws.drawn.items():
                self._replayed[name] = self._replayed.get(name, 0) + count
        if not self._reads_rows:
            self._steps.begin(self._pairs, weight, self._pass_seed(epoch))

    def _weight(self, epoch: int) -> float:
        """What the loss of the replayed pairs is multiplied by; an auto-encoder's is that of all epochs."""
        if self._reads_rows:
            return self.config["pseudo_interaction_value"]
        weight, decay = (self.config[f"{self.role}_replay_{key}"] for key in ("weight", "decay"))
        return annealed(weight, epoch, decay)

    def batch_losses(self, interaction: Interaction) -> tuple[Tensor, ...]:
        """The loss of the pairs that are learned with the batch."""
        return self._steps.batch_losses()

    def after_epoch(self, epoch: int) -> Iterator[TrainingPass]:
        """The pass over the pairs drawn, where they have optimizer steps of their own."""
        if not self._reads_rows:
            weight, seed = self._weight(epoch), self._pass_seed(epoch)
            yield from self._steps.own_pass("replay", self._pairs, weight, seed)

    def _pass_seed(self, epoch: int) -> int:
        return derive_seed(self.seed, "pass", epoch)

    def visited_users(self) -> Tensor | None:
        """For auto-encoders everybody known."""
        return torch.arange(1, self.block.n_users) if self._reads_rows else None

    def training_rows(self, rows: csr_matrix) -> csr_matrix:
        """The rows and, with less weight, the replayed pairs."""
        return with_pseudo_interactions(rows, self._pairs, self.config["pseudo_interaction_value"])

    def state_dict(self) -> dict[str, Any]:
        """The pairs drawn last, and how many have been replayed."""
        counts = {"drawn": self._draws.drawn, "replayed": self._replayed}
        return {"pairs": tuple(self._pairs), "counts": counts}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores what :meth:`state_dict` gave."""
        self._pairs = tuple(part.to(self.model.device) for part in state["pairs"])
        self._draws.drawn, self._replayed = (dict(state["counts"][name]) for name in ("drawn", "replayed"))

    def history(self) -> dict[str, Any]:
        """``replayed``: pairs by source, added up over the epochs that replayed them."""
        return {"replayed": dict(self._replayed)}
