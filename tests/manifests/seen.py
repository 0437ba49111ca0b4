"""Data sets of random drawings with embeddings beside them: what quality is measured on."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from manifests.adopt import adopt
from manifests.dataset import open_dataset
from manifests.embeddings import Extractor, object_name, schema

EYE = Extractor("eye", "ab" * 32)


def drawing(seed: int, side_px: int = 48) -> np.ndarray:
    small = Image.fromarray(np.random.default_rng(seed).integers(0, 256, (8, 8, 3), np.uint8))
    return np.asarray(small.resize((side_px, side_px), Image.Resampling.BICUBIC))


def make_seen(folder: Path, images: Sequence[np.ndarray], groups: Sequence[int] | None = None) -> str:
    """Adopt images, by default each a group of its own; their embeddings are what `see` says."""
    source = folder / "images"
    source.mkdir(parents=True)
    rows = []
    for number, pixels in enumerate(images):
        Image.fromarray(pixels).save(source / f"{number:03}.png")
        rows.append({"file": f"{number:03}.png", **({"group": groups[number]} if groups else {})})
    (source / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    adopt(source, folder / "data", table=source / "table.jsonl")
    write_embeddings(folder / "data", EYE, images)
    return str(folder / "data")


def see(images: Sequence[np.ndarray]) -> np.ndarray:
    """Stand in for a network: 4 x 4 averages, less their mean."""
    small = np.stack([np.asarray(Image.fromarray(image).resize((4, 4), Image.Resampling.BOX)) for image in images])
    return (small.reshape(len(images), -1) - 127.5).astype(np.float32) / 64


def write_embeddings(url: Path | str, extractor: Extractor, images: Sequence[np.ndarray]) -> Path:
    data = open_dataset(url)
    rows, features = data.rows(["key", "group", "view", "label"], ok_only=True), see(images)
    column = pa.FixedSizeListArray.from_arrays(pa.array(features.ravel()), features.shape[1])
    columns = schema(extractor, data.root, features.shape[1])
    path = Path(url) / object_name(extractor, data.root)
    path.parent.mkdir(exist_ok=True)
    pq.write_table(rows.append_column("features", column).cast(columns), path)
    return path
