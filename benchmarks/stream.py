"""The trainer's stream beside decoding the same images from memory, and beside webdataset on the same shards."""

from __future__ import annotations

import io
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from benchmarks.pairs import Row, seconds, timed_ratio

if TYPE_CHECKING:
    from manifests.dataset import DataSet

WORKERS, BATCH_GROUPS = 2, 64
SETS = {64: 4096, 256: 1024}  # side in pixels: images
SHARD_GROUPS, WARM_UP_BATCHES = 256, 16


def measure(out: Path) -> list[Row]:
    """Read one epoch; shards lie in the page cache, as they do after the first epoch."""
    with tempfile.TemporaryDirectory(dir=out) as folder:
        return [row for size_px, images in SETS.items() for row in _measure(size_px, images, Path(folder))]


def _measure(size_px: int, images: int, folder: Path) -> list[Row]:
    from manifests import open_dataset
    from trainer.bench_data import decode_all, loading_s, stored_images
    from trainer.stream import Stream

    dataset = open_dataset(_data_set(size_px, images, folder))
    stream = Stream([dataset], batch_groups=BATCH_GROUPS, views=1, seed=0, workers=WORKERS)
    stored = stored_images(dataset, images)
    ours = partial(loading_s, stream, images // BATCH_GROUPS)
    what = f"{size_px} px JPEGs, {WORKERS} workers"
    return [
        timed_ratio(
            f"stream: {what}, beside Pillow from memory", ours, lambda: seconds(partial(_pillow, stored)), goal=0.9
        ),
        timed_ratio(
            f"stream: {what}, beside our own decoder from memory",
            ours,
            lambda: decode_all(stored, stream.size, WORKERS),
            goal=0.9,
        ),
        timed_ratio(f"stream: {what}, beside webdataset", ours, lambda: _webdataset_s(dataset, images), goal=1.0),
    ]


def _data_set(size_px: int, images: int, folder: Path) -> Path:
    """Adopt smooth pictures, as compressible as drawings are."""
    from manifests.adopt import adopt

    source, target = folder / f"images-{size_px}", folder / f"data-{size_px}"
    source.mkdir()
    rng = np.random.default_rng(0)
    for number in range(images):
        small = Image.fromarray(rng.integers(0, 256, (size_px // 8, size_px // 8, 3), dtype=np.uint8))
        large = small.resize((size_px, size_px), Image.Resampling.BICUBIC)
        large.save(source / f"{number:05d}.jpg", "JPEG", quality=95, subsampling=0)
    adopt(source, target, name="bench", groups_per_shard=SHARD_GROUPS)
    return target


def _pillow(stored: list[bytes]) -> None:
    with ThreadPoolExecutor(WORKERS) as pool:
        list(pool.map(_decode, range(0, len(stored), BATCH_GROUPS), [stored] * len(stored)))


def _decode(first: int, stored: list[bytes]) -> None:
    for data in stored[first : first + BATCH_GROUPS]:
        with Image.open(io.BytesIO(data)) as image:
            np.asarray(image.convert("RGB"))


def _webdataset_s(dataset: DataSet, images: int) -> float:
    """Time batches of webdataset's own pipeline: shuffled shards, a shuffle buffer, decoding, batches, processes."""
    import webdataset

    shards = [str(dataset.shard_path(position)) for position in range(len(dataset.version.shards))]
    pipeline = webdataset.WebDataset(
        shards, shardshuffle=len(shards), nodesplitter=webdataset.split_by_node, empty_check=False, seed=0
    )
    pipeline = pipeline.repeat().shuffle(1000).decode("rgb8").to_tuple("v00.jpg").batched(BATCH_GROUPS)
    batches = iter(webdataset.WebLoader(pipeline, batch_size=None, num_workers=WORKERS))
    list(islice(batches, WARM_UP_BATCHES))
    began = time.perf_counter()
    for _ in islice(batches, images // BATCH_GROUPS):
        pass
    return time.perf_counter() - began
