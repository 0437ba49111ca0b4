"""Training objectives: what a batch becomes, which images are positives of one another, and the loss."""

from __future__ import annotations

from typing import Any

from manifests.errors import UserError
from trainer.config import RunConfig
from trainer.data_facts import DataFacts
from trainer.encoders import Encoder, build_encoder
from trainer.objectives.autoencoder import Autoencoder
from trainer.objectives.byol import Byol, SimSiam
from trainer.objectives.clip import Clip
from trainer.objectives.cmc import Cmc
from trainer.objectives.drl import Drl
from trainer.objectives.infomin import InfoMin
from trainer.objectives.invert import Invert
from trainer.objectives.learned_views import LearnedViews
from trainer.objectives.moco import Moco
from trainer.objectives.mocov3 import MocoV3
from trainer.objectives.objective import Objective
from trainer.objectives.patches import Patches
from trainer.objectives.pirl import Pirl
from trainer.objectives.siglip import Siglip
from trainer.objectives.simclr import SimClr
from trainer.objectives.stablerep import StableRep
from trainer.objectives.stablerep_text import StableRepText
from trainer.objectives.supcon import SupCon
from trainer.objectives.supervised import Supervised
from trainer.objectives.synclr import SynClr

_METHODS: dict[str, type[Any]] = {
    "simclr": SimClr,
    "supcon": SupCon,
    "stablerep": StableRep,
    "moco": Moco,
    "mocov3": MocoV3,
    "infomin": InfoMin,
    "cmc": Cmc,
    "synclr": SynClr,
    "simsiam": SimSiam,
    "byol": Byol,
    "patches": Patches,
    "drl": Drl,
    "autoencoder": Autoencoder,
}
_CLASSIFIERS: dict[str, type[Any]] = {"supervised": Supervised, "learned_views": LearnedViews}
_READERS: dict[str, type[Any]] = {"clip": Clip, "siglip": Siglip, "stablerep_text": StableRepText}


def build_objective(config: RunConfig, facts: DataFacts = DataFacts()) -> Objective:
    """Build the encoder and the objective around it; torch's generator decides the weights.

    Raises: UserError when the batch holds too few views for the method.
    """
    objective = _build(config, build_encoder(config.encoder), facts)
    if config.data.views < objective.views_needed:
        raise UserError(
            f"{config.objective.name} compares views of a group and needs {objective.views_needed} or more, "
            f"data.views is {config.data.views}; set data.views, or take the simclr preset"
        )
    return objective


def _build(config: RunConfig, encoder: Encoder, facts: DataFacts) -> Objective:
    settings: Any = config.objective
    built: Objective
    if settings.name in _READERS:
        built = _READERS[settings.name](config, settings, encoder, facts.vocabulary)
    elif settings.name == "pirl":
        built = Pirl(config, settings, encoder, facts.stored_images)
    elif settings.name in _CLASSIFIERS:
        built = _CLASSIFIERS[settings.name](config, settings, encoder, facts.classes)
    elif settings.name == "invert":
        built = Invert(config, settings, encoder, facts)
    else:
        built = _METHODS[settings.name](config, settings, encoder)
    return built
