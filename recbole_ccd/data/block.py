"""One block of a stream: what it brings, what is known by then, and the loaders to learn and test with."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch
from recbole.data import get_dataloader
from recbole.data.dataloader import UserDataLoader
from recbole.data.dataloader.abstract_dataloader import AbstractDataLoader
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.model.general_recommender import NGCF, SGL, LightGCN
from scipy.sparse import csr_matrix

from recbole_ccd.data.block_index import BlockIndex
from recbole_ccd.data.dataloader import ActiveUserDataLoader, BlockEvalDataLoader, BlockTrainDataLoader
from recbole_ccd.data.dataset import IncrementalDataset
from recbole_ccd.data.negative_sampler import NegativeSampler
from recbole_ccd.data.sparse import binary_matrix, contains
from recbole_ccd.data.splitting import TEST, TRAIN, VALID
from recbole_ccd.utils.errors import DataError
from recbole_ccd.utils.seeding import numpy_generator

if TYPE_CHECKING:
    from recbole_ccd.config import CCDConfig


def learns_from_rows(config: CCDConfig) -> bool:
    """Whether the configured model trains on users' whole rows (auto-encoders, ENMF), as RecBole has it."""
    return issubclass(get_dataloader(config, "train"), UserDataLoader)


def reads_graph(model_class: type[AbstractRecommender]) -> bool:
    """Whether models of this class propagate over a graph of interactions."""
    return issubclass(model_class, LightGCN | NGCF | SGL)


class Block:
    """One block of the stream, or the part of it that has arrived so far.

    Attributes:
        index: position in the stream, 0 for the base block.
        previous: the whole block before this one; None for the base block.
        n_users: users known once this block has arrived, [PAD] included; ids are ``< n_users``.
        n_items: items known once this block has arrived, [PAD] included.
        n_old_users: users known before this block, [PAD] included (1 for the base block).
        n_old_items: items known before this block, [PAD] included.
        valid: its valid rows; may be empty.
        test: its test rows.
    """

    def __init__(
        self,
        source: BlockIndex,
        index: int,
        rows: dict[int, np.ndarray],
        known: tuple[int, int],
        old: tuple[int, int],
        previous: Block | None = None,
        arrived: np.ndarray | None = None,
        earlier: np.ndarray | None = None,
    ) -> None:
        """Made by :class:`BlockStream`.

        Args:
            source: the rows of the stream.
            index: its position.
            rows: row numbers of the train, valid and test part.
            known: users and items known with this block, [PAD] included.
            old: users and items known before it, [PAD] included.
            previous: the block before.
            arrived: for a piece of a block, the block's train rows so far, this piece's included.
            earlier: train rows of earlier blocks that are learned again.
        """
        self._source, self._rows = source, rows
        self._arrived = rows[TRAIN] if arrived is None else arrived
        self._earlier = rows[TRAIN][:0] if earlier is None else earlier
        self._learned = (
            np.concatenate([self._earlier, self._arrived]) if len(self._earlier) else self._arrived
        )
        self.index, self.previous = index, previous
        self.n_users, self.n_items = known
        self.n_old_users, self.n_old_items = old
        self.valid, self.test = map(self._view, (rows[VALID], rows[TEST]))

    def __repr__(self) -> str:
        """The block's sizes, without [PAD]."""
        return (
            f"Block({self.index}: {len(self.train)}/{len(self.valid)}/{len(self.test)} interactions, "
            f"{self.n_users - 1} users, {self.n_items - 1} items)"
        )

    def _view(self, rows: np.ndarray, known_at: Block | None = None) -> IncrementalDataset:
        now = known_at or self
        return self._source.dataset.view(rows, now.n_users, now.n_items)

    @property
    def before(self) -> Block:
        """:attr:`previous` of a block that has one.

        Raises:
            ValueError: it is the base block.
        """
        if self.previous is None:
            raise ValueError("there is no block before the base block")
        return self.previous

    @property
    def new_users(self) -> torch.Tensor:
        """Ids of the users who arrive with this block, shape ``(n,)``."""
        return torch.arange(self.n_old_users, self.n_users)

    @property
    def new_items(self) -> torch.Tensor:
        """Ids of the items that arrive with this block, shape ``(n,)``."""
        return torch.arange(self.n_old_items, self.n_items)

    @cached_property
    def train(self) -> IncrementalDataset:
        """The train rows to learn as a RecBole data set that knows the prefix.

        These are the block's, and those of earlier blocks that :meth:`with_earlier` has added.
        """
        return self._view(np.concatenate([self._earlier, self._rows[TRAIN]]))

    @cached_property
    def train_matrix(self) -> csr_matrix:
        """Train interactions of the block (so far) as 0/1, users × items of the known prefix, float32.

        Those added by :meth:`with_earlier` are among them.
        """
        return binary_matrix(self._view(self._learned))

    @cached_property
    def train_so_far(self) -> csr_matrix:
        """Train interactions of all blocks up to this one as 0/1, of the known prefix, float32."""
        return binary_matrix(self._view(self._train_rows_so_far()))

    @cached_property
    def recent_train_matrix(self) -> csr_matrix:
        """Train interactions of this block (so far) and the one before as 0/1, known prefix only, float32."""
        earlier = self._source.before(self.index, (TRAIN,))[-1:]
        return binary_matrix(self._view(np.concatenate([*earlier, self._learned])))

    @property
    def n_train_so_far(self) -> int:
        """Train interactions of all blocks up to this one, of this one those that have arrived."""
        return len(self._train_rows_so_far())

    def _train_rows_so_far(self) -> np.ndarray:
        return np.concatenate([*self._source.before(self.index, (TRAIN,)), self._arrived])

    def release(self) -> None:
        """Forgets the train rows and the matrices derived so far; they are made anew when asked for."""
        self.release_rows()
        for name in ("train_matrix", "train_so_far", "recent_train_matrix"):
            self.__dict__.pop(name, None)

    def release_rows(self) -> None:
        """Forgets the train rows, of which the matrices are left."""
        self.__dict__.pop("train", None)

    def model_data(self, config: CCDConfig) -> IncrementalDataset:
        """The rows a model is built on: its graph, or the histories it learns from.

        With ``graph: cumulative`` these are the train rows of all blocks so far, which serve propagation
        only. Models that *train* on whole rows get this block's rows, since the past is not for training.

        Args:
            config: the model's configuration.
        """
        cumulative = config["graph"] == "cumulative" and not learns_from_rows(config)
        return self._view(self._train_rows_so_far() if cumulative else self._learned)

    def train_loader(
        self,
        config: CCDConfig,
        seed: int,
        exclude: csr_matrix | None = None,
        users: torch.Tensor | None = None,
    ) -> AbstractDataLoader:
        """RecBole's train loader for the configured model, with negatives among known items.

        Args:
            config: the stage's configuration.
            seed: seed of shuffling and negatives.
            exclude: pairs that must not be drawn as negatives, of any earlier prefix.
            users: for models that train on whole rows, the users to visit; default those of the block.
        """
        if learns_from_rows(config):
            loader: AbstractDataLoader = ActiveUserDataLoader(config, self.train, users)
        else:
            args = config["train_neg_sample_args"]
            sampler = None
            if args["distribution"] != "none":
                sampler = NegativeSampler(
                    self.train_matrix, args["distribution"], args["alpha"], exclude, seed
                )
            loader = BlockTrainDataLoader(config, self.train, sampler, shuffle=config["shuffle"])
        loader.generator.manual_seed(seed)
        return loader

    def check_negatives(self) -> None:
        """Refuses users for whom no negative can be drawn.

        Raises:
            DataError: If a user has interacted with every known item.
        """
        full = NegativeSampler.saturated_users(self.train_matrix)
        if len(full):
            token = self._source.dataset.field2id_token[self.train.uid_field][full[0]]
            raise DataError(
                f"user '{token}' has interacted with all {self.n_items - 1} items known in block "
                f"{self.index}, so no negative can be drawn; filter with user_inter_num_interval, "
                "or leave the user out of the block's own file"
            )

    def valid_loaders(self, config: CCDConfig) -> list[BlockEvalDataLoader]:
        """Full-sort loaders of what early stopping looks at, ranking the items known here.

        Args:
            config: the stage's configuration; ``valid_blocks`` tells whether the valid parts of the
                blocks before are looked at too, ``valid_mask_test`` whether test items are masked.

        Returns:
            One loader per block with valid rows, its train part masked; none where no block has any.
        """
        masked = (TRAIN, TEST) if config["valid_mask_test"] else (TRAIN,)
        blocks = [self]
        while config["valid_blocks"] == "seen" and blocks[-1].previous is not None:
            blocks.append(blocks[-1].previous)
        loaders = [
            block._eval_loader(config, block._rows[VALID], block._history(masked, config, self), self)
            for block in blocks
        ]
        return [loader for loader in loaders if loader is not None]

    @property
    def whole(self) -> IncrementalDataset:
        """All interactions of the stream that have a known user and item, as one data set."""
        rows = np.arange(len(self._source.dataset.inter_feat))
        return self._view(self._source.only_known(rows, (self.n_users, self.n_items)))

    def valid_loader(self, config: CCDConfig) -> BlockEvalDataLoader | None:
        """Full-sort loader of this block's valid part, its train items masked; None where it has no row.

        Args:
            config: the run's configuration.
        """
        return self._eval_loader(config, self._rows[VALID], self._history((TRAIN,), config))

    def test_loader(self, config: CCDConfig) -> BlockEvalDataLoader | None:
        """The same of its test part, its train and valid items masked.

        Args:
            config: the run's configuration.
        """
        return self._eval_loader(config, self._rows[TEST], self._history((TRAIN, VALID), config))

    def measured_loader(
        self,
        config: CCDConfig,
        known_at: Block | None = None,
        users_from: int = 0,
        items_from: int = 0,
        history: csr_matrix | None = None,
    ) -> BlockEvalDataLoader | None:
        """Full-sort loader of the part that R is measured on, ranking the items known at a later block.

        This is the test part, this block's train and valid items masked (CCD's published experiment), or
        with ``eval_part: valid`` the valid part, the train items masked. With ``mask_history: all`` the
        items of every block up to ``known_at`` are masked.

        Args:
            config: the run's configuration.
            known_at: the block whose items are ranked; default this one.
            users_from: leave out users with smaller ids, to look at new users alone.
            items_from: leave out items to find with smaller ids, to look at new items alone.
            history: the items to mask, where another loader of this block and this moment holds them; users
                are then ranked once for both.

        Returns:
            The loader, or None when no row is left.
        """
        measured, masked = (VALID, (TRAIN,)) if config["eval_part"] == "valid" else (TEST, (TRAIN, VALID))
        rows, feat = self._rows[measured], self._source.dataset.inter_feat
        users, items = (feat[field].numpy()[rows] for field in (self.test.uid_field, self.test.iid_field))
        rows = rows[(users >= users_from) & (items >= items_from)]
        history = self._history(masked, config, known_at) if history is None else history
        return self._measuring_loader(config, rows, history, known_at)

    def next_loader(self, config: CCDConfig) -> BlockEvalDataLoader | None:
        """Full-sort loader of this block for a model of the block before, which has not learned it.

        Each pair of a known user and a known item that this block brings is to be found, once, among the
        items known at the block before; pairs that the user has had in any block before are masked, and not
        to be found. All parts count. With ``eval_part: valid`` no test part is looked at: of this block the
        valid part alone is to be found, and of those before train and valid parts alone are masked.

        Args:
            config: the run's configuration.

        Returns:
            The loader, or None when no pair is left.
        """
        before, had = self.before, (TRAIN, VALID) if config["eval_part"] == "valid" else (TRAIN, VALID, TEST)
        earlier = np.concatenate(self._source.before(self.index, had))
        history = binary_matrix(self._view(earlier, before))
        rows = self._source.only_known(self._brought(config), (before.n_users, before.n_items))
        rows = rows[~contains(history, *self._source.pairs_of(rows))]
        users, items = self._source.pairs_of(rows)
        _, first = np.unique(users * before.n_items + items, return_index=True)
        return self._measuring_loader(config, rows[np.sort(first)], history, before)

    def unserved(self, config: CCDConfig) -> dict[str, float]:
        """What this block brings that no model of the block before can serve.

        Args:
            config: the run's configuration; with ``eval_part: valid`` the valid part alone is looked at.

        Returns:
            The share of the block's ``users`` that were not known, of its ``items`` that were not, and of its
            ``interactions`` with either of them; 0 where it brings nothing.
        """
        users, items = self._source.pairs_of(self._brought(config))
        new_user, new_item = users >= self.before.n_users, items >= self.before.n_items
        return {
            "users": _share(np.unique(users) >= self.before.n_users),
            "items": _share(np.unique(items) >= self.before.n_items),
            "interactions": _share(new_user | new_item),
        }

    def _brought(self, config: CCDConfig) -> np.ndarray:
        parts = (VALID,) if config["eval_part"] == "valid" else (TRAIN, VALID, TEST)
        return np.concatenate([self._rows[part] for part in parts])

    def _history(
        self, parts: tuple[int, ...], config: CCDConfig, known_at: Block | None = None
    ) -> csr_matrix:
        rows = [self._arrived if part == TRAIN else self._rows[part] for part in parts]
        if config["mask_history"] == "all":
            now = known_at or self
            rows += self._source.before(now.index, parts, skip=self.index)
            if now.index != self.index:
                # of a block that arrives in pieces there is no more than has arrived
                rows += [now._arrived if part == TRAIN else now._rows[part] for part in parts]
        return binary_matrix(self._view(np.concatenate(rows), known_at))

    def _eval_loader(
        self, config: CCDConfig, rows: np.ndarray, history: csr_matrix, known_at: Block | None = None
    ) -> BlockEvalDataLoader | None:
        return BlockEvalDataLoader(config, self._view(rows, known_at), history) if len(rows) else None

    def _measuring_loader(
        self, config: CCDConfig, rows: np.ndarray, history: csr_matrix, known_at: Block | None = None
    ) -> BlockEvalDataLoader | None:
        """Of these rows, those of ``eval_users`` users; of all where the key is not set.

        Users stand in one random order for the whole block, and the first ones that have rows are taken: so
        whoever is drawn does not depend on strategy, role, or moment, and parts share their users.
        """
        wanted = config["eval_users"]
        if wanted is None or not len(rows):
            return self._eval_loader(config, rows, history, known_at)
        users, _ = self._source.pairs_of(rows)
        distinct = np.unique(users)
        place = numpy_generator(config["seed"], "evaluation users", self.index).permutation(self.n_users)
        drawn = distinct[np.argsort(place[distinct])[:wanted]]
        sample = self._view(rows[np.isin(users, drawn)], known_at)
        return BlockEvalDataLoader(config, sample, history, len(distinct))

    @property
    def earlier_train_rows(self) -> list[np.ndarray]:
        """Row numbers of the train part of each block before this one, in the stream's order."""
        return self._source.before(self.index, (TRAIN,))

    def pairs_of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """User and item of some rows of this block or of earlier ones."""
        return self._source.pairs_of(rows)

    def with_all_earlier(self) -> Block:
        """The block with the train rows of all blocks before it; the base block has none."""
        return self.with_earlier(np.concatenate(self.earlier_train_rows)) if self.index else self

    def with_earlier(self, rows: np.ndarray) -> Block:
        """A block like this one, with earlier train rows to learn again.

        They count as this block's own in its loader, its negatives, its graph and its matrices. What is
        measured stays as it was: validation and test parts, and which items are masked there.

        Args:
            rows: row numbers out of :attr:`earlier_train_rows`, in the order wanted.

        Raises:
            ValueError: If a row is no train row of an earlier block.
        """
        if not np.isin(rows, np.concatenate([*self.earlier_train_rows, rows[:0]])).all():
            raise ValueError(f"block {self.index} can only learn again what earlier blocks have trained on")
        known, old = (self.n_users, self.n_items), (self.n_old_users, self.n_old_items)
        return Block(self._source, self.index, self._rows, known, old, self.previous, self._arrived, rows)

    def among_known(self) -> Block | None:
        """What the block says about the users and items that were known before it.

        Returns:
            A block of the size of the one before, with this block's train rows of such users and items and
            nothing to validate or test on. Users who have had all of these items, so that no negative could
            be drawn, are left out. None where no row is left.
        """
        known = (self.before.n_users, self.before.n_items)
        rows = self._source.only_known(self._arrived, known)
        users, _ = self._source.pairs_of(rows)
        matrix = binary_matrix(self._view(rows, self.before))
        rows = rows[~np.isin(users, NegativeSampler.saturated_users(matrix))]
        parts = {TRAIN: rows, VALID: rows[:0], TEST: rows[:0]}
        return Block(self._source, self.index, parts, known, known, self.previous) if len(rows) else None

    def parts(self, n: int) -> list[Block]:
        """The block as it arrives in ``n`` pieces, for several student updates inside it.

        Args:
            n: number of pieces, of each file where it came in several; empty ones are left out.

        Returns:
            Blocks of this index. Each holds its piece of the train rows, knows the ids arrived with it
            or before, and validates on the valid rows that have arrived and whose user and item are known.
        """
        files = self._source.arrivals(self.index)
        if n == len(files) == 1:
            return [self]
        parts, old = [], (self.n_old_users, self.n_old_items)
        for start, end in files:
            part = {name: rows[(rows >= start) & (rows < end)] for name, rows in self._rows.items()}
            n_pieces = min(n, max(len(part[TRAIN]), 1))
            pieces = [piece for piece in np.array_split(part[TRAIN], n_pieces) if len(piece)]
            for number, piece in enumerate(pieces):
                # the last one brings whoever is only to be found in the valid and test parts
                whole = number == len(pieces) - 1
                brought = np.concatenate(list(part.values())) if whole else piece
                known = self._source.known_with(brought, old)
                parts.append(self._piece(piece, end if whole else pieces[number + 1][0], known, old))
                old = known
        return parts

    def _piece(self, train: np.ndarray, end: int, known: tuple[int, int], old: tuple[int, int]) -> Block:
        """Some train rows, when the rows before ``end`` have arrived and these ids are known."""
        valid, test, arrived = (self._rows[part] for part in (VALID, TEST, TRAIN))
        rows = {
            TRAIN: train,
            VALID: self._source.only_known(valid[valid < end], known),
            TEST: self._source.only_known(test[test < end], known),
        }
        arrived = arrived[arrived <= train[-1]]
        return Block(self._source, self.index, rows, known, old, self.previous, arrived)


def _share(chosen: np.ndarray) -> float:
    return float(chosen.mean()) if len(chosen) else 0.0
