"""The trainer's stream beside decoding the same images from memory with as many threads."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.pairs import Row, speed_ratio

GROUPS, SIZE_PX, WORKERS, BATCH_GROUPS = 4096, 64, 2, 64


def _images() -> list[bytes]:
    """Make smooth pictures, as compressible as drawings are."""
    rng = np.random.default_rng(0)
    encoded = []
    for _ in range(GROUPS):
        small = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
        data = io.BytesIO()
        small.resize((SIZE_PX, SIZE_PX), Image.Resampling.BICUBIC).save(data, "JPEG", quality=95, subsampling=0)
        encoded.append(data.getvalue())
    return encoded


def _data_set(images: list[bytes], out: Path) -> Path:
    from manifests.adopt import adopt

    source, target = out / "stream-images", out / "stream-data"
    source.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate(images):
        (source / f"{number:05d}.jpg").write_bytes(data)
    adopt(source, target, name="bench")
    return target


def _decode(data: bytes) -> np.ndarray:
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def measure(out: Path) -> Row:
    """Read one epoch both ways; shards lie in the page cache, as they do after the first epoch."""
    from manifests import open_dataset
    from trainer.stream import Stream

    images = _images()
    dataset = open_dataset(_data_set(images, out))

    def ours() -> object:
        stream = Stream([dataset], batch_groups=BATCH_GROUPS, views=1, seed=0, workers=WORKERS)
        return sum(len(batch.ids) for batch in islice(iter(stream), GROUPS // BATCH_GROUPS))

    def bare() -> object:
        with ThreadPoolExecutor(WORKERS) as pool:
            decoded = list(pool.map(_decode, images, chunksize=BATCH_GROUPS))
        return [np.stack(decoded[start : start + BATCH_GROUPS]) for start in range(0, GROUPS, BATCH_GROUPS)]

    return speed_ratio("stream: an epoch of 64 px JPEGs", ours, bare, goal=0.90)
