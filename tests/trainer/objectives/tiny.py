"""Every objective at a size of milliseconds, in float64, and a batch with all that they read."""

import torch

from trainer.config import RunConfig
from trainer.data_facts import DataFacts
from trainer.objectives import build_objective
from trainer.objectives.inputs import Inputs

VIT = {
    "backbone": "vit_tiny_patch16_224",
    "arguments": {"img_size": 16, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2},
    "size_px": 16,
}
DYNAMIC_VIT = {**VIT, "arguments": {**VIT["arguments"], "dynamic_img_size": True}}
TIMED_VIT = {**VIT, "timed": True}
FACTS = DataFacts(
    stored_images=40, classes=4, vocabulary=20, target_mean=[0.5, -1.0, 0.0], target_std=[2.0, 0.25, 1.0], class_ids=4
)
TEXT = {"width": 8, "layers": 1, "heads": 2, "context": 6}
HEAD = {"hidden": 12, "dimensions": 6}
JIGSAW = {"grid": 2, "jigsaw_px": 32, "patch_px": 16}
SYNCLR = {"name": "synclr", **HEAD, "local_crops": 2, "local_px": 8, "prototypes": 7}
NET = {"dimensions": 4, "net": {"width": 8, "multipliers": (1, 2), "blocks": 1}, "weight": 0.01}
OBJECTIVES = {
    "simclr": {"name": "simclr", **HEAD},
    "simclr decoupled": {"name": "simclr", **HEAD, "decoupled": True},
    "supcon of labels": {"name": "supcon", **HEAD},
    "supcon of groups": {"name": "supcon", **HEAD, "positives": "group", "layers": 3},
    "stablerep": {"name": "stablerep", **HEAD, "norm": "layer"},
    "stablerep decoupled": {"name": "stablerep", **HEAD, "norm": "layer", "decoupled": True},
    "stablerep_text": {"name": "stablerep_text", "dimensions": 5, "text": TEXT, "image": HEAD},
    "stablerep_text decoupled": {
        "name": "stablerep_text",
        "dimensions": 5,
        "text": TEXT,
        "image": {**HEAD, "decoupled": True},
    },
    "clip": {"name": "clip", "dimensions": 5, "text": TEXT},
    "siglip": {"name": "siglip", "dimensions": 5, "text": TEXT},
    "moco": {"name": "moco", **HEAD, "queue": 20, "momentum": 0.9},
    "moco of groups": {"name": "moco", **HEAD, "queue": 20, "momentum": 0.9, "positives": "group"},
    "mocov3": {"name": "mocov3", **HEAD, "momentum": 0.9},
    "mocov3 of groups": {"name": "mocov3", **HEAD, "positives": "group"},
    "infomin": {"name": "infomin", **HEAD, **JIGSAW, "queue": 20, "momentum": 0.9, "jigsaw_weight": 0.3},
    "infomin of groups": {"name": "infomin", **HEAD, **JIGSAW, "queue": 20, "jigsaw_weight": 0.3, "positives": "group"},
    "cmc": {"name": "cmc", **HEAD},
    "cmc of groups": {"name": "cmc", **HEAD, "positives": "group"},
    "pirl": {"name": "pirl", **HEAD, **JIGSAW, "negatives": 30, "jigsaw_weight": 0.3},
    "synclr": SYNCLR,
    "synclr without patches": {**SYNCLR, "ibot_weight": 0.0, "norm": "batch"},
    "simsiam": {"name": "simsiam", **HEAD, "predictor_hidden": 9},
    "simsiam of groups": {"name": "simsiam", **HEAD, "predictor_hidden": 9, "positives": "group"},
    "byol": {"name": "byol", **HEAD, "momentum": 0.9},
    "byol of groups": {"name": "byol", **HEAD, "positives": "group"},
    "supervised": {"name": "supervised"},
    "patches": {"name": "patches", **HEAD, "whole_px": 24, "distance_px": 8},
    "learned views": {
        **{"name": "learned_views", **HEAD, "information_weight": 0.7, "label_weight": 0.4},
        **{"guard": False, "head_start": 0.0},
    },
    "drl": {"name": "drl", **NET, "regularisation": "l1"},
    "drl of the time": {"name": "drl", **NET, "sde": "vp", "levels": "sigma"},
    "vdrl": {"name": "drl", **NET, "regularisation": "kl"},
    "autoencoder": {"name": "autoencoder", **NET},
    "variational autoencoder": {"name": "autoencoder", **NET, "regularisation": "kl"},
    "invert": {"name": "invert"},
    "invert with classes": {"name": "invert", "conditional": True, "class_weight": 0.5},
}


def config_of(case, views=2, groups=4, **more):
    objective = OBJECTIVES[case]
    encoder = DYNAMIC_VIT if objective["name"] == "synclr" else VIT
    if objective["name"] == "cmc":
        encoder = {**VIT, "split": "lab"}
    if objective["name"] == "learned_views":
        encoder = {**VIT, "split": "flow"}
    if case in ("drl of the time", "vdrl"):
        encoder = TIMED_VIT
    values = {"images": 800, "batch_images": views * groups, "data": {"views": views}, "encoder": encoder}
    return RunConfig.model_validate({**values, "objective": objective, **more})


def objective_of(config, seed=0):
    """An objective whose slow copies have already left the student behind, as after a few steps."""
    torch.manual_seed(seed)
    objective = build_objective(config, FACTS).double()
    if hasattr(objective, "teacher"):
        with torch.no_grad():
            for parameter in objective.teacher.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
    _move_from_zero(objective)
    return objective


@torch.no_grad()
def _move_from_zero(objective):
    """Layers that begin at 0 hide all that lies before them."""
    zeros = [objective.net.leave[2]] if hasattr(objective, "net") else []
    zeros += list(objective.encoder.backbone.changes) if objective.encoder.timed else []
    for layer in zeros:
        layer.weight.add_(0.2 * torch.randn_like(layer.weight))


def inputs_of(objective, config, seed=0, ids=(5, 9, 5, 7), labels=(1, 2, -1, 1)):
    """Groups of which two have one prompt, and one has no label."""
    draw = torch.Generator().manual_seed(seed)
    groups, m = len(ids), config.data.views
    n = groups * m
    return Inputs(
        crops=tuple(_crop(crop, n, draw) for crop in objective.crops),
        ids=torch.tensor(ids).repeat_interleave(m),
        images=100 * m + seed * n + torch.arange(n),
        rows=torch.randperm(FACTS.stored_images, generator=draw)[:n],
        labels=torch.tensor(labels).repeat_interleave(m),
        tokens=_tokens(groups, draw),
        views=m,
        targets=torch.randn(n, len(FACTS.target_mean), generator=draw),
        class_ids=torch.arange(n) % (FACTS.class_ids + 1) - 1,
    )


def _crop(crop, n, draw):
    cut = (crop.grid**2,) if crop.grid else ()
    side = crop.patch_px if crop.grid else crop.size_px
    return torch.randn(crop.count, n, *cut, 3, side, side, generator=draw, dtype=torch.float64)


def _tokens(groups, draw):
    tokens = torch.randint(1, 19, (groups, 6), generator=draw)
    for row, end in enumerate((5, 2, 5, 4)[:groups] if groups <= 4 else [5] * groups):
        tokens[row, end], tokens[row, end + 1 :] = 19, 0
    return tokens
