"""The images of any data set with what is known of them: labels, splits, and which may not be torn apart.

Near-duplicates share an x_component where a set has that column; else the views of a group belong together. Images are
read when they are asked for, so that a pool may be larger than memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.dataset import DataSet, open_dataset
from manifests.errors import CorruptError
from trainer.evaluation.partition import straddling

_COMPONENT = "x_component"
_COLUMNS = ["key", "group", "view", "label", "split", "prompt"]
_PLACE = ["stream_id", "shard", "offset", "size", "sha256", "status"]
_THREADS = 4
_BATCH_IMAGES = 128


@dataclass(frozen=True)
class Pool:
    """All images of one version. Shapes: [N] each; -1 stands for no label, "" for no split."""

    dataset: DataSet
    rows: pa.Table
    labels: NDArray[np.int64]
    splits: NDArray[np.str_]
    components: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def label_names(self) -> list[str]:
        return list(self.dataset.version.label_names)

    @cached_property
    def keys(self) -> list[str]:
        """Return a name for each image that no other image of the set has."""
        return [f"{k}.{v}" for k, v in zip(*(self.rows[name].to_pylist() for name in ("key", "view")), strict=True)]

    def images(self, rows: Sequence[int] | NDArray[np.int64]) -> list[NDArray[np.uint8]]:
        """Decode some images.

        Raises: CorruptError naming shard and key.
        """
        wanted: list[dict[str, Any]] = self.rows.take(pa.array(np.asarray(rows, np.int64))).to_pylist()
        with ThreadPoolExecutor(_THREADS) as workers:
            return list(workers.map(self.dataset.image, wanted))

    def batches(self, rows: NDArray[np.int64]) -> Iterator[list[NDArray[np.uint8]]]:
        """Decode some images, a batch at a time."""
        return (self.images(rows[start : start + _BATCH_IMAGES]) for start in range(0, len(rows), _BATCH_IMAGES))


def read_pool(source: str | Path) -> Pool:
    """Read what a data set at a folder or URL says of its images.

    Raises: UserError for what is no data set; CorruptError if a component of near-duplicates lies in several splits.
    """
    dataset = open_dataset(str(source))
    own = [_COMPONENT] if _COMPONENT in dataset.row_schema(0).names else []
    table = dataset.rows([*_COLUMNS, *_PLACE, *own], ok_only=True)
    splits = np.array(pc.fill_null(table["split"], "").to_pylist(), np.str_)
    components = _components(table)
    if len(leaked := straddling(components, np.unique(splits, return_inverse=True)[1])):
        raise CorruptError(
            f"{source}: near-duplicates in several splits, x_component {leaked[:5].tolist()}: build anew"
        )
    labels = np.array(pc.fill_null(table["label"], -1).to_numpy())  # a copy: torch wants what may be written to
    return Pool(dataset, table, labels, splits, components)


def _components(table: pa.Table) -> NDArray[np.int64]:
    if _COMPONENT in table.column_names and not table[_COMPONENT].null_count:
        return np.array(table[_COMPONENT].to_numpy(), np.int64)
    keys = np.array(table["key"].to_pylist(), np.str_)  # one a group, also where data sets were merged
    return np.asarray(np.unique(keys, return_inverse=True)[1], np.int64)
