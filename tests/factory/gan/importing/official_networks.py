"""Small networks of ours, pickled as the official training loops would have pickled them."""

from pathlib import Path
from typing import Any

import torch

from factory.gan.discriminator import Discriminator
from factory.generators.networks import build
from factory.generators.networks.resampling import low_pass
from tests.factory.gan.importing import official_layout as layout

WIDTHS = {"channel_base": 128, "channel_max": 16}
STYLEGAN2 = {"resolution": 16, "z_dim": 8, "w_dim": 12, "num_classes": 3, "mapping_layers": 2} | WIDTHS
STYLEGAN3 = {"resolution": 16, "z_dim": 8, "w_dim": 12, "layers": 4} | WIDTHS
OFFICIAL = {"resolution": "img_resolution", "num_classes": "c_dim", "layers": "num_layers"}


def stylegan2(seed: int = 1, widths: dict[str, int] = WIDTHS, **changes: Any) -> tuple[Any, layout.Persistent]:
    """Return a network and its pickled form, as stylegan2-ada-pytorch arranges it."""
    torch.manual_seed(seed)
    network: Any = build("stylegan2", STYLEGAN2 | widths)
    kwargs = _official(STYLEGAN2 | widths) | {"mapping_kwargs": layout.EasyDict(num_layers=2)} | changes
    kwargs["synthesis_kwargs"] = layout.EasyDict({name: kwargs.pop(name) for name in WIDTHS})
    extra = {
        f"synthesis.b{size}": {"use_fp16": size > 8, "resample_filter": low_pass([1, 3, 3, 1])} for size in (4, 8, 16)
    }
    extra["synthesis.b4.conv1"] = {"conv_clamp": 256}
    return network, layout.persistent("Generator", network, layout.stylegan2_name, kwargs, extra)


def stylegan3(seed: int = 1, **changes: Any) -> tuple[Any, layout.Persistent]:
    """Return a network and its pickled form, as stylegan3 arranges it."""
    torch.manual_seed(seed)
    network: Any = build("stylegan3", STYLEGAN3)
    named = layout.stylegan3_name(network)
    kwargs = (
        _official(STYLEGAN3) | {"mapping_kwargs": layout.EasyDict(num_layers=2), "magnitude_ema_beta": 0.9} | changes
    )
    extra: dict[str, Any] = {"synthesis": {"num_fp16_res": 4}, "synthesis.input": {}}
    for i, layer in enumerate(network.layers):
        path = named(f"layers.{i}.bias").rpartition(".")[0]
        filters = {} if layer.to_rgb else {"up_filter": layer.up_filter, "down_filter": layer.down_filter}
        extra[path] = filters | {"conv_clamp": 256}
    return network, layout.persistent("Generator", network, named, kwargs, extra)


def discriminator(seed: int = 2, **changes: Any) -> tuple[Discriminator, layout.Persistent]:
    """Return a discriminator and its pickled form; both packages share it."""
    torch.manual_seed(seed)
    arguments: dict[str, Any] = {"resolution": 16, "num_classes": 3} | WIDTHS
    network = Discriminator(**arguments)
    kwargs = _official(arguments) | {"block_kwargs": layout.EasyDict(freeze_layers=0)} | changes
    extra = {f"b{size}": {"use_fp16": False} for size in (8, 16)} | {"b16.conv0": {"conv_clamp": None}}
    return network, layout.persistent("Discriminator", network, layout.discriminator_name(16), kwargs, extra)


def whole(generator: layout.Persistent, judge: layout.Persistent | None = None) -> dict[str, Any]:
    """Return what a snapshot holds."""
    return {
        "training_set_kwargs": layout.EasyDict(class_name="training.dataset.ImageFolderDataset", resolution=16),
        "G": generator,
        "D": judge,
        "G_ema": generator,
        "augment_pipe": layout.Persistent("AugmentPipe", {"xflip": 1.0}),
    }


def snapshot(path: Path, protocol: int = 4) -> Path:
    """Write a small conditional StyleGAN2 with its discriminator."""
    return layout.write(path, whole(stylegan2()[1], discriminator()[1]), protocol)


def _official(arguments: dict[str, Any]) -> dict[str, Any]:
    given = {OFFICIAL.get(name, name): value for name, value in arguments.items() if name != "mapping_layers"}
    return {"c_dim": 0, "img_channels": 3} | given
