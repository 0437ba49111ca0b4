"""The weights of a latent generator -> its network on a device; every tensor is accounted for."""

from __future__ import annotations

from typing import Any

import torch

from factory.generators.latent_config import LatentSource
from factory.generators.latent_folder import LatentFolder
from factory.generators.networks import build
from factory.generators.networks.tensors import load_into, read_tensors, renamed
from manifests.errors import UserError


def load_network(folder: LatentFolder, source: LatentSource, device: str) -> Any:
    """Build the network of a folder, fill it and place it.

    Raises: UserError naming what is wrong with the folder, or with what the source asks of it.
    """
    description = folder.description
    arguments = dict(description.arguments)
    arguments["half_layers"] = 4 if source.dtype == "float16" else 0
    network: Any = build(description.family, arguments, source.model)
    tensors = renamed(read_tensors(folder.weights, description.weights_key), description.weights_names)
    load_into(network, tensors, source.model)
    _place_input(network, source)
    network.requires_grad_(False)
    layout = torch.channels_last if source.channels_last else torch.preserve_format
    return network.to(device, memory_format=layout)


def _place_input(network: Any, source: LatentSource) -> None:
    if source.translate == (0.0, 0.0) and source.rotate_deg == 0.0:
        return
    if not hasattr(network, "set_transform"):
        raise UserError(f"{source.model}: translate and rotate_deg are for StyleGAN3, whose input can be moved")
    network.set_transform(translate=source.translate, rotate_deg=source.rotate_deg)
