"""Write an encoder as a folder that timm loads by itself, and believe it only after reloading and comparing.

model.safetensors + config.json   `timm.create_model("local-dir:FOLDER", pretrained=True)`
flow.safetensors + flow.json      the learned change of colours that the encoder's split begins with, if it has one
heads.safetensors                 the objective's other weights (projection heads), by their names in training
viewmill.json                     what made it: data roots, config, images seen; the metadata of the weights has it too
README.md                         the card: what it is and how to load it, for people and model hubs
"""

from __future__ import annotations

import json
import os
import shutil
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import timm
import torch
from torch import Tensor, nn

from learning.checkpoint import save_tensors
from manifests.errors import UserError, explained
from trainer.card import readme
from trainer.config import parse_config
from trainer.data_facts import DataFacts
from trainer.encoders import Encoder, SplitBackbone, load_encoder
from trainer.flow_file import write_flow
from trainer.monitor import read_lines
from trainer.objectives import build_objective
from trainer.objectives.objective import Objective
from trainer.run import newest_checkpoint, read_pinned
from trainer.splits import FlowSplit
from trainer.timed import TimedBackbone

_TOLERANCE = 1e-5  # same weights, same machine: anything above is another network


def export(objective: Objective, folder: Path, provenance: Mapping[str, Any]) -> None:
    """Write the encoder of an objective and its heads to a new folder, complete or not at all.

    Raises: UserError when the folder exists or cannot be written; RuntimeError when what timm reloads is not the same.
    """
    if folder.exists():
        raise UserError(f"{folder} exists already; choose another folder or remove it")
    encoder = objective.encoder
    part = folder.with_name(f"{folder.name}.part-{uuid.uuid4().hex[:8]}")
    try:
        with explained(str(folder), is_target=True):
            part.mkdir(parents=True)
            described, weights = timm_config(encoder), _contiguous(encoder.backbone.state_dict())
            save_tensors(weights, part / "model.safetensors", {"viewmill": _identity(provenance)})
            save_tensors(_heads(objective), part / "heads.safetensors")
            if isinstance(encoder.cut, FlowSplit):
                write_flow(part, encoder.cut.learned, {"made_by": dict(provenance)})
            _write_json(part / "config.json", described)
            _write_json(part / "viewmill.json", provenance)
            count = sum(parameter.numel() for parameter in encoder.backbone.parameters())
            (part / "README.md").write_text(readme(provenance, described, count))
            _check_reload(encoder, part)
            os.rename(part, folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def export_run(run: Path, out: Path) -> int:
    """Export the encoder of a run's newest checkpoint and return the images it had seen.

    Raises: UserError if the folder is no run or has no checkpoint yet.
    """
    saved = read_pinned(run)
    found = newest_checkpoint(run / "checkpoints")
    if found is None:
        raise UserError(f"{run} has no checkpoint yet; wait for one, or lower checkpoint_images")
    images_seen, state = found
    config = parse_config(saved["config"], str(run)).without_sources()
    objective = build_objective(config, DataFacts(**saved["data_facts"]))
    objective.load_state_dict(state["ema"] or state["objective"])
    scores = last_scores(run / "metrics.jsonl", images_seen)
    export(objective, out, {**saved, "images_seen": images_seen, **({"scores": scores} if scores else {})})
    return images_seen


def timm_config(encoder: Encoder) -> dict[str, Any]:
    """Describe an encoder as timm's `config.json` does, with the preprocessing that it was trained with."""
    pixels = encoder.preprocessing
    model = _timms(encoder.backbone)
    known = cast(dict[str, Any], model.pretrained_cfg)
    pretrained = {
        "tag": "viewmill",
        "custom_load": False,
        "input_size": [3, pixels.size_px, pixels.size_px],
        "fixed_input_size": bool(known.get("fixed_input_size", False)),
        "interpolation": "bicubic",
        "crop_pct": 1.0,
        "crop_mode": "center",
        "mean": list(pixels.mean),
        "std": list(pixels.std),
        "num_classes": 0,
        "first_conv": known.get("first_conv"),
        "classifier": known.get("classifier"),
    }
    return {
        "architecture": encoder.architecture,
        "num_classes": 0,
        "num_features": encoder.dimensions,
        "global_pool": _pool(model),
        "model_args": {**encoder.arguments},
        **(encoder.cut.described() if encoder.cut else {}),
        **({"timed": True} if encoder.timed else {}),
        "pretrained_cfg": pretrained,
    }


def _timms(backbone: nn.Module) -> nn.Module:
    """The network that timm made, or the first of two."""
    if isinstance(backbone, SplitBackbone):
        return backbone.first
    return cast(nn.Module, backbone.model) if isinstance(backbone, TimedBackbone) else backbone


def last_scores(metrics: Path, images_seen: int) -> dict[str, float]:
    """Return what the probe said last, up to so many images; nothing where there was none."""
    scores: dict[str, float] = {}
    for line in read_lines(metrics, images_seen):
        scores = {name: value for name, value in line.items() if name.startswith("probe")} or scores
    return scores


def _identity(provenance: Mapping[str, Any]) -> str:
    """What decides the weights, so that equal weights are equal bytes, whatever the state of the checkout."""
    return json.dumps({name: provenance.get(name) for name in ("roots", "config", "images_seen")}, sort_keys=True)


def _pool(backbone: nn.Module) -> str:
    pool = getattr(backbone, "global_pool", "")
    return pool if isinstance(pool, str) else str(getattr(pool, "pool_type", ""))


def _heads(objective: Objective) -> dict[str, Tensor]:
    state = objective.state_dict()
    return _contiguous({name: tensor for name, tensor in state.items() if not name.startswith("encoder.")})


def _contiguous(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in state.items()}


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n")


def _as_read(encoder: Encoder, folder: Path) -> tuple[nn.Module, nn.Module]:
    """The network and its export, by timm where timm can: it knows neither two backbones nor times."""
    if encoder.split is None and not encoder.timed:
        return encoder.backbone, timm.create_model(f"local-dir:{folder}", pretrained=True)
    return encoder, load_encoder(folder)[0]


def _check_reload(encoder: Encoder, folder: Path) -> None:
    """Compare features of the reloaded network with this one's on images that no batch statistics touch."""
    network, reloaded = _as_read(encoder, folder)
    size = encoder.preprocessing.size_px
    images = torch.linspace(-1, 1, 2 * 3 * size * size).view(2, 3, size, size)
    with torch.no_grad():
        mine = network.cpu().eval()(images)
        difference = (mine - reloaded.eval()(images)).abs().max().item()
    if not difference <= _TOLERANCE:
        raise RuntimeError(f"{folder}: the reloaded encoder's features differ by {difference:.2g}, above {_TOLERANCE}")
