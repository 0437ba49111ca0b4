"""Features of every image of a data set, as a Parquet side-car that joins with its rows by key and view."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import safetensors.torch
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps

from manifests.canonical import canonical_json, sha256_hex
from manifests.dataset import DataSet, open_dataset
from manifests.embeddings import Extractor, object_name, read_embeddings, schema
from manifests.shard import file_sha256
from manifests.store import Store
from manifests.target import replaced
from trainer.encoders import Encoder, load_encoder
from trainer.exported import IMAGENET, export_folder

_COLUMNS = ["key", "group", "view", "label"]
_PLACE = ["stream_id", "shard", "offset", "size", "sha256", "status"]  # what DataSet.image needs
_BATCH_IMAGES = 256
MOST_LETTERS = 48  # of an extractor's name: a data set's objects have short names


def embed_dataset(checkpoint: str | Path, url: str, out: Path | None = None) -> tuple[int, str]:
    """Write key, group, view, label and float32 features of every image; return how many there are, and where.

    Without `out` they lie beside the data set's shards, where `python -m manifests distance` looks for them; those
    that are there already are left alone.
    Raises: UserError for a checkpoint or data set that cannot be read, or a file that cannot be written;
    CorruptError at the first damaged image.
    """
    dataset, store = open_dataset(url), Store.open(url)
    encoder, extractor = open_extractor(checkpoint)
    name = object_name(extractor, dataset.root)
    if out is not None:
        return _write(encoder, extractor, dataset, out), str(out)
    if store.exists(name):
        return len(read_embeddings(store.get_bytes(name), f"{url}/{name}").rows), f"{url}/{name}"
    with tempfile.TemporaryDirectory() as scratch:
        part = Path(scratch) / "features.parquet"
        count = _write(encoder, extractor, dataset, part)
        store.put_file(part, name)
    return count, f"{url}/{name}"


def open_extractor(checkpoint: str | Path) -> tuple[Encoder, Extractor]:
    """Load an encoder with its name, and the hash of its weights and of what makes features of them.

    Raises: as load_encoder does.
    """
    if str(checkpoint) == IMAGENET:
        from trainer.evaluation.features import imagenet_encoder

        encoder = imagenet_encoder()
        name, weights = IMAGENET, sha256_hex(safetensors.torch.save(encoder.backbone.state_dict()))
    else:
        encoder, _ = load_encoder(checkpoint)
        name, weights = encoder.architecture, file_sha256(export_folder(Path(checkpoint)) / "model.safetensors")
    pixels = encoder.preprocessing
    facts = [weights, encoder.architecture, encoder.arguments, encoder.split, list(pixels)]
    return encoder, Extractor(re.sub(r"[^\w.-]", "_", name)[:MOST_LETTERS], sha256_hex(canonical_json(facts)))


def _write(encoder: Encoder, extractor: Extractor, dataset: DataSet, out: Path) -> int:
    columns, count = schema(extractor, dataset.root, encoder.dimensions), 0
    with replaced(out) as part, pq.ParquetWriter(part, columns) as writer:
        for rows, features in embedded(encoder, dataset):
            writer.write_table(rows.append_column("features", features).cast(columns))
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
