"""What made each image, as its row says: the latent, the step from the anchor, how far along which walk, the class.

In the order of the stream's `rows`: data set by data set, group by group, view by view.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
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

    def moments(self) -> tuple[list[float], list[float]]:
        """Return mean and deviation of every number; a deviation of 1 for one that never changes."""
        values = self.values.astype(np.float64)
        std = values.std(axis=0)
        return values.mean(axis=0).tolist(), np.where(std > 1e-9, std, 1.0).tolist()


def read_targets(datasets: Sequence[DataSet], column: str) -> Targets:
    """Read a column of the rows of all images: latent, edit_vector, alphas, or an x_… of the maker's own, such as w.

    No edit and no walk are zeros.

    Raises: UserError where no row has it, or where rows differ in how many numbers they have.
    """
    columns = ["key", "class_id", column, *(["walks"] if column == "alphas" else [])]
    table = pa.concat_tables([dataset.rows(columns, ok_only=True) for dataset in datasets])
    where = datasets[0].url
    if table[column].null_count == len(table):
        raise UserError(f"{where}: no row has {column}: {_REMEDY.get(column, 'take data that say it')}")
    values, names = _along_walks(table) if column == "alphas" else _numbers(table, column, where)
    return Targets(values, names, pc.fill_null(table["class_id"], -1).to_numpy().astype(np.int64))


def _along_walks(table: pa.Table) -> tuple[NDArray[np.float32], list[str]]:
    """A column for each walk that any view went along."""
    steps = [
        dict(zip(walks or [], alphas or [], strict=True))
        for walks, alphas in zip(table["walks"].to_pylist(), table["alphas"].to_pylist(), strict=True)
    ]
    names = sorted({name for one in steps for name in one})
    return np.array([[one.get(name, 0.0) for name in names] for one in steps], np.float32), names


def _numbers(table: pa.Table, column: str, where: str) -> tuple[NDArray[np.float32], list[str]]:
    """Lists of one length, or single numbers, as a matrix."""
    lists = _as_lists(table[column].combine_chunks(), column, where)
    known = lists.is_valid().to_numpy(zero_copy_only=False)
    wide = _one_length(table, pc.list_value_length(lists), column, where)
    if column != "edit_vector" and not known.all():
        key = table["key"][int(np.flatnonzero(~known)[0])].as_py()
        raise UserError(f"{where}: {key} has no {column}, other rows have; take data whose rows all have it")
    values = np.zeros((len(table), wide), np.float32)
    values[known] = lists.flatten().to_numpy(zero_copy_only=False).reshape(-1, wide)
    return values, [f"{column}[{place}]" for place in range(wide)]


def _as_lists(values: pa.Array, column: str, where: str) -> pa.Array:
    kind = values.type.value_type if pa.types.is_list(values.type) else values.type
    if not (pa.types.is_floating(kind) or pa.types.is_integer(kind)):
        raise UserError(f"{where}: {column} is of type {values.type}; expected numbers, or lists of them")
    if pa.types.is_list(values.type):
        return values
    mask = pc.is_null(values)
    return pa.ListArray.from_arrays(pa.array(np.arange(len(values) + 1), pa.int32()), values, mask=mask)


def _one_length(table: pa.Table, lengths: pa.Array, column: str, where: str) -> int:
    found = lengths.unique().drop_null().to_pylist()
    if len(found) == 1:
        return int(found[0])
    places = [(length, pc.index(lengths, pa.scalar(length, lengths.type)).as_py()) for length in sorted(found)]
    told = ", ".join(f"{length} in {table['key'][place].as_py()}" for length, place in places)
    raise UserError(f"{where}: {column} has {told} numbers; expected equally many in all rows")
