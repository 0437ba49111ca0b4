"""What made each image, as its row says: the latent, the step from the anchor, how far along which walk, the class.

In the order of the stream's `rows`: data set by data set, group by group, view by view.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from manifests.dataset import DataSet
from manifests.errors import UserError

_REMEDY = {
    "latent": "a diffusion's noise comes from the seed and is not stored; take images of a latent generator",
    "edit_vector": "no view was edited in w; take latents, or views of the strategy layers or steer",
    "alphas": "no view went along a walk; render views of the strategy steer",
}


class Targets(NamedTuple):
    """Shapes: values float32 [N, T], named by `names`; class_ids int64 [N], -1 for none."""

    values: NDArray[np.float32]
    names: list[str]
    class_ids: NDArray[np.int64]

    @property
    def classes(self) -> int:
        """Count the classes: one more than the largest."""
        return 1 + int(self.class_ids.max(initial=-1))


def read_targets(datasets: Sequence[DataSet], column: str) -> Targets:
    """Read a column of the rows of all images: latent, edit_vector or alphas; no edit and no walk are zeros.

    Raises: UserError where no row has it, or where rows differ in how many numbers they have.
    """
    rows = [row for dataset in datasets for row in _rows(dataset, column)]
    where = datasets[0].url
    if all(row[column] is None for row in rows):
        raise UserError(f"{where}: no row has {column}: {_REMEDY[column]}")
    names = _walks(rows) if column == "alphas" else _places(rows, column, where)
    values = np.array([_values(row, column, names) for row in rows], np.float32)
    classes = np.array([-1 if row["class_id"] is None else row["class_id"] for row in rows], np.int64)
    return Targets(values, names, classes)


def _rows(dataset: DataSet, column: str) -> list[dict[str, Any]]:
    columns = ["key", "view", "class_id", column, *(["walks"] if column == "alphas" else [])]
    found: list[dict[str, Any]] = dataset.rows(columns, ok_only=True).to_pylist()
    return found


def _walks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    return sorted({name for row in rows for name in row["walks"] or []})


def _places(rows: Sequence[Mapping[str, Any]], column: str, where: str) -> list[str]:
    lengths = {len(row[column]): row["key"] for row in rows if row[column] is not None}
    if len(lengths) > 1:
        told = ", ".join(f"{length} in {key}" for length, key in sorted(lengths.items()))
        raise UserError(f"{where}: {column} has {told} numbers; expected equally many in all rows")
    absent = [row["key"] for row in rows if row[column] is None]
    if column == "latent" and absent:
        raise UserError(f"{where}: {absent[0]} has no latent, other rows have; {_REMEDY[column]} alone")
    return [f"{column}[{place}]" for place in range(next(iter(lengths)))]


def _values(row: Mapping[str, Any], column: str, names: Sequence[str]) -> list[float]:
    if row[column] is None:
        return [0.0] * len(names)
    if column != "alphas":
        return list(row[column])
    far = dict(zip(row["walks"], row["alphas"], strict=True))
    return [float(far.get(name, 0.0)) for name in names]
