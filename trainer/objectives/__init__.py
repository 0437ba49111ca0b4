"""Training objectives: what a batch becomes, which images are positives of one another, and the loss."""

from __future__ import annotations

from manifests.errors import UserError
from trainer.config import RunConfig
from trainer.encoders import build_encoder
from trainer.objectives.objective import Objective
from trainer.objectives.simclr import SimCLR
from trainer.objectives.stablerep import StableRep

_METHODS = {"simclr": SimCLR, "stablerep": StableRep}


def build_objective(config: RunConfig) -> Objective:
    """Build the encoder and the objective around it; torch's generator decides the weights.

    Raises: UserError when the batch holds too few views for the method.
    """
    method = _METHODS[config.objective.name]
    if config.data.views < method.views_needed:
        raise UserError(
            f"{config.objective.name} compares views of a group and needs {method.views_needed} or more, "
            f"data.views is {config.data.views}; set data.views, or take the simclr preset"
        )
    return method(config.objective, build_encoder(config.encoder))
