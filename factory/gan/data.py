"""The pictures of any ViewMill data set, square and of one size, with their classes: what a GAN is trained on.

Pictures are decoded when they are first asked for, and remembered as long as there is room.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from PIL import Image

from manifests.dataset import DataSet, open_dataset
from manifests.errors import UserError

_COLUMNS = ["stream_id", "shard", "key", "view", "offset", "size", "sha256", "status", "reason", "label", "split"]
MEMORY_BYTES = 4 << 30


@dataclass(frozen=True)
class Pictures:
    """Some images of a data set, in its order.

    Shapes: class_ids int64 [N], empty where classes are not asked for.
    """

    dataset: DataSet
    rows: pa.Table
    class_ids: np.ndarray
    class_names: list[str]
    size_px: int
    _decoded: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    def batch(self, numbers: Iterable[int]) -> np.ndarray:
        """Return pictures by their numbers.

        Shapes: uint8 [n, size, size, 3].
        Raises: CorruptError naming the shard of a damaged one.
        """
        return np.stack([self._picture(int(number)) for number in numbers])

    def _picture(self, number: int) -> np.ndarray:
        found = self._decoded.get(number)
        if found is not None:
            return found
        row = self.rows.slice(number, 1).to_pylist()[0]
        picture = square(self.dataset.image(row), self.size_px)
        if (len(self._decoded) + 1) * picture.nbytes <= MEMORY_BYTES:
            self._decoded[number] = picture
        return picture


def open_pictures(
    url: str, *, size_px: int, is_conditional: bool, held_out: str | None, root: str | None = None
) -> tuple[Pictures, Pictures]:
    """Open a data set's pictures: those to train on, and those of the split that is held out (none, perhaps).

    Raises: UserError for a data set without classes where they are needed, or without any image to train on.
    """
    dataset = open_dataset(url, root=root)
    rows = dataset.rows(_COLUMNS, ok_only=True)
    is_held_out = pc.equal(pc.fill_null(rows["split"], ""), held_out or "no split has this name")
    parts = rows.filter(pc.invert(is_held_out)), rows.filter(is_held_out)
    if not len(parts[0]):
        raise UserError(f"{url}: all {len(rows)} images are in the split {held_out!r}: set data.held_out=null")
    names = class_names(dataset, rows) if is_conditional else []
    training, unseen = (Pictures(dataset, part, _class_ids(part, is_conditional), names, size_px) for part in parts)
    return training, unseen


def class_names(dataset: DataSet, rows: pa.Table) -> list[str]:
    """Name the classes: as the data set does, or by their numbers.

    Raises: UserError naming an image without a class.
    """
    labels = rows["label"]
    if labels.null_count:
        key = rows.filter(pc.is_null(labels))["key"][0].as_py()
        raise UserError(f"{dataset.url}: {key} has no label: set conditional=false, or give every image one")
    count = pc.max(labels).as_py() + 1
    return list(dataset.version.label_names) or [str(number) for number in range(count)]


def square(picture: np.ndarray, size_px: int) -> np.ndarray:
    """Cut the middle square and resize it; a picture that has the size already is left as it is."""
    side = min(picture.shape[:2])
    top, left = (picture.shape[0] - side) // 2, (picture.shape[1] - side) // 2
    middle = picture[top : top + side, left : left + side]
    if side == size_px:
        return np.ascontiguousarray(middle)
    return np.asarray(Image.fromarray(middle).resize((size_px, size_px), Image.Resampling.LANCZOS))


def _class_ids(rows: pa.Table, is_conditional: bool) -> np.ndarray:
    return rows["label"].to_numpy() if is_conditional else np.empty(0, np.int64)
