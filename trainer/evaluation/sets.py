"""The labelled sets that ship with the trainer, read as the data sets they are.

`dev` is for choosing anything; `test` is for published results only.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from manifests.dataset import open_dataset
from manifests.errors import CorruptError, UserError
from trainer.evaluation.partition import straddling

SETS = {"clipart26": "clipart26", "emoji": "emoji-identities"}
SPLITS = ("dev", "test")
_COLUMNS = ["key", "label", "split", "x_component", "stream_id", "view", "shard", "offset", "size", "sha256", "status"]


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


def load(source: str | Path, split: str) -> Examples:
    """Read one split of a labelled set at a folder or URL.

    Raises: UserError for another split; CorruptError if a component of near-duplicates lies in both splits.
    """
    if split not in SPLITS:
        raise UserError(f"there is no split {split!r}: choose dev (to decide anything) or test (to publish)")
    dataset = open_dataset(str(source))
    table = dataset.rows(_COLUMNS, ok_only=True)
    components = table["x_component"].to_numpy()
    _refuse_leak(str(source), components, np.array(table["split"].to_pylist()))
    rows: list[dict[str, Any]] = [row for row in table.to_pylist() if row["split"] == split]
    return Examples(
        root=dataset.root,
        label_names=list(dataset.version.label_names),
        keys=[row["key"] for row in rows],
        images=np.stack([dataset.image(row) for row in rows]),
        labels=np.array([row["label"] for row in rows], np.int64),
        components=np.array([row["x_component"] for row in rows], np.int64),
    )


def _refuse_leak(source: str, components: NDArray[np.int64], splits: NDArray[np.str_]) -> None:
    leaked = straddling(components, np.unique(splits, return_inverse=True)[1])
    if len(leaked):
        raise CorruptError(
            f"{source}: near-duplicates in several splits, x_component {leaked[:5].tolist()}: build anew"
        )
