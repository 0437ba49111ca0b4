"""The labelled sets that ship with the trainer, read as the data sets they are.

`dev` is for choosing anything; `test` is for published results only.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from manifests.errors import UserError
from trainer.evaluation.pool import read_pool

SETS = {"clipart26": "clipart26", "emoji": "emoji-identities"}
SPLITS = ("dev", "test")


@dataclass(frozen=True)
class Examples:
    """One split of a labelled set.

    Shapes: images [N, H, W, 3]; labels and components [N].
    """

    root: str
    label_names: list[str]
    keys: list[str]
    images: NDArray[np.uint8]
    labels: NDArray[np.int64]
    components: NDArray[np.int64]  # near-duplicates share one

    def part(self, rows: NDArray[np.int64]) -> "Examples":
        """Return some of the images."""
        keys = [self.keys[row] for row in rows]
        images, labels, components = self.images[rows], self.labels[rows], self.components[rows]
        return Examples(self.root, self.label_names, keys, images, labels, components)


def folder(name: str) -> Path:
    """Return where a shipped set lies.

    Raises: UserError naming the sets there are.
    """
    if name not in SETS:
        raise UserError(f"there is no labelled set {name!r}: choose {' or '.join(SETS)}")
    return Path(__file__).parent / "sets" / SETS[name]


def located(name: str) -> str:
    """Return where a labelled set lies: a shipped one by its name, another by its folder or URL."""
    return str(folder(name)) if name in SETS else name


def load(source: str | Path, split: str) -> Examples:
    """Read one split of a labelled set at a folder or URL.

    Raises: UserError for another split; CorruptError if a component of near-duplicates lies in both splits.
    """
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}: choose dev (to decide anything) or test (to publish)")
    pool = read_pool(source)
    rows = np.flatnonzero((pool.splits == split) & (pool.labels >= 0))
    if not len(rows):
        raise UserError(
            f"{source} has no labelled images of split {split!r}: it has {sorted(set(pool.splits.tolist()))}"
        )
    return Examples(
        root=pool.dataset.root,
        label_names=pool.label_names,
        keys=pool.rows["key"].take(pa.array(rows)).to_pylist(),
        images=np.stack(pool.images(rows)),
        labels=pool.labels[rows],
        components=pool.components[rows],
    )
