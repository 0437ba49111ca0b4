"""A map of embeddings: each group at its first two principal components, the same on every run."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from manifests.errors import UserError

_SAMPLE = 20_000  # rows that decide the axes


def landscape(path: Path, keys: Sequence[str]) -> NDArray[np.float64]:
    """Read features (key, view, features) and return where each key lies, from -1 to 1.

    Shapes: returns [len(keys), 2].
    Raises: UserError if the file is none, or lacks a key.
    """
    try:
        table = pq.read_table(path, columns=["key", "features"])
        features = np.stack(table["features"].to_numpy()).astype(np.float64)  # [views, D]
    except (OSError, pa.ArrowException, ValueError, TypeError) as error:
        raise UserError(f"{path}: expected Parquet with the columns key and features: {error}") from error
    names, owner = np.unique(np.array(table["key"].to_pylist(), str), return_inverse=True)
    sums = np.zeros((len(names), features.shape[1]))
    np.add.at(sums, owner, features)
    means = sums / np.bincount(owner)[:, None]
    wanted = np.array(keys, str)
    at = np.minimum(np.searchsorted(names, wanted), len(names) - 1)
    absent = wanted[names[at] != wanted]
    if len(absent):
        raise UserError(f"{path}: no features of {absent[0]} and {len(absent) - 1} more: embed this data set again")
    return _flattened(means[at])


def _flattened(points: NDArray[np.float64]) -> NDArray[np.float64]:
    centred = points - points.mean(0)
    step = max(1, len(points) // _SAMPLE)
    _, _, axes = np.linalg.svd(centred[::step], full_matrices=False)
    axes = np.vstack([axes, np.zeros_like(axes[:1])])[:2]
    axes *= np.where(axes[np.arange(2), np.abs(axes).argmax(1)] < 0, -1, 1)[:, None]  # a sign that stays
    flat = centred @ axes.T  # [groups, 2]
    reach = np.quantile(np.abs(flat), 0.995, axis=0) if len(flat) else np.ones(2)
    shown: NDArray[np.float64] = np.clip(flat / np.where(reach > 0, reach, 1), -1, 1)
    return shown
