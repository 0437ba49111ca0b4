"""How good a data set is, in numbers: how near to another, how varied, and which of its images are copies.

Every report names the extractor that the images were seen through; numbers of unlike extractors say nothing together.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from manifests.dataset import DataSet
from manifests.distances import (
    Float64,
    frechet_distance,
    frechet_distance_at_infinity,
    kernel_distance,
    kernel_distance_of_subsets,
    mean_group_distances,
)
from manifests.embeddings import Embeddings, check_alike
from manifests.errors import UserError
from manifests.lookalikes import Hashes, alike, perceptual_hash
from manifests.neighbours import authenticity, support, unit

NEIGHBOURS = 5
SUBSETS, SUBSET_IMAGES = 20, 1000
_PLACE = ["stream_id", "shard", "key", "view", "offset", "size", "sha256", "status", "reason"]


def distances(real: Embeddings, other: Embeddings, *, seed: int = 0) -> dict[str, Any]:
    """Compare a data set with the real one beside it.

    Raises: UserError for unlike extractors or too few images.
    """
    check_alike(real, other)
    ours, theirs = real.features, other.features
    if min(len(ours), len(theirs)) <= NEIGHBOURS:
        raise UserError(f"{len(ours)} and {len(theirs)} images: expected more than {NEIGHBOURS} of each to compare")
    mean, deviation = kernel_distance_of_subsets(theirs, ours, subset_images=SUBSET_IMAGES, subsets=SUBSETS, seed=seed)
    found = {
        "frechet": frechet_distance(theirs, ours),
        "frechet_at_infinity": _at_infinity(other, real, seed),
        "kernel": kernel_distance(theirs, ours),
        "kernel_of_subsets": {"mean": mean, "deviation": deviation, "subset_images": SUBSET_IMAGES, "subsets": SUBSETS},
        **asdict(support(ours, theirs, neighbours=NEIGHBOURS)),
        "authenticity": authenticity(ours, theirs),
    }
    sizes = {"images": len(theirs), "real_images": len(ours), "neighbours": NEIGHBOURS}
    return {**found, **sizes, "extractor": real.extractor.name, "extractor_sha256": real.extractor.sha256}


def _at_infinity(other: Embeddings, real: Embeddings, seed: int) -> float | None:
    """Nothing where there are too few images for the extrapolation."""
    images, width = other.features.shape
    if images < 2 * (width + 1):
        return None
    return frechet_distance_at_infinity(other.features, real.features, seed=seed)


def diversity(found: Embeddings) -> dict[str, Any]:
    """Say how unlike the views of a group are, and images of different groups, as mean cosine distances.

    Raises: UserError where there are no two groups, or no two views.
    """
    try:
        within, between = mean_group_distances(found.features, found.rows["group"].to_numpy())
    except ValueError as error:
        raise UserError(f"there is nothing to compare: {error}") from None
    numbers = {"within": within, "between": between, "ratio": within / between if between else None}
    images = {"images": len(found.features), "extractor": found.extractor.name}
    return {**numbers, **images, "extractor_sha256": found.extractor.sha256}


@dataclass(frozen=True)
class Limits:
    """What differs no more counts as one picture: bits of the perceptual hash, and cosine distance of features."""

    bits: int
    distance: float


@dataclass(frozen=True)
class Lookalike:
    """Two images that count as one picture.

    Units: bits of 64 in which their perceptual hashes differ; distance is the cosine distance of their features.
    """

    image: str
    of: str
    bits: int
    distance: float


def duplicates(data: DataSet, found: Embeddings, limits: Limits, *, shall_join_groups: bool = False) -> list[Lookalike]:
    """Find the pairs of a data set's images that look alike; views of one group only if they shall count."""
    hashes, vectors = image_hashes(data, found), unit(found.features)
    groups = found.rows["group"].to_numpy()
    pairs = ((i, j, bits) for i, j, bits in alike(hashes, hashes, limits.bits) if i < j)
    kept = (pair for pair in pairs if shall_join_groups or groups[pair[0]] != groups[pair[1]])
    return list(_near(kept, (vectors, vectors), (found, found), limits.distance))


def copies(
    data: DataSet, found: Embeddings, training: DataSet, trained_on: Embeddings, limits: Limits
) -> list[Lookalike]:
    """Find the images that look like one of the training images, each beside the one that is nearest.

    Raises: UserError for unlike extractors.
    """
    check_alike(found, trained_on)
    hashes = image_hashes(data, found), image_hashes(training, trained_on)
    vectors = unit(found.features), unit(trained_on.features)
    nearest_of: dict[str, Lookalike] = {}
    for one in _near(alike(*hashes, limits.bits), vectors, (found, trained_on), limits.distance):
        if one.image not in nearest_of or one.distance < nearest_of[one.image].distance:
            nearest_of[one.image] = one
    return list(nearest_of.values())


def image_hashes(data: DataSet, found: Embeddings) -> Hashes:
    """Hash the images that embeddings are of, in their order."""
    rows = data.rows(_PLACE, ok_only=True)
    _check_order(data, rows, found)
    with ThreadPoolExecutor(4) as pool:
        hashes = list(pool.map(lambda row: perceptual_hash(data.image(row)), rows.to_pylist()))
    return np.array(hashes, np.uint64)


def _near(
    pairs: Iterator[tuple[int, int, int]],
    vectors: tuple[Float64, Float64],
    found: tuple[Embeddings, Embeddings],
    most_distance: float,
) -> Iterator[Lookalike]:
    for i, j, bits in pairs:
        distance = float(np.square(vectors[0][i] - vectors[1][j]).sum()) / 2
        if distance <= most_distance:
            yield Lookalike(found[0].named(i), found[1].named(j), bits, distance)


def _check_order(data: DataSet, rows: pa.Table, found: Embeddings) -> None:
    if not all(rows[name].equals(found.rows[name]) for name in ("key", "view")):
        raise UserError(f"{data.url}: its embeddings are of other images than its rows: embed it again")
