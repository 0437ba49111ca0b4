"""Features of every image of a data set, as a Parquet file that joins with its rows by key and view."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from manifests.dataset import DataSet, open_dataset
from manifests.target import replaced
from trainer.encoders import Encoder, load_encoder

_COLUMNS = ["key", "group", "view", "label"]
_PLACE = ["stream_id", "shard", "offset", "size", "sha256", "status"]  # what DataSet.image needs
_BATCH_IMAGES = 256


def embed_dataset(checkpoint: str | Path, url: str, out: Path) -> int:
    """Write key, group, view, label and float32 features of every image; return how many there are.

    Raises: UserError for a checkpoint or data set that cannot be read, or a file that cannot be written;
    CorruptError at the first damaged image.
    """
    dataset = open_dataset(url)
    encoder, _ = load_encoder(checkpoint)
    schema, count = _schema(encoder.dimensions), 0
    with replaced(out) as part, pq.ParquetWriter(part, schema) as writer:
        for rows, features in embedded(encoder, dataset):
            writer.write_table(rows.append_column("features", features).cast(schema))
            count += len(rows)
    return count


def embedded(encoder: Encoder, dataset: DataSet) -> Iterator[tuple[pa.Table, pa.Array]]:
    """Yield rows and their features, shard by shard in batches: memory does not grow with the data set."""
    with ThreadPoolExecutor(4) as pool:
        for shard in range(len(dataset.version.shards)):
            rows = dataset.rows([*_COLUMNS, *_PLACE], shards=[shard], ok_only=True)
            for start in range(0, len(rows), _BATCH_IMAGES):
                batch = rows.slice(start, _BATCH_IMAGES)
                images = list(pool.map(dataset.image, batch.to_pylist()))
                features = embed_images(encoder, images)
                flat = pa.array(features.ravel(), pa.float32())
                yield batch.select(_COLUMNS), pa.FixedSizeListArray.from_arrays(flat, features.shape[1])


@torch.no_grad()
def embed_images(encoder: Encoder, images: Sequence[NDArray[np.uint8]]) -> NDArray[np.float32]:
    """Return the features of images of any size, brought to the encoder's by a centred crop and bicubic resizing.

    Shapes: uint8 [H, W, 3] each -> [n, D].
    """
    features: NDArray[np.float32] = encoder.eval()(prepared(encoder, images)).float().cpu().numpy()
    return features


def prepared(encoder: Encoder, images: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    """Return images of any size as the encoder's input, [n, 3, S, S], on its device."""
    device = next(encoder.parameters()).device
    return encoder.normalize(fitted(images, encoder.preprocessing.size_px).to(device).float() / 255)


def fitted(images: Sequence[NDArray[np.uint8]], size_px: int) -> torch.Tensor:
    """Return images of any size cropped and resized to one, uint8 [n, 3, S, S]."""
    size = (size_px, size_px)
    found = [np.asarray(ImageOps.fit(Image.fromarray(image), size, Image.Resampling.BICUBIC)) for image in images]
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)


def _schema(dimensions: int) -> pa.Schema:
    types = {"key": pa.string(), "group": pa.int64(), "view": pa.int16(), "label": pa.int64()}
    return pa.schema([*types.items(), ("features", pa.list_(pa.float32(), dimensions))])
