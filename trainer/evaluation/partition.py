"""Deal images into parts (halves, folds) so that no component lies in two and every class is spread evenly.

Pure and deterministic: it depends on labels, components and names alone, never on the order of a file system.
"""

import hashlib

import numpy as np
from numpy.typing import NDArray


def name_order(names: list[str], salt: str = "") -> NDArray[np.int64]:
    """Return the indices that sort names by the hash of salt and name: a shuffle that new names do not disturb."""
    digests = [hashlib.sha256(f"{salt}/{name}".encode()).digest() for name in names]
    return np.array(sorted(range(len(names)), key=digests.__getitem__), np.int64)


def deal(labels: NDArray[np.int64], components: NDArray[np.int64], parts: int, salt: str) -> NDArray[np.int64]:
    """Return the part in [0, parts) of each image.

    Components go largest first, equal ones in hash order, each to the part with fewest images of its main class.
    """
    members = _members(components)
    ids = list(members)
    hashed = [ids[i] for i in name_order([str(c) for c in ids], salt)]
    held = np.zeros((parts, int(labels.max()) + 1), np.int64)
    part_of = np.empty(len(labels), np.int64)
    for component in sorted(hashed, key=lambda c: -len(members[c])):
        counts = np.bincount(labels[members[component]], minlength=held.shape[1])
        part = int(np.lexsort((held.sum(1), held[:, counts.argmax()]))[0])
        held[part] += counts
        part_of[members[component]] = part
    return part_of


def _members(components: NDArray[np.int64]) -> dict[int, NDArray[np.int64]]:
    ids, counts = np.unique(components, return_counts=True)
    return dict(zip(ids.tolist(), np.split(np.argsort(components, kind="stable"), counts.cumsum()[:-1]), strict=True))


def straddling(components: NDArray[np.int64], parts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the components that lie in more than one part: a leak wherever it is not empty."""
    pairs = np.unique(np.stack([components, parts], 1), axis=0)
    ids, counts = np.unique(pairs[:, 0], return_counts=True)
    return np.asarray(ids[counts > 1])
