"""Tiny random-weight folders of every latent family, written as docs/generators.md says, without importers.

`folder(family)` builds once a session; `build(path, family)` builds one to tamper with.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file

from factory.generators.networks import build as build_network
from tests.factory import tiny

DIM = 12
CLASSES = 3
FAMILIES: dict[str, dict[str, Any]] = {
    "stylegan2": {
        "resolution": 16,
        "z_dim": DIM,
        "w_dim": 8,
        "channel_base": 128,
        "channel_max": 8,
        "mapping_layers": 2,
    },
    "stylegan3": {"resolution": 16, "z_dim": DIM, "w_dim": 8, "channel_base": 128, "channel_max": 8, "layers": 4}
    | {"output_scale": 1.0},
    "biggan": {
        "layers": [[True, 2, 2], [False, 2, 1], [True, 1, 1]],
        "num_classes": CLASSES,
        "channel_width": 16,
        "z_dim": DIM,
        "attention_layer_position": 1,
        "n_stats": 5,
    },
    "bigbigan": {"z_dim": DIM, "channel_width": 16, "multiples": [2, 1, 1], "attention_px": 8},
    "dcgan": {
        "z_dim": DIM,
        "num_classes": CLASSES,
        "layers": [
            {"channels": 8, "stride": 1, "padding": 0},
            {"channels": 8, "stride": 2, "padding": 1},
            {"channels": 3, "stride": 2, "padding": 1, "norm": "none", "activation": "tanh"},
        ],
    },
}
TRUNCATED = ("stylegan2", "stylegan3", "biggan")  # families that psi means something to
STYLES = 6  # of stylegan2 at 16 px


@cache
def folder(family: str, **arguments: Any) -> Path:
    """Return a shared, read-only folder; it is built the first time and removed when the process ends."""
    name = "-".join([family, *(f"{key}{value}" for key, value in arguments.items())])
    return build(Path(tiny.session().name) / f"latent-{name}", family, **arguments)


def build(path: Path, family: str = "stylegan2", *, told: dict[str, Any] | None = None, **arguments: Any) -> Path:
    """Write a folder; `told` changes keys of its generator.json, None removes one."""
    torch.manual_seed(5)
    settings = {**FAMILIES[family], **arguments}
    network: Any = build_network(family, settings)
    with torch.no_grad():
        for name, tensor in network.state_dict().items():
            if name.endswith("noise_strength"):  # of a new network it is 0, and noise would change nothing
                tensor.fill_(0.3)
            if name.endswith("w_avg"):  # likewise, and truncation would only shorten
                tensor.normal_()
            if name.endswith("means"):  # a BigGAN's statistics: another set for each psi
                tensor.normal_()
            if family == "dcgan" and name == "layers.2.conv.weight":  # else its images are grey
                tensor.mul_(50)
    path.mkdir(parents=True)
    save_file({name: one.contiguous() for name, one in network.state_dict().items()}, path / "generator.safetensors")
    classes = settings.get("num_classes", 0)
    names = {"class_names": ["cat", "dog", "fox", "owl"][:classes]} if classes else {}
    index = {"format": 1, "family": family, "arguments": settings, **names, "licence": "CC0-1.0", **(told or {})}
    kept = {name: value for name, value in index.items() if value is not None}
    (path / "generator.json").write_text(json.dumps(kept), encoding="utf-8")
    return path


def source(family: str = "stylegan2", **changes: Any) -> dict[str, Any]:
    return {"family": "latent", "model": str(folder(family)), **changes}


def settings(**changes: Any) -> dict[str, Any]:
    """A recipe of 2 shards (6 groups by 4) of 3 views with a StyleGAN2 of a millisecond an image."""
    counts = {"groups": 6, "views": 3, "groups_per_shard": 4, "batch": 4}
    return {
        "name": "tiny",
        "seed": 3,
        **counts,
        "device": "cpu",
        "sources": [source()],
        "encode": {"codec": "png"},
        **changes,
    }
