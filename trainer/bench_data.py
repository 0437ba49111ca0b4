"""How fast the loader is alone, beside its ceiling: decoding the same images from memory with as many threads."""

from __future__ import annotations

import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice

from manifests.dataset import DataSet, decode_image, open_dataset
from trainer.config import RunConfig
from trainer.stream import Stream

WARM_UP_BATCHES = 2
ROUNDS = 5


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
    stored = _stored(datasets[0], images)
    batches = max(1, images // config.batch_images)
    loader, decoding = [], []
    with closing(iter(stream)) as batch_iterator:
        list(islice(batch_iterator, WARM_UP_BATCHES))
        for _ in range(ROUNDS):
            began = time.perf_counter()
            list(islice(batch_iterator, batches))
            loader.append(batches * config.batch_images / (time.perf_counter() - began))
            decoding.append(_decoded(stored, data.workers))
    return Rates(sorted(loader)[ROUNDS // 2], sorted(decoding)[ROUNDS // 2])


def _stored(dataset: DataSet, images: int) -> list[bytes]:
    index = dataset.groups()
    views = index.offsets.shape[1]
    chosen = islice(((group, view) for group in range(len(index.key)) for view in range(views)), images)
    return [
        dataset.read(int(index.shard_position[group]), int(index.offsets[group, view]), int(index.sizes[group, view]))
        for group, view in chosen
    ]


def _decoded(stored: Sequence[bytes], workers: int) -> float:
    began = time.perf_counter()
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(decode_image, stored, chunksize=32))
    return len(stored) / (time.perf_counter() - began)
