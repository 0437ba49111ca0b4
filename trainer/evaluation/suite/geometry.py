"""The shape of the features, without labels: effective rank, alignment of positives, uniformity.

Positives are the views of a group; where a group has one view, two crops of the image (SimCLR's) stand in, and the
metric's name says so.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from learning.augment import augment, preset
from manifests.seeds import integers
from trainer.embed import fitted
from trainer.evaluation.evidence import mean_score
from trainer.evaluation.geometry import alignment, effective_rank, uniformity
from trainer.evaluation.partition import name_order
from trainer.evaluation.suite.bench import Bench, InapplicableError, Measurement, Protocol, measured

MOST_IMAGES = 2_000  # that are looked at: pairs are their square


def _measure(bench: Bench) -> list[Measurement]:
    rows = _looked_at(bench)
    components, features = bench.task.pool.components[rows], bench.features[rows]
    rank = Measurement("effective_rank", effective_rank(features), images=len(rows), groups=len(set(components)))
    spread = measured("uniformity", uniformity(features, components), len(rows))
    return [rank, spread, _aligned(bench, rows)]


def _looked_at(bench: Bench) -> NDArray[np.int64]:
    """Choose images by the hash of their group's key, so that whole groups are looked at."""
    scored = bench.task.scored
    keys = bench.task.pool.rows["key"].to_pylist()
    mine = [keys[row] for row in scored]
    names = list(dict.fromkeys(mine))
    views = bench.task.pool.dataset.version.views_per_group
    kept = {names[place] for place in name_order(names, "geometry")[: max(1, MOST_IMAGES // views)].tolist()}
    return scored[[key in kept for key in mine]]


def _aligned(bench: Bench, rows: NDArray[np.int64]) -> Measurement:
    views = bench.task.pool.dataset.version.views_per_group
    if views > 1:
        stacked = bench.features[rows].reshape(-1, views, bench.features.shape[1])  # groups are stored whole, in order
        first, second, metric = stacked[:, 0], stacked[:, 1], "alignment_of_views"
        components = bench.task.pool.components[rows[::views]]
    else:
        first, second = (_crops(bench, rows, copy) for copy in (0, 1))
        components, metric = bench.task.pool.components[rows], "alignment_of_crops"
    return measured(metric, mean_score(alignment(first, second), components), len(rows))


@torch.no_grad()
def _crops(bench: Bench, rows: NDArray[np.int64], copy: int) -> Tensor:
    encoder = bench.subject.encoder
    if encoder is None:
        raise InapplicableError(f"{bench.subject.name} sees no crops")
    device, size_px, found = next(encoder.parameters()).device, encoder.preprocessing.size_px, []
    seeds = torch.from_numpy(integers(0, f"alignment/{copy}", 2**62, (len(rows),))).to(device)
    for images in bench.task.pool.batches(rows):
        pixels = fitted(images, size_px).to(device)
        crops = augment(pixels, seeds[: len(pixels)], preset("simclr"), size_px)
        seeds = seeds[len(pixels) :]
        found.append(encoder(encoder.normalize(crops)).float().cpu())
    return torch.cat(found)


GEOMETRY = Protocol("geometry", 1, _measure)
