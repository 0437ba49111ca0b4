"""Which of a bank's models tells real from generated best: the one that has most to teach, and comes in next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from factory.gan.bank import Facts, embed, open_model
from factory.gan.separability import Line, Separability, fit_line, separability
from manifests.errors import UserError


@dataclass(frozen=True)
class Ranked:
    """A model and how well a line in its features tells real from generated."""

    facts: Facts
    found: Separability

    def told(self) -> dict[str, Any]:
        """Return what a record keeps."""
        return {
            "model": self.facts.name,
            **asdict(self.found),
            "sha256": self.facts.sha256,
            "licence": self.facts.licence,
        }


def rank_models(
    specs: Sequence[str], real: np.ndarray, generated: np.ndarray, *, seed: int, device: torch.device
) -> list[Ranked]:
    """Rank models by pictures [N, H, W, 3] and [M, H, W, 3], the most separable first; of equal accuracy, by log loss.

    Raises: UserError for a model that is not here, or too few pictures.
    """
    found = []
    for spec in specs:
        model = open_model(spec).to(device)  # one at a time: a bank may be larger than a device
        features = embed(model, real), embed(model, generated)
        try:
            found.append(Ranked(model.facts, separability(*features, seed=seed)))
        except ValueError as error:
            raise UserError(f"{spec}: {error}") from None
    return sorted(found, key=lambda one: (-one.found.accuracy, one.found.log_loss))


def fit(spec: str, real: np.ndarray, generated: np.ndarray, device: torch.device) -> tuple[Facts, Line]:
    """Fit the line that says how real a picture looks to a model."""
    model = open_model(spec).to(device)
    return model.facts, fit_line(embed(model, real), embed(model, generated))
