"""Batches of decoded images, in the order that trainer.order fixes.

Whole shards lie in the local cache; members are read at the offsets that the rows give and decoded by threads.
Usable alone: `for batch in Stream([open_dataset(url)], batch_groups=64, views=2, seed=0)` never ends, and gives every
group once an epoch. A group that cannot be read is replaced by the one a global batch later, counted and named.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import pairwise, zip_longest
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from manifests.dataset import DataSet, GroupIndex, decode_image
from manifests.errors import CorruptError, UserError
from trainer.buffers import Buffers
from trainer.decode import decode_into
from trainer.order import Order, choose_views, rank_part
from trainer.targets import Targets

_LOG = logging.getLogger(__name__)
_SUBSTITUTES = 8  # batches looked ahead for a readable group
_PART_GROUPS = 64  # of a batch that one worker fills at a time
_PARTS_AHEAD = 2  # per worker


class Batch(NamedTuple):
    """One rank's part of a global batch: b groups, m views of each."""

    images: torch.Tensor  # uint8 [b, m, H, W, 3]
    ids: torch.Tensor  # int64 [b], the positive_id of each group
    positions: torch.Tensor  # int64 [b], the slot of each group: global, unique, grows by the batch
    labels: torch.Tensor  # int64 [b], −1 where there is none
    rows: torch.Tensor  # int64 [b, m], each image's place among all images that the data sets hold
    tokens: torch.Tensor | None  # int64 [b, L], the groups' captions, where the stream was given them
    targets: torch.Tensor | None = None  # float32 [b, m, T], what made each image, where the stream was given it
    class_ids: torch.Tensor | None = None  # int64 [b, m], with targets: the class that was asked for, −1 for none


class _Draft(NamedTuple):
    """A batch that workers fill in, each a part of it: slices share their memory."""

    positions: NDArray[np.int64]  # [b]
    images: NDArray[np.uint8]  # [b, m, H, W, 3]
    dataset: NDArray[np.int64]  # [b]
    group: NDArray[np.int64]  # [b]
    views: NDArray[np.int64]  # [b, m]

    def part(self, first: int, end: int) -> _Draft:
        of = slice(first, end)
        return _Draft(self.positions[of], self.images[of], self.dataset[of], self.group[of], self.views[of])


class Stream:
    """An endless iterable of batches; a checkpoint resumes at start_groups = its images_seen // views.

    Units: batch_groups counts groups over all ranks; size_px = side that images of another size are brought to
    (default: the data set's first image as stored); wait_s = seconds that the consumer was kept waiting.
    Raises: UserError for options that do not fit the data, and once more than corrupt_budget groups failed.
    """

    def __init__(
        self,
        datasets: Sequence[DataSet],
        *,
        batch_groups: int,
        views: int,
        seed: int,
        start_groups: int = 0,
        weights: Sequence[float] | None = None,
        window_groups: int = 16_384,
        size_px: int | None = None,
        workers: int = 2,
        rank: int = 0,
        world: int = 1,
        corrupt_budget: int = 16,
        captions: Sequence[NDArray[np.int32]] | None = None,
        targets: Targets | None = None,
    ) -> None:
        self.captions, self.targets = captions, targets
        self.datasets = list(datasets)
        self._indexes = [dataset.groups() for dataset in self.datasets]
        _check(self.datasets, self._indexes, batch_groups, views, world)
        sizes = [_shard_sizes(index) for index in self._indexes]
        self._stored_views = [index.offsets.shape[1] for index in self._indexes]
        stored = [index.offsets.size for index in self._indexes]
        self._first_rows = np.concatenate([[0], np.cumsum(stored)]).astype(int).tolist()
        try:
            self.order = Order(sizes, seed=seed, weights=weights, window=window_groups)
        except ValueError as error:
            raise UserError(f"data: {error}") from None
        self.batch_groups, self.views, self.seed = batch_groups, views, seed
        self.start_groups, self.workers, self.rank, self.world = start_groups, workers, rank, world
        self.size = (size_px, size_px) if size_px else _stored_size(self.datasets[0], self._indexes[0])
        self.corrupt_budget = corrupt_budget
        self.unreadable: dict[str, str] = {}  # key of the group -> why
        self.wait_s = 0.0
        self._lock = Lock()

    @property
    def stored_images(self) -> int:
        """Count the images of all data sets."""
        return int(self._first_rows[-1])

    @property
    def classes(self) -> int:
        """Count the labels: one more than the largest."""
        return 1 + max(int(index.label.max()) for index in self._indexes)

    def check_labels(self) -> None:
        """Refuse labels that are numbers of different things: they are compared by number over all data sets.

        Raises: UserError naming the first label that differs.
        """
        labelled = [one for one, index in zip(self.datasets, self._indexes, strict=True) if (index.label >= 0).any()]
        for first, other in pairwise(labelled):
            names = [one.version.label_names for one in (first, other)]
            for number, (mine, theirs) in enumerate(zip_longest(*names)):
                if mine != theirs:
                    raise UserError(
                        f"label {number} is {_named(mine)} in {first.url} and {_named(theirs)} in {other.url}: labels "
                        "are matched by number; mix data sets with the same label_names, or take an objective that "
                        "reads none"
                    )

    def __iter__(self) -> Generator[Batch]:
        pending: deque[tuple[_Draft, list[Future[None]]]] = deque()
        start = self.start_groups
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        buffers = Buffers(self._images_shape, most_kept=self.batches_ahead + 1)
        try:
            while True:
                while len(pending) < self.batches_ahead:
                    pending.append(self._begun(pool, self._draft(start, buffers.take())))
                    start += self.batch_groups
                began = time.perf_counter()
                draft, parts = pending.popleft()
                for part in parts:
                    part.result()
                self.wait_s += time.perf_counter() - began
                yield self._finished(draft)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    @property
    def batches_ahead(self) -> int:
        """Count the batches that lie in memory, begun or ready: two, or as many as keep all workers busy."""
        groups = self.batch_groups // self.world
        return 1 + max(1, -(-_PARTS_AHEAD * self.workers * _PART_GROUPS // groups))

    def batch(self, start: int) -> Batch:
        """Return this rank's part of the global batch whose first slot is `start`."""
        draft = self._draft(start, np.empty(self._images_shape, np.uint8))
        self._fill(draft)
        return self._finished(draft)

    @property
    def _images_shape(self) -> tuple[int, ...]:
        return (self.batch_groups // self.world, self.views, *self.size, 3)

    def _draft(self, start: int, images: NDArray[np.uint8]) -> _Draft:
        positions = rank_part(start, self.batch_groups, self.rank, self.world)
        b, m = images.shape[:2]
        return _Draft(positions, images, np.empty(b, np.int64), np.empty(b, np.int64), np.empty((b, m), np.int64))

    def _begun(self, pool: ThreadPoolExecutor, draft: _Draft) -> tuple[_Draft, list[Future[None]]]:
        firsts = range(0, len(draft.positions), _PART_GROUPS)
        return draft, [pool.submit(self._fill, draft.part(first, first + _PART_GROUPS)) for first in firsts]

    def _fill(self, draft: _Draft, batches_later: int = 0) -> None:
        """Read and decode the groups of a draft's slots, or of the same places in a later global batch.

        What failed before must not matter here: a resumed run has not seen it fail.
        """
        if batches_later == _SUBSTITUTES:
            raise UserError(
                f"slot {draft.positions[0]} and its {_SUBSTITUTES - 1} substitutes are unreadable; "
                "choose another data set"
            )
        slots = self.order.at(draft.positions + batches_later * self.batch_groups)
        draft.dataset[:], draft.group[:] = slots.dataset, slots.group
        for dataset in sorted(set(slots.dataset.tolist())):
            self._fill_from(dataset, np.flatnonzero(slots.dataset == dataset), draft, batches_later)

    def _fill_from(self, dataset: int, places: NDArray[np.intp], draft: _Draft, batches_later: int) -> None:
        index = self._indexes[dataset]
        groups, stored = draft.group[places], index.offsets.shape[1]
        views = choose_views(self.seed, draft.positions[places], stored, self.views)
        draft.views[places] = views
        shards = index.shard_position[groups].tolist()
        offsets, sizes = (np.take_along_axis(of[groups], views, 1).tolist() for of in (index.offsets, index.sizes))
        for place, shard, *members in zip(places.tolist(), shards, offsets, sizes, strict=True):
            try:
                self._fill_images(draft.images[place], dataset, shard, *members)
            except CorruptError as error:
                self._note_unreadable(str(index.key[draft.group[place]]), str(error))
                self._fill(draft.part(place, place + 1), batches_later + 1)

    def _fill_images(
        self, images: NDArray[np.uint8], dataset: int, shard: int, offsets: Sequence[int], sizes: Sequence[int]
    ) -> None:
        source = self.datasets[dataset]
        for pixels, offset, size in zip(images, offsets, sizes, strict=True):
            data = source.read(shard, offset, size)
            try:
                decode_into(pixels, data)
            except CorruptError as error:
                name = f"{source.url}/{source.version.shards[shard].shard.name}"
                raise CorruptError(f"{name} at {offset}: {error}") from error

    def _finished(self, draft: _Draft) -> Batch:
        first = np.array(self._first_rows)[draft.dataset] + draft.group * np.array(self._stored_views)[draft.dataset]
        rows = first[:, None] + draft.views  # [b, m]
        return Batch(
            images=torch.from_numpy(draft.images),  # [b, m, H, W, 3]
            ids=torch.from_numpy(self._column("positive_id", draft)),
            positions=torch.from_numpy(draft.positions),
            labels=torch.from_numpy(self._column("label", draft)),
            rows=torch.from_numpy(rows),
            tokens=None if self.captions is None else self._tokens(self.captions, draft),
            targets=None if self.targets is None else torch.from_numpy(self.targets.values[rows]),
            class_ids=None if self.targets is None else torch.from_numpy(self.targets.class_ids[rows]),
        )

    def _column(self, name: str, draft: _Draft) -> NDArray[np.int64]:
        column = np.empty(len(draft.group), np.int64)
        for dataset in range(len(self.datasets)):
            here = draft.dataset == dataset
            column[here] = getattr(self._indexes[dataset], name)[draft.group[here]]
        return column

    @staticmethod
    def _tokens(captions: Sequence[NDArray[np.int32]], draft: _Draft) -> torch.Tensor:
        chosen = zip(draft.dataset.tolist(), draft.group.tolist(), strict=True)
        return torch.from_numpy(np.stack([captions[dataset][group] for dataset, group in chosen]).astype(np.int64))

    def _note_unreadable(self, key: str, reason: str) -> None:
        with self._lock:
            if key not in self.unreadable:
                _LOG.warning("group %s is unreadable, another one stands in: %s", key, reason)
            self.unreadable[key] = reason
            if len(self.unreadable) > self.corrupt_budget:
                raise UserError(
                    f"{len(self.unreadable)} groups are unreadable, corrupt_budget is {self.corrupt_budget}; "
                    f"last: {key}: {reason}; `python -m manifests verify --deep` lists them all"
                )


def _check(
    datasets: Sequence[DataSet], indexes: Sequence[GroupIndex], batch_groups: int, views: int, world: int
) -> None:
    if batch_groups < 1 or batch_groups % world:
        raise UserError(
            f"a batch of {batch_groups} groups cannot be cut into {world} equal parts; choose a multiple of {world}"
        )
    for dataset, index in zip(datasets, indexes, strict=True):
        stored = index.offsets.shape[1]
        if views > stored:
            raise UserError(
                f"{views} views a group are wanted, {dataset.url} has {stored}; set data.views to {stored} or less"
            )
    groups = sum(len(index.offsets) for index in indexes)
    if groups < batch_groups:
        raise UserError(f"a batch of {batch_groups} groups is larger than the data ({groups}); choose smaller batches")


def _named(label: str | None) -> str:
    return "without a name" if label is None else repr(label)


def _shard_sizes(index: GroupIndex) -> list[int]:
    return [int(groups) for groups in np.bincount(index.shard_position)]


def _stored_size(dataset: DataSet, index: GroupIndex) -> tuple[int, int]:
    """Height and width of the first image that can be read."""
    for group in range(min(_SUBSTITUTES, len(index))):
        try:
            data = dataset.read(
                int(index.shard_position[group]), int(index.offsets[group, 0]), int(index.sizes[group, 0])
            )
            height, width, _ = decode_image(data).shape
            return height, width
        except CorruptError as error:
            last = error
    raise last
