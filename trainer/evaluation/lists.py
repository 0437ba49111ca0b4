"""Which images are the labelled few: fixed lists, so that 1 % means the same images to everybody.

A list takes a share of each class, one image at least, in the order of a hash of the images' keys. It depends on keys
and labels alone; those of the usual sets ship with the package in lists/, named after the set's root and the split
that is learned from, and a test holds them to the rule.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from manifests.canonical import canonical_json, sha256_hex
from trainer.evaluation.partition import name_order

FOLDER = Path(__file__).parent / "lists"
PERCENTS = (1, 10)
_SALT = "few labels"


def share_of_classes(keys: list[str], labels: NDArray[np.int64], percent: int) -> NDArray[np.int64]:
    """Return the images of the list, as places among those given, in order; the 1 % lie within the 10 %."""
    order = name_order(keys, _SALT)
    chosen = [_first(order[labels[order] == label], percent) for label in np.unique(labels)]
    return np.sort(np.concatenate(chosen))


def _first(members: NDArray[np.int64], percent: int) -> NDArray[np.int64]:
    return members[: max(1, round(len(members) * percent / 100))]


def shots_of_classes(keys: list[str], labels: NDArray[np.int64], shots: int, salt: str) -> NDArray[np.int64]:
    """Return the first `shots` images of each class in the order of a salted hash, as places among those given."""
    order = name_order(keys, salt)
    return np.sort(np.concatenate([order[labels[order] == label][:shots] for label in np.unique(labels)]))


def list_hash(keys: list[str]) -> str:
    """Return the hash that stands for a list wherever it is used."""
    return sha256_hex(canonical_json(sorted(keys)))


def file_name(root: str, split: str, percent: int) -> str:
    """Name the file of a published list."""
    return f"{root[:12]}-{split}-{percent}.txt"


def labelled_few(root: str, split: str, keys: list[str], labels: NDArray[np.int64], percent: int) -> NDArray[np.int64]:
    """Return the images of the published list of a set, or those the rule gives for another set.

    Shapes: keys and labels [N] of what may be learned from -> places in [0, N).
    """
    path = FOLDER / file_name(root, split, percent)
    if not path.is_file():
        return share_of_classes(keys, labels, percent)
    place = {key: index for index, key in enumerate(keys)}
    return np.sort(np.array([place[key] for key in path.read_text(encoding="utf-8").split()], np.int64))
