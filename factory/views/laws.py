"""The laws that latents and their steps follow: numbers of a seed alone, so that sweeps over a scale are paired."""

from __future__ import annotations

import math
from functools import lru_cache
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from factory.views.protocol import LatentSpace, Place, Vector
from manifests import seeds

_STANDARD = NormalDist()
FloatArray = NDArray[np.float64]


def truncated_normal(seed: int, purpose: str, size: int, bound: float | None) -> FloatArray:
    """Draw from N(0, 1) cut at ±bound by the inverse of its distribution; all of it where bound is None.

    Source: GenRep's anchors and steps, truncnorm(-2, 2) (Jahanian et al. 2022, section 4).
    """
    if bound is None:
        return seeds.normal(seed, purpose, size).astype(np.float64)
    low, high = _STANDARD.cdf(-bound), _STANDARD.cdf(bound)
    levels = low + (high - low) * seeds.uniform(seed, purpose, size)
    return np.array([_STANDARD.inv_cdf(level) for level in levels])


def uniform_box(seed: int, purpose: str, size: int) -> FloatArray:
    """Draw each coordinate from U(-√3, √3), whose standard deviation is 1 (GenRep's "uniform ball")."""
    return math.sqrt(3.0) * (2.0 * seeds.uniform(seed, purpose, size) - 1.0)


def between(seed: int, purpose: str, low: float, high: float) -> float:
    """Draw one number from U(low, high)."""
    return low if low == high else low + (high - low) * float(seeds.uniform(seed, purpose, 1)[0])


def anchor(place: Place, space: LatentSpace) -> FloatArray:
    """Draw the group's anchor z = τ·TN(0, 1; ±bound)."""
    return fresh(place.group_seed, space)


@lru_cache(maxsize=256)
def fresh(seed: int, space: LatentSpace) -> FloatArray:
    """Draw a z from the anchors' law; kept, since all views of a group ask for the same one."""
    z = space.tau * truncated_normal(seed, "anchor", space.z_dim, space.bound)
    z.setflags(write=False)
    return z


def psi_of(place: Place, space: LatentSpace) -> float:
    """Draw a view's truncation; it stays when the view is rolled again."""
    return between(place.first_seed, "psi", *space.psi)


def vector(values: FloatArray) -> Vector:
    """Round to float32, as rows store latents."""
    return tuple(values.astype(np.float32).tolist())
