"""What walks really do to images: α that was asked for against the transform that is found, on held-out latents.

A transform is found by registration: of all images that the edit alone would make, the nearest to the walk's own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from factory.walks.edits import edited
from factory.walks.file import AlphaLaw, FloatArray, Learned
from factory.walks.frozen import Frozen
from factory.walks.steering import draw_alphas
from factory.walks.transforms import CROP
from manifests import seeds

LEAST_R2 = 0.5  # below, a walk does not do what its name says
LEAST_SLOPE = 0.1  # below, what it does cannot be seen, however well it keeps to its α
HELD_OUT = "held-out walks"  # the purpose of latents that no walk is learned on
_CANDIDATES, _MARGIN, _BATCH, _RESAMPLINGS = 61, 0.25, 32, 1000


@dataclass(frozen=True)
class Measured:
    """How well one walk keeps to its α: R² with its 95 % bootstrap interval over latents."""

    name: str
    r2: float
    r2_low: float
    r2_high: float
    slope: float  # transform found for each unit of α
    explained: float  # share of the images' change that the transform found makes up
    images: int

    @property
    def passes(self) -> bool:
        """Say whether the walk does what its name says."""
        return self.r2 >= LEAST_R2 and self.slope >= LEAST_SLOPE

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "passes": self.passes}


def measure_walks(frozen: Frozen, learned: Learned, *, seed: int, images: int) -> list[Measured]:
    """Measure each walk by itself, on latents that nothing was learned from; a crop's numbers are drawn together."""
    return [_measure(frozen, learned, name, seed, images) for name in learned.names]


def shipped(measured: list[Measured]) -> tuple[str, ...]:
    """Name the walks that pass; the numbers of a crop are one walk."""
    passing = {one.name for one in measured if one.passes}
    has_crop = {one.name for one in measured} & CROP.keys() <= passing
    return tuple(one.name for one in measured if one.name in passing and (has_crop or one.name not in CROP))


def _measure(frozen: Frozen, learned: Learned, name: str, seed: int, images: int) -> Measured:
    laws = learned.facts.laws
    group = learned.facts.inputs if name in learned.facts.inputs else (name,)
    group_laws = {one: laws[one] for one in group}
    found, asked, errors = [], [], []
    for number in range(-(-images // _BATCH)):
        latents = frozen.latents(seed, HELD_OUT, number, _BATCH)
        own = seeds.derive(seed, f"{HELD_OUT}/{name}/{number}")
        alphas = draw_alphas(group_laws, own, _BATCH, frozen.device)
        with torch.no_grad():
            before = frozen.images(latents).clamp(-1, 1)
            step = steps_of(learned, latents.z, alphas)
            after = frozen.images(latents, step, learned.facts.space).clamp(-1, 1)
            values, left = registered(before, after, name, laws[name], alphas)
        found.append(values)
        asked.append(alphas[name].cpu().double().numpy())
        errors.append(left)
    return summary(name, *(np.concatenate(parts)[:images] for parts in (asked, found, errors)))


def steps_of(learned: Learned, z: Tensor, alphas: Mapping[str, Tensor]) -> Tensor:
    """Return every row's step as a data set's views would take it, [n, dimensions]."""
    rows = z.double().cpu().numpy()
    asked = {name: values.double().tolist() for name, values in alphas.items()}
    steps = [learned.step(row, {name: asked[name][i] for name in asked}) for i, row in enumerate(rows)]
    return torch.from_numpy(np.stack(steps).astype(np.float32)).to(z.device)


def registered(
    before: Tensor, after: Tensor, name: str, law: AlphaLaw, others: Mapping[str, Tensor]
) -> tuple[FloatArray, FloatArray]:
    """Return the α whose edit of `before` is nearest to `after`, and the squared errors with it and without any.

    `others` holds what else was done. Beyond what is known, an edit goes on with the border's colours.
    Shapes: images [n, 3, H, W] in [-1, 1]; returns [n] and [n, 2].
    """
    grid = _candidates(name, law)
    errors = []
    for candidate in grid.tolist():
        alphas = {**others, name: torch.full((len(before),), candidate, device=before.device)}
        errors.append((edited(before, alphas)[0] - after).square().mean(dim=(1, 2, 3)))
    table = torch.stack(errors).double().cpu().numpy()  # [candidates, n]
    unchanged = (before - after).square().mean(dim=(1, 2, 3)).double().cpu().numpy()
    return _lowest(grid, table), np.stack([table.min(axis=0), unchanged], axis=1)


def summary(name: str, asked: FloatArray, found: FloatArray, errors: FloatArray) -> Measured:
    """Fit the transform that was found linearly to α."""
    rng = np.random.Generator(np.random.Philox(key=0))
    rows = [rng.integers(len(asked), size=len(asked)) for _ in range(_RESAMPLINGS)]
    low, high = np.quantile([_r2(asked[of], found[of]) for of in rows], (0.025, 0.975))
    spread = max(float(np.var(asked)), 1e-12)
    slope = float(np.mean((asked - asked.mean()) * (found - found.mean()))) / spread
    explained = 1 - float(errors[:, 0].sum()) / max(float(errors[:, 1].sum()), 1e-12)
    return Measured(name, _r2(asked, found), float(low), float(high), slope, explained, len(asked))


def _r2(asked: FloatArray, found: FloatArray) -> float:
    spread = float(np.var(asked) * np.var(found))
    covariance = float(np.mean((asked - asked.mean()) * (found - found.mean())))
    return covariance**2 / spread if spread > 1e-24 else 0.0


def _candidates(name: str, law: AlphaLaw) -> FloatArray:
    margin = 0.0 if name in CROP else _MARGIN * (law.high - law.low)  # a box stays within its image
    return np.linspace(law.low - margin, law.high + margin, _CANDIDATES)


def _lowest(grid: FloatArray, table: FloatArray) -> FloatArray:
    """Return where each column is lowest, between the grid's points by the parabola through the lowest three."""
    best = table.argmin(axis=0).clip(1, len(grid) - 2)
    columns = np.arange(table.shape[1])
    left, middle, right = (table[best + i, columns] for i in (-1, 0, 1))
    curvature = left - 2 * middle + right
    offset = np.where(curvature > 0, 0.5 * (left - right) / np.where(curvature > 0, curvature, 1.0), 0.0)
    return np.asarray(grid[best] + offset.clip(-1, 1) * (grid[1] - grid[0]))
