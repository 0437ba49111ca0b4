"""How much of what a generator was given can be read from its images: R² of every number, on groups held out.

By ridge regression from any encoder's frozen features, each group predicted from other groups' images; and by the head
of an encoder that was trained to invert, on a data set that it did not learn from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor

from manifests.dataset import DataSet, open_dataset
from manifests.errors import ConflictError, UserError
from trainer.config import parse_config
from trainer.data_facts import DataFacts
from trainer.embed import embedded
from trainer.encoders import load_encoder
from trainer.evaluation.one_method import read_provenance
from trainer.evaluation.partition import name_order
from trainer.exported import export_folder
from trainer.objectives import build_objective
from trainer.objectives.invert import Invert
from trainer.targets import Targets, read_targets

FOLDS = 5
PENALTIES = tuple(10.0**power for power in range(-4, 5))  # of the number of training images


@dataclass(frozen=True)
class Inversion:
    """R² by dimension: 1 is exact, 0 no better than the mean; `accuracy` of the class, where a head guesses it."""

    data: str
    root: str
    target: str
    images: int
    groups: int
    names: list[str]
    ridge: list[float]
    head: list[float] | None
    accuracy: float | None

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=1)


def inversion(checkpoint: str | Path, url: str, target: str | None = None) -> Inversion:
    """Measure an encoder on the rows' latents; `target` defaults to what the encoder was trained to guess.

    Raises: UserError for rows without the column or fewer than five groups; ConflictError where the head would be
    measured on the data that it learned from.
    """
    provenance = _provenance(checkpoint)
    trained_on = _inverted(provenance)
    wanted = target or trained_on or "latent"
    dataset = open_dataset(url)
    targets = read_targets([dataset], wanted)
    features, keys = _features(checkpoint, dataset)
    known = torch.from_numpy(targets.values).double()
    head, accuracy = None, None
    if trained_on == wanted:
        _refuse_known(provenance, dataset)
        head, accuracy = _by_head(checkpoint, provenance, features, targets)
    fitted = r_squared(cross_predicted(features.double(), known, keys), known)
    groups = len(np.unique(keys))
    return Inversion(url, dataset.root, wanted, len(known), groups, targets.names, fitted, head, accuracy)


def r_squared(guessed: Tensor, truth: Tensor) -> list[float]:
    """Return 1 - squared error / squared deviation of every dimension; 0 for one that is constant. Shapes: [N, T]."""
    errors = (guessed - truth).square().sum(dim=0)
    deviations = (truth - truth.mean(dim=0)).square().sum(dim=0)
    is_varied = deviations > 1e-12 * len(truth)
    return torch.where(is_varied, 1 - errors / deviations.clamp(min=1e-300), 0.0).tolist()


def cross_predicted(features: Tensor, targets: Tensor, keys: NDArray[np.str_]) -> Tensor:
    """Guess the targets of every group from a ridge regression on other groups, its penalty picked on a part of them.

    Shapes: features [N, D], targets [N, T], keys [N] -> [N, T].
    """
    fold_of = torch.from_numpy(_folds(keys))
    found = torch.empty_like(targets)
    for fold in range(FOLDS):
        test, chosen = fold_of == fold, fold_of == (fold + 1) % FOLDS
        rest = ~test & ~chosen
        guesses = _path(features[rest], targets[rest], features[chosen], PENALTIES)
        errors = [(guess - targets[chosen]).square().mean().item() for guess in guesses]
        best = PENALTIES[int(np.argmin(errors))]
        found[test] = _path(features[~test], targets[~test], features[test], [best])[0]
    return found


def _path(features: Tensor, targets: Tensor, queries: Tensor, penalties: Sequence[float]) -> list[Tensor]:
    """Ridge regression by the singular values of the standardised features, one answer a penalty."""
    mean, std = features.mean(dim=0), features.std(dim=0).clamp(min=1e-9)
    left, singular, right = torch.linalg.svd((features - mean) / std, full_matrices=False)
    offset = targets.mean(dim=0)
    projected, seen = left.T @ (targets - offset), ((queries - mean) / std) @ right.T
    return [
        seen @ (projected * (singular / (singular.square() + penalty * len(features)))[:, None]) + offset
        for penalty in penalties
    ]


def _folds(keys: NDArray[np.str_]) -> NDArray[np.int64]:
    names, group = np.unique(keys, return_inverse=True)
    if len(names) < FOLDS:
        raise UserError(f"the data have {len(names)} groups; expected {FOLDS} or more, to hold some out")
    fold = np.empty(len(names), np.int64)
    fold[name_order(names.tolist(), "inversion")] = np.arange(len(names)) % FOLDS
    return np.asarray(fold[group], np.int64)


def _features(checkpoint: str | Path, dataset: DataSet) -> tuple[Tensor, NDArray[np.str_]]:
    """Features of all images in the order of the rows, and the key of each one's group."""
    encoder, _ = load_encoder(checkpoint)
    parts = list(embedded(encoder, dataset))
    flat = [torch.from_numpy(np.array(features.flatten())).view(len(features), -1) for _, features in parts]
    table = pa.concat_tables([rows for rows, _ in parts])
    return torch.cat(flat), np.array(table["key"].to_pylist(), np.str_)


def _provenance(checkpoint: str | Path) -> dict[str, Any]:
    try:
        return read_provenance(checkpoint)
    except UserError:
        return {}  # a folder of somebody else's: no head, and no data that it is known to have seen


def _inverted(provenance: dict[str, Any]) -> str | None:
    objective = provenance.get("config", {}).get("objective", {})
    return str(objective["target"]) if objective.get("name") == "invert" else None


def _refuse_known(provenance: dict[str, Any], dataset: DataSet) -> None:
    if dataset.root in provenance["roots"]:
        raise ConflictError(
            f"{dataset.url} is what the head learned from; give held-out groups, cut off before training by"
            f""" `python -m manifests select {dataset.url} OUT --where '"group" % 5 = 0'`"""
        )


def _by_head(
    checkpoint: str | Path, provenance: dict[str, Any], features: Tensor, targets: Targets
) -> tuple[list[float], float | None]:
    folder = export_folder(Path(checkpoint))
    config = parse_config(provenance["config"], str(folder)).without_sources()
    objective = build_objective(config, DataFacts(**provenance["data_facts"]))
    assert isinstance(objective, Invert)
    objective.load_state_dict(load_file(folder / "heads.safetensors"), strict=False)
    if objective.head.out_features != len(targets.names):
        raise UserError(
            f"{folder} guesses {objective.head.out_features} numbers, the data have {len(targets.names)} of them"
        )
    with torch.no_grad():
        guessed = objective.guesses(features).double()
        found = r_squared(guessed, torch.from_numpy(targets.values).double())
        if objective.classifier is None:
            return found, None
        known = torch.from_numpy(targets.class_ids)
        right = objective.classifier(features).argmax(dim=1) == known
        return found, float(right[known >= 0].double().mean())
