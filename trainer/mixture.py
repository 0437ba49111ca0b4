"""What a run draws from: its data sets, a union with weights being several. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from manifests.dataset import DataSet


def mixture(
    datasets: Sequence[DataSet], weights: Sequence[float] | None
) -> tuple[list[DataSet], tuple[float, ...] | None]:
    """Return the data sets to draw from and each one's share of the slots; None where sizes decide.

    A union's weights divide the share that the union has, as it was given or by its groups.
    """
    if not any(weight is not None for dataset in datasets for _, weight in dataset.parts()):
        return list(datasets), None if weights is None else tuple(weights)
    shares = weights if weights is not None else [float(dataset.version.groups_ok) for dataset in datasets]
    drawn, parts_shares = list[DataSet](), list[float]()
    for dataset, share in zip(datasets, shares, strict=True):
        parts = dataset.parts()
        whole = sum(weight or 0.0 for _, weight in parts)
        for part, weight in parts if whole else [(dataset, 1.0)]:
            drawn.append(part)
            parts_shares.append(share * (weight or 0.0) / (whole or 1.0))
    return drawn, tuple(parts_shares)
