"""Real and generated pictures for `factory probe`: from data sets, or drawn by a generator's folder.

Both are brought to the smaller one's size: else a model would tell them apart by how they were resized.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from factory.gan.data import square
from factory.gan.sampling import sample
from factory.generators.latent_config import LatentSource
from factory.generators.latent_folder import INDEX, find
from factory.generators.latent_weights import load_network
from manifests.dataset import open_dataset

_COLUMNS = ["stream_id", "shard", "key", "view", "offset", "size", "sha256", "status", "reason"]


def pictures(sources: tuple[str, str], images: int, seed: int, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Return at most so many pictures of each source, drawn at random, all square and of one size.

    Raises: UserError for what is neither a data set nor a generator's folder.
    """
    real, generated = (_drawn(source, images, seed, device) for source in sources)
    side_px = min(picture.shape[axis] for part in (real, generated) for picture in part for axis in (0, 1))
    return _stacked(real, side_px), _stacked(generated, side_px)


def _drawn(source: str, images: int, seed: int, device: torch.device) -> list[np.ndarray]:
    rng = np.random.Generator(np.random.Philox(key=seed))
    if (Path(source) / INDEX).is_file() or source.startswith(("builtin:", "package:")):
        return list(_generated(source, images, rng, device))
    data = open_dataset(source)
    rows = data.rows(_COLUMNS, ok_only=True)
    chosen = rows.take(np.sort(rng.permutation(len(rows))[:images]))
    return [data.image(row) for row in chosen.to_pylist()]


def _generated(source: str, images: int, rng: np.random.Generator, device: torch.device) -> np.ndarray:
    asked = LatentSource.model_validate({"family": "latent", "model": source})
    net = load_network(find(asked), asked, str(device))
    z = rng.standard_normal((images, net.z_dim), np.float32)
    class_ids = rng.integers(net.num_classes, size=images) if net.num_classes else None
    return sample(net, z, class_ids, device)


def _stacked(found: list[np.ndarray], side_px: int) -> np.ndarray:
    return np.stack([square(picture, side_px) for picture in found])
