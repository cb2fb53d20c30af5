"""RecBole loaders for blocks: training rows, active users, full-sort evaluation, replayed pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from logging import getLogger
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from recbole.data.dataloader import FullSortEvalDataLoader, TrainDataLoader, UserDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.data.interaction import Interaction
from recbole.model.abstract_recommender import GeneralRecommender
from scipy.sparse import csr_matrix
from torch.utils.data import DataLoader

from recbole_ccd.data.sparse import csr_rows

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig
    from recbole_ccd.data.dataset import IncrementalDataset

REPLAY_LABEL = "replay_label"


class _Numbered(DataLoader):
    """Torch's loader of row numbers, of a range: the list that RecBole gives takes more than the rows."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **{**kwargs, "dataset": range(len(kwargs["dataset"]))})


class WholeBatches(AbstractDataLoader, _Numbered):
    """Iterates over batches of indices instead of collecting each batch from single ones.

    Torch's loader hands out one index at a time, which costs as much as a training step of a small
    model. The order is drawn from the loader's own generator.
    """

    def __len__(self) -> int:
        """How many batches there are."""
        return -(-self.sample_size // self.step)

    def __iter__(self) -> Iterator[Interaction]:  # type: ignore[override]
        """Batches of one epoch, shuffled where the loader shuffles."""
        n = self.sample_size
        order = torch.randperm(n, generator=self.generator) if self.shuffle else torch.arange(n)
        return (self.collate_fn(index) for index in order.split(self.step) if len(index))


class CandidateScorer:
    """The model as RecBole's dynamic sampling uses it: set to eval, asked, and set to train for every batch.

    Nobody reads gradients of these scores; and SGL, by its own ``train``, would draw its views of the
    graph anew each time.
    """

    def __init__(self, model: GeneralRecommender) -> None:
        """Takes the model that is trained."""
        self._model = model

    @property
    def device(self) -> torch.device:
        """The device that the model is on."""
        return self._model.device

    def eval(self) -> None:
        """Sets the modules to eval."""
        torch.nn.Module.train(self._model, False)

    def train(self) -> None:
        """Sets the modules to train."""
        torch.nn.Module.train(self._model, True)

    @torch.no_grad()
    def predict(self, interaction: Interaction) -> torch.Tensor:
        """Scores of pairs, without gradients, on the CPU: RecBole picks by them among ids that are there."""
        return self._model.predict(interaction).cpu()


class BlockTrainDataLoader(WholeBatches, TrainDataLoader):
    """RecBole's loader of training rows with their negatives."""

    def get_model(self, model: GeneralRecommender) -> None:
        """RecBole's hook: the model that ranks the candidates of dynamic negatives."""
        self.model = CandidateScorer(model)


class ActiveUserDataLoader(UserDataLoader):
    """RecBole's ``UserDataLoader`` over the users who interact in the block, not over every id."""

    def __init__(
        self, config: CCDConfig, dataset: IncrementalDataset, users: torch.Tensor | None = None
    ) -> None:
        """Lists the users.

        Args:
            config: the stage's configuration.
            dataset: the block's train part.
            users: the users to visit; default those of ``dataset``.
        """
        self._active = torch.unique(dataset.inter_feat[dataset.uid_field]) if users is None else users
        super().__init__(config, dataset, None, shuffle=True)

    def get_model(self, model: GeneralRecommender) -> None:
        """RecBole's hook for dynamic negatives; whole rows need none."""

    def _init_batch_size_and_step(self) -> None:
        # RecBole calls this hook after listing all users and before torch's loader is built
        self.user_list = Interaction({self.uid_field: self._active})
        self.sample_size = len(self._active)
        super()._init_batch_size_and_step()


@dataclass(frozen=True)
class EvaluatedUsers:
    """The users of a part with what is asked of a model for them: a loader without its dataset.

    Attributes:
        ids: (n,) their ids, rising.
        rows: the same users, with their features where there are any.
        id_field: the field of their ids.
        positives: users × items to recommend.
        history: users × items to mask, of any prefix.
    """

    ids: torch.Tensor
    rows: Interaction
    id_field: str
    positives: csr_matrix
    history: csr_matrix

    def batch(self, index: np.ndarray) -> tuple[Interaction, torch.Tensor, torch.Tensor]:
        """Users at some places (b,), and the places in these and the items of their positives."""
        users = self.ids[index].numpy()
        return self.rows[index], *(torch.from_numpy(part) for part in csr_rows(self.positives, users))

    def history_of(self, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What is masked for some users.

        Args:
            users: ids, shape ``(b,)``.

        Returns:
            Places in ``users`` and item ids, one of each per pair masked.
        """
        places, items = csr_rows(self.history, users.cpu().numpy())
        return torch.from_numpy(places), torch.from_numpy(items)

    def among(
        self, users: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[Interaction, torch.Tensor, torch.Tensor]]:
        """Those of some users that are evaluated here.

        Args:
            users: distinct ids, shape ``(b,)``.

        Returns:
            Their places in ``users`` and a batch of them, as iterating the loader gives it but without their
            history.
        """
        at = torch.searchsorted(self.ids, users).clamp_(max=len(self.ids) - 1)
        found = self.ids[at] == users
        return found.nonzero().squeeze(1), self.batch(at[found].numpy())


class BlockEvalDataLoader(FullSortEvalDataLoader):
    """Full-sort evaluation of one part of a block with the items known at some later moment.

    Yields what RecBole's loader yields, ``(users, (history_row, history_item), positive_row,
    positive_item)``. History items are masked even where they are positives: a repeated item has
    been seen and is not a recommendation.

    Attributes:
        evaluated: the same, for whoever needs it without the dataset.
    """

    def __init__(
        self,
        config: CCDConfig,
        dataset: IncrementalDataset,
        history: csr_matrix,
        population: int | None = None,
    ) -> None:
        """Collects the users of ``dataset`` and their positives.

        Loaders that mask the same items should be given one matrix: users are then ranked once for all.

        Args:
            config: the run's configuration; ``eval_batch_size`` counts scores.
            dataset: the rows to recommend, as a view that knows the items to rank.
            history: users × items to mask, of any prefix.
            population: of how many users those of ``dataset`` are a sample; None where they are all.
        """
        self.population = population
        # RecBole's constructor walks over all interactions in Python and keeps a set per user
        self.logger = getLogger()
        self.uid_field, self.iid_field = dataset.uid_field, dataset.iid_field
        self.is_sequential = False
        self.uid_list = torch.unique(dataset.inter_feat[self.uid_field])
        self.user_df = dataset.join(Interaction({self.uid_field: self.uid_list}))
        positives = dataset.inter_matrix(form="csr")
        self.evaluated = EvaluatedUsers(self.uid_list, self.user_df, self.uid_field, positives, history)
        self.sample_size = len(self.uid_list)
        AbstractDataLoader.__init__(self, config, dataset, None, shuffle=False)

    def collate_fn(
        self, index: list[int]
    ) -> tuple[Interaction, tuple[torch.Tensor, torch.Tensor], torch.Tensor, torch.Tensor]:
        """One batch of users with their history and positives."""
        interaction, *positives = self.evaluated.batch(np.asarray(index))
        return interaction, self.history_of(interaction[self.uid_field]), *positives

    @property
    def history(self) -> csr_matrix:
        """Users × items that are masked."""
        return self.evaluated.history

    def history_of(self, users: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """What is masked for some users (b,), as of :meth:`EvaluatedUsers.history_of`."""
        return self.evaluated.history_of(users)

    @property
    def uid2history_item(self) -> HistoryByUser:
        """What RecBole's ``full_sort_scores`` and ``full_sort_topk`` mask."""
        return HistoryByUser(self)


class HistoryByUser:
    """Items that are masked for some users, as RecBole's case studies ask for them."""

    def __init__(self, loader: BlockEvalDataLoader) -> None:
        """Takes the loader that knows them."""
        self._loader = loader

    def __getitem__(self, users: Sequence[int]) -> list[torch.Tensor]:
        """Item ids for each user.

        Args:
            users: ids, shape ``(b,)``.
        """
        ids = torch.tensor([int(user) for user in users], dtype=torch.int64)
        places, items = self._loader.history_of(ids)
        return [items[places == place] for place in range(len(ids))]


class ReplayDataLoader(WholeBatches):
    """Batches of replayed (user, item, soft label) triples, shuffled."""

    def __init__(
        self,
        config: CCDConfig,
        dataset: IncrementalDataset,
        pairs: tuple[torch.Tensor, torch.Tensor, torch.Tensor],
        seed: int,
        batch_size: int | None = None,
    ) -> None:
        """Wraps drawn pairs.

        Args:
            config: the stage's configuration.
            dataset: any view of the stream, for its field names.
            pairs: users, items and labels, each of shape ``(p,)``.
            seed: seed of the shuffling.
            batch_size: pairs that make a batch; default ``train_batch_size``.
        """
        self._pairs_at_a_time = batch_size or config["train_batch_size"]
        users, items, labels = pairs
        fields = {dataset.uid_field: users, dataset.iid_field: items, REPLAY_LABEL: labels}
        self._triples = Interaction(fields)
        self._device = users.device
        # RecBole's constructor makes a list of as many numbers
        self.sample_size = 0
        super().__init__(config, dataset, None, shuffle=False)
        self.sample_size, self.shuffle = len(users), True
        self.generator.manual_seed(seed)

    def _init_batch_size_and_step(self) -> None:
        self.step = self._pairs_at_a_time
        self.set_batch_size(self.step)

    def collate_fn(self, index: torch.Tensor) -> Interaction:
        """A batch of users, items and labels."""
        index = index.to(self._device)
        return Interaction({field: values[index] for field, values in self._triples.interaction.items()})
