"""The training images in memory, and the order they come in: a pure function of seed and images seen."""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch

from factory.builtin.emoji_data import Drawing
from manifests.dataset import open_dataset
from manifests.errors import UserError

_COLUMNS = {field.name for field in fields(Drawing)} - {"caption"} | {"prompt"}


@dataclass(frozen=True)
class ImageSet:
    """Drawings, their pixels, and the root of the data set they come from.

    Shapes: pixels [N, 64, 64, 3] uint8.
    """

    rows: list[Drawing]
    pixels: np.ndarray
    root: str

    def part(self, split: str) -> ImageSet:
        """Keep one split, in the same order."""
        kept = [number for number, row in enumerate(self.rows) if row.split == split]
        return ImageSet([self.rows[number] for number in kept], self.pixels[kept], self.root)


def load(url: str | Path) -> ImageSet:
    """Load all drawings of a data set made by `emoji-data`, in its order.

    Raises: UserError where this is another data set.
    """
    data = open_dataset(url)
    table = data.rows(ok_only=True)
    if missing := sorted(_COLUMNS - set(table.column_names)):
        raise UserError(
            f"{url} has no column {missing[0]}: make the data set with `python -m factory builtin emoji-data`"
        )
    rows = table.to_pylist()
    pixels = np.stack([data.image(row) for row in rows])
    drawings = [Drawing(caption=row["prompt"], **{name: row[name] for name in _COLUMNS - {"prompt"}}) for row in rows]
    return ImageSet(drawings, pixels, data.root)


def batch_numbers(seed: int, images_seen: int, batch_images: int, total: int) -> np.ndarray:
    """Name the images of the next batch: epochs are permutations, batches may straddle two of them."""
    slots = np.arange(images_seen, images_seen + batch_images)
    epochs = {epoch: _permutation(seed, epoch, total) for epoch in np.unique(slots // total).tolist()}
    return np.array([epochs[int(slot // total)][slot % total] for slot in slots])


def to_model(pixels: np.ndarray) -> torch.Tensor:
    """Scale uint8 pictures to a network's [-1, 1]."""
    scaled = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1  # [n, 3, H, W]
    return scaled.contiguous(memory_format=torch.channels_last)


def to_pixels(images: torch.Tensor) -> np.ndarray:
    """Round a network's [-1, 1] back to uint8 pictures [n, H, W, 3]."""
    scaled = ((images.float() + 1) * 127.5).round().clamp(0, 255)
    return np.ascontiguousarray(scaled.permute(0, 2, 3, 1).to(torch.uint8).numpy())


def generator(seed: int, images_seen: int) -> np.random.Generator:
    """Return the random numbers of one batch, whichever process draws them."""
    return np.random.Generator(np.random.Philox(key=np.array([seed, images_seen], dtype=np.uint64)))


def _permutation(seed: int, epoch: int, total: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=np.array([seed, 2**63 + epoch], dtype=np.uint64))).permutation(
        total
    )
