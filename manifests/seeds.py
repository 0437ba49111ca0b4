"""Counter-based seeds and draws: every number is a pure function of (seed, purpose), never of order or worker.

A draw takes the raw words of Philox4x64-10 under a key hashed from (seed, purpose) and makes them uniform or normal
with formulas of our own, so that neither a numpy release nor the shape of a batch can change an image. A shorter
draw is the beginning of a longer one.

Source: Salmon et al. 2011 (Philox); Box and Muller 1958.
"""

from __future__ import annotations

import hashlib
import math
import unicodedata
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifests.canonical import canonical_json

Shape = int | tuple[int, ...]


def _hash(*parts: Any) -> bytes:
    return hashlib.sha256(canonical_json(list(parts))).digest()


def _uint64(*parts: Any) -> int:
    return int.from_bytes(_hash(*parts)[:8], "little")


def group_seed(seed: int, group: int) -> int:
    """Return the uint64 seed of what all views of a group share."""
    return _uint64("group", seed, group)


def view_seed(seed: int, group: int, view: int, attempt: int = 0) -> int:
    """Return the uint64 seed of one attempt at one view."""
    return _uint64("view", seed, group, view, attempt)


def derive(seed: int, purpose: str) -> int:
    """Return a uint64 seed for a generator that is not ours."""
    return _uint64("derive", seed, purpose)


def raw_words(seed: int, purpose: str, count: int) -> NDArray[np.uint64]:
    """Return the first `count` words of the Philox4x64-10 stream of (seed, purpose)."""
    return np.asarray(_philox(seed, purpose).random_raw(count), dtype=np.uint64)


def _philox(seed: int, purpose: str) -> np.random.Philox:
    return np.random.Philox(key=int.from_bytes(_hash("draw", seed, purpose)[:16], "little"), counter=0)


def _uniform(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def _size(shape: Shape) -> int:
    return shape if isinstance(shape, int) else math.prod(shape)


def uniform(seed: int, purpose: str, shape: Shape) -> NDArray[np.float64]:
    """Draw from [0, 1): the upper 53 bits of each word times 2^-53."""
    return _uniform(raw_words(seed, purpose, _size(shape))).reshape(shape)


def normal(seed: int, purpose: str, shape: Shape) -> NDArray[np.float32]:
    """Draw from N(0, 1) by Box-Muller in float64, rounded to float32; words 2i and 2i+1 give numbers 2i and 2i+1."""
    size = _size(shape)
    pairs = uniform(seed, purpose, ((size + 1) // 2, 2))
    radius = np.sqrt(-2.0 * np.log(1.0 - pairs[:, 0]))  # 1 - u is in (0, 1]: the logarithm is finite
    angle = 2.0 * np.pi * pairs[:, 1]
    values = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)  # [ceil(size / 2), 2]
    return values.reshape(-1)[:size].astype(np.float32).reshape(shape)


def integers(seed: int, purpose: str, high: int, shape: Shape) -> NDArray[np.int64]:
    """Draw integers from 0 to `high` - 1 as floor(uniform * high); the bias is below high * 2^-53."""
    return np.floor(uniform(seed, purpose, shape) * high).astype(np.int64)


def integer_rows(seed: int, purpose: str, high: int, shape: tuple[int, int], block: int) -> Iterator[NDArray[np.int64]]:
    """Draw the rows of `integers` at most `block` at a time: the same numbers, for shapes that memory cannot hold."""
    rows, width = shape
    stream = _philox(seed, purpose)
    for start in range(0, rows, block):
        count = min(block, rows - start)
        words = np.asarray(stream.random_raw(count * width), dtype=np.uint64)
        yield np.floor(_uniform(words) * high).astype(np.int64).reshape(count, width)


def permutation(seed: int, purpose: str, n: int) -> NDArray[np.int64]:
    """Draw an order of 0 … n-1: the stable sort of n raw words."""
    return np.argsort(raw_words(seed, purpose, n), kind="stable").astype(np.int64)


def prompt_positive_id(prompt: str) -> int:
    """Return the id (63 bits) that all groups of one prompt share, in any data set; the prompt is compared in NFC."""
    return _uint64("prompt", unicodedata.normalize("NFC", prompt)) >> 1


def group_positive_id(stream_id: str, group: int) -> int:
    """Return the id (63 bits) of a group whose views have no prompt in common."""
    return _uint64("group", stream_id, group) >> 1
