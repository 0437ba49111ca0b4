"""Batches of decoded images, in the order that trainer.order fixes.

Whole shards lie in the local cache; members are read at the offsets that the rows give and decoded by threads.
Usable alone: `for batch in Stream([open_dataset(url)], batch_groups=64, views=2, seed=0)` never ends, and gives every
group once an epoch. A group that cannot be read is replaced by the one a global batch later, counted and named.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from manifests.dataset import DataSet, GroupIndex, decode_image
from manifests.errors import CorruptError, UserError
from trainer.order import Order, choose_views, rank_part
from trainer.targets import Targets

_SUBSTITUTES = 8  # batches looked ahead for a readable group


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


class _Group(NamedTuple):
    """One group's chosen views, and what is known of it."""

    images: NDArray[np.uint8]  # [m, H, W, 3]
    id: int
    label: int
    rows: list[int]
    dataset: int
    group: int


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

    def __iter__(self) -> Generator[Batch]:
        pending: deque[Future[Batch]] = deque()
        start = self.start_groups
        pool = ThreadPoolExecutor(self.workers, thread_name_prefix="decode")
        try:
            while True:
                while len(pending) <= self.workers:
                    pending.append(pool.submit(self.batch, start))
                    start += self.batch_groups
                began = time.perf_counter()
                batch = pending.popleft().result()
                self.wait_s += time.perf_counter() - began
                yield batch
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def batch(self, start: int) -> Batch:
        """Return this rank's part of the global batch whose first slot is `start`."""
        positions = rank_part(start, self.batch_groups, self.rank, self.world)
        slots = self.order.at(positions)
        found = [
            self._readable(*slot)
            for slot in zip(positions.tolist(), slots.dataset.tolist(), slots.group.tolist(), strict=True)
        ]
        rows = torch.tensor([one.rows for one in found], dtype=torch.int64)
        return Batch(
            images=torch.from_numpy(np.stack([one.images for one in found])),  # [b, m, H, W, 3]
            ids=torch.tensor([one.id for one in found], dtype=torch.int64),
            positions=torch.from_numpy(positions),
            labels=torch.tensor([one.label for one in found], dtype=torch.int64),
            rows=rows,
            tokens=None if self.captions is None else self._tokens(found),
            targets=None if self.targets is None else torch.from_numpy(self.targets.values[rows.numpy()]),
            class_ids=None if self.targets is None else torch.from_numpy(self.targets.class_ids[rows.numpy()]),
        )

    def _tokens(self, found: Sequence[_Group]) -> torch.Tensor:
        assert self.captions is not None
        return torch.from_numpy(np.stack([self.captions[one.dataset][one.group] for one in found]).astype(np.int64))

    def _readable(self, position: int, dataset: int, group: int) -> _Group:
        """The group of a slot, or the first readable one of the same place in a later global batch.

        What failed before must not matter here: a resumed run has not seen it fail.
        """
        for batches_later in range(1, _SUBSTITUTES + 1):
            try:
                return self._group(position, dataset, group)
            except CorruptError as error:
                self._note_unreadable(str(self._indexes[dataset].key[group]), str(error))
            dataset, _, group = self.order.slot(position + batches_later * self.batch_groups)
        raise UserError(
            f"slot {position} and its {_SUBSTITUTES - 1} substitutes are unreadable; choose another data set"
        )

    def _group(self, position: int, dataset: int, group: int) -> _Group:
        index = self._indexes[dataset]
        stored = index.offsets.shape[1]
        views = choose_views(self.seed, np.array([position]), stored, self.views)[0].tolist()
        shard = int(index.shard_position[group])
        images = [self._image(dataset, shard, int(index.offsets[group, v]), int(index.sizes[group, v])) for v in views]
        first = self._first_rows[dataset] + group * stored
        rows = [first + view for view in views]
        return _Group(np.stack(images), int(index.positive_id[group]), int(index.label[group]), rows, dataset, group)

    def _image(self, dataset: int, shard: int, offset: int, size: int) -> NDArray[np.uint8]:
        source = self.datasets[dataset]
        data = source.read(shard, offset, size)
        try:
            image = decode_image(data)
        except CorruptError as error:
            raise CorruptError(
                f"{source.url}/{source.version.shards[shard].shard.name} at {offset}: {error}"
            ) from error
        if image.shape[:2] == self.size:
            return image
        height, width = self.size
        return np.asarray(ImageOps.fit(Image.fromarray(image), (width, height), Image.Resampling.BICUBIC))

    def _note_unreadable(self, key: str, reason: str) -> None:
        with self._lock:
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
