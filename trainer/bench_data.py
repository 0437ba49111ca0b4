"""How fast the loader is alone, beside its ceiling: decoding the same images from memory with as many threads."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

import numpy as np

from manifests.dataset import DataSet, open_dataset
from trainer.config import RunConfig
from trainer.decode import decode_into
from trainer.stream import Batch, Stream

ROUNDS = 5
_AT_ONCE = 64  # images that a thread decodes into one array, as the loader's do


@dataclass(frozen=True)
class Rates:
    """Medians over interleaved rounds, images/s."""

    loader: float
    decoding: float

    @property
    def fraction(self) -> float:
        """Return the share of the ceiling that the loader reaches."""
        return self.loader / self.decoding


def bench_data(config: RunConfig, urls: Sequence[str], images: int) -> Rates:
    """Read batches as a run would, and decode as many images from memory, in turns.

    Raises: UserError for data that do not fit the config.
    """
    datasets = [open_dataset(url) for url in urls]
    data = config.data
    stream = Stream(
        datasets,
        batch_groups=config.batch_groups,
        views=data.views,
        seed=config.seed,
        weights=data.weights,
        window_groups=data.window_groups,
        size_px=data.size_px,
        workers=data.workers,
    )
    stored = stored_images(datasets[0], images)
    batches = max(1, images // config.batch_images)
    decode_all(stored, stream.size, data.workers)
    loader, decoding = [], []
    for _ in range(ROUNDS):
        loader.append(config.batch_images * batches / loading_s(stream, batches))
        decoding.append(len(stored) / decode_all(stored, stream.size, data.workers))
    return Rates(sorted(loader)[ROUNDS // 2], sorted(decoding)[ROUNDS // 2])


def loading_s(stream: Stream, batches: int) -> float:
    """Time batches of a stream that is already going; what it holds ready before and after balances."""
    with closing(iter(stream)) as going:
        _pass(going, 3 * stream.batches_ahead)
        began = time.perf_counter()
        _pass(going, batches)
        return time.perf_counter() - began


def _pass(batches: Iterator[Batch], count: int) -> None:
    """Take batches as a loop does that holds one at a time."""
    for _ in islice(batches, count):
        pass


def stored_images(dataset: DataSet, images: int) -> list[bytes]:
    """Read the first images of a data set as they are stored."""
    index = dataset.groups()
    views = index.offsets.shape[1]
    chosen = islice(((group, view) for group in range(len(index.key)) for view in range(views)), images)
    return [
        dataset.read(int(index.shard_position[group]), int(index.offsets[group, view]), int(index.sizes[group, view]))
        for group, view in chosen
    ]


def decode_all(stored: Sequence[bytes], size: tuple[int, int], workers: int) -> float:
    """Decode images with a number of threads, as the loader does, and return the seconds it took."""

    def decode_some(first: int) -> None:
        some = stored[first : first + _AT_ONCE]
        for pixels, data in zip(np.empty((len(some), *size, 3), np.uint8), some, strict=True):
            decode_into(pixels, data)

    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(decode_some, range(0, len(stored), _AT_ONCE)))
    return time.perf_counter() - began
