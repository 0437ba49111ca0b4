"""Which images lie nearest to a query, by any features: cosine similarity, near-duplicates of the query left out."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

PIXELS_SIDE_PX = 16

Floats = npt.NDArray[np.float32]
Integers = npt.NDArray[np.int64]


def raw_pixels(images: list[npt.NDArray[np.uint8]]) -> Floats:
    """Shrink images to 16×16 by area.

    Shapes: images of [H, W, 3] -> [N, 768]
    """
    size = (PIXELS_SIDE_PX, PIXELS_SIDE_PX)
    small = [np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX), np.float32) for image in images]
    return np.stack(small).reshape(len(images), -1) / np.float32(255)


def nearest(features: Floats, queries: Integers, groups: Integers, count: int) -> Integers:
    """Return for each query the `count` most similar images outside its own group, best first.

    Shapes: features [N, D], queries [Q], groups [N] -> [Q, count]
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    directions = features / np.maximum(lengths, np.finfo(np.float32).tiny)
    similarity = directions[queries] @ directions.T  # [Q, N]
    similarity[groups[queries][:, None] == groups[None, :]] = -np.inf
    return np.argsort(-similarity, axis=1, kind="stable")[:, :count].astype(np.int64)


def draw_queries(labels: Integers, classes: int, seed: int) -> Integers:
    """Draw one image from each of `classes` classes, both at random, so that nobody picks the good ones."""
    random = np.random.default_rng(seed)
    present = np.unique(labels)
    chosen = np.sort(random.choice(present, size=min(classes, len(present)), replace=False))
    return np.array([random.choice(np.flatnonzero(labels == label)) for label in chosen], np.int64)
