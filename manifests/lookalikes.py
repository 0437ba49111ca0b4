"""Which images look alike: a perceptual hash of 64 bits, which survives resizing, recoding and small changes of colour.

The hash holds which of an image's 8 x 8 slowest brightness waves are above the middle one. Drawings on white share
much of it, so a pair counts as one picture only where feature neighbours agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import numpy as np
import numpy.typing as npt

SIDE_PX = 32
WAVES = 8
LUMA = np.array([0.299, 0.587, 0.114])

Hashes = npt.NDArray[np.uint64]


def perceptual_hash(image: npt.NDArray[np.uint8]) -> int:
    """Return the hash of an image, uint8 [H, W, 3].

    Source: the "pHash" of Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash Functions, section 3.2.
    """
    down, right = (area_weights(side, SIDE_PX) for side in image.shape[:2])
    brightness = down @ (image @ LUMA) @ right.T  # [32, 32]
    waves = (_cosines() @ brightness @ _cosines().T).round(6)  # [8, 8], without the constant ones; a blank one has none
    bits = (waves > np.median(waves)).ravel()
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def alike(first: Hashes, second: Hashes, most_bits: int) -> Iterator[tuple[int, int, int]]:
    """Yield pairs (i, j, bits) of the first and second that differ in at most so many bits, in order.

    Shapes: uint64 [n], [m].
    """
    for i, value in enumerate(first):
        bits = np.bitwise_count(second ^ value)
        for j in np.flatnonzero(bits <= most_bits).tolist():
            yield i, j, int(bits[j])


@cache
def _cosines() -> npt.NDArray[np.float64]:
    waves, places = np.arange(1, WAVES + 1)[:, None], np.arange(SIDE_PX) + 0.5
    return np.asarray(np.cos(np.pi * waves * places / SIDE_PX))


@cache
def area_weights(source: int, target: int) -> npt.NDArray[np.float64]:
    """Return the matrix [target, source] that averages over areas."""
    edges = np.linspace(0, source, target + 1)
    pixels = np.arange(source)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return np.asarray(overlap.clip(0) * target / source)
