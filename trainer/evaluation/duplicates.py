"""Which drawings are versions of one drawing: colour variants, mirrored copies, the same thing with a border.

Two drawings are joined where their ink (distance from white) agrees in colour and place, where their luminance
patterns correlate (mirrored and inverted too), and where they share a name that few drawings carry. Components are the
transitive closure: nothing that is joined, even through others, may lie on two sides of a split.
Frozen, as the lists that were made by it are; copies of one picture are found by manifests/lookalikes.py.
"""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from manifests.lookalikes import LUMA, area_weights

INK_COSINE = 0.98  # of 16x16 RGB, white = 0
SHAPE_CORRELATION = 0.95  # of 24x24 luminance, absolute value
NAME_LIMIT = 8  # a name on more drawings than this is a series' ("card", "Road Signs"), not a drawing's


def components(images: NDArray[np.uint8], *names: list[str]) -> NDArray[np.int64]:
    """Return for each image [N, H, W, 3] the smallest index among those it is joined with; names [N] join too."""
    pairs = [np.argwhere(np.triu(near(images), 1)), *(name_pairs(each) for each in names)]
    return connected(len(images), np.concatenate(pairs))


def near(images: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return which images [N, H, W, 3] look alike, [N, N]."""
    ink = _unit(1 - area_average(images, 16).reshape(len(images), -1))
    luminance = area_average(images, 24) @ LUMA  # [N, 24, 24]
    pattern, mirrored = (_standardised(view.reshape(len(images), -1)) for view in (luminance, luminance[:, :, ::-1]))
    correlation = np.maximum(np.abs(pattern @ pattern.T), np.abs(pattern @ mirrored.T))
    return np.asarray((ink @ ink.T > INK_COSINE) | (correlation > SHAPE_CORRELATION))


def thinned(alike: NDArray[np.bool_], order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of `order` that are not alike to one returned before: the first of every look."""
    kept: list[int] = []
    for index in order.tolist():
        if not alike[index, kept].any():
            kept.append(index)
    return np.array(kept, np.int64)


def name_pairs(names: list[str], limit: int = NAME_LIMIT) -> NDArray[np.int64]:
    """Return pairs that chain together all images of each name that is neither empty nor on more than `limit`."""
    count, last = Counter(names), dict[str, int]()
    pairs = []
    for index, name in enumerate(names):
        if name and count[name] <= limit:
            if name in last:
                pairs.append((last[name], index))
            last[name] = index
    return np.array(pairs, np.int64).reshape(-1, 2)


def connected(count: int, pairs: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return for each of `count` nodes the smallest node of its connected component."""
    root = np.arange(count)
    for left, right in pairs.tolist():
        a, b = _find(root, left), _find(root, right)
        root[max(a, b)] = min(a, b)
    return np.array([_find(root, node) for node in range(count)], np.int64)


def _find(root: NDArray[np.int64], node: int) -> int:
    while root[node] != node:
        root[node] = root[root[node]]  # path halving
        node = int(root[node])
    return node


def area_average(images: NDArray[np.uint8], side: int) -> NDArray[np.float64]:
    """Return images averaged over areas to side x side, in [0, 1]; shape [N, side, side, 3]."""
    weights = area_weights(images.shape[1], side), area_weights(images.shape[2], side)
    return np.asarray(np.einsum("ah,nhwc,bw->nabc", weights[0], images / 255.0, weights[1], optimize=True))


def _standardised(flat: NDArray[np.float64]) -> NDArray[np.float64]:
    return _unit(np.asarray(flat - flat.mean(1, keepdims=True)))


def _unit(flat: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(flat / np.linalg.norm(flat, axis=1, keepdims=True).clip(1e-9))
