"""The weights of a latent generator -> its network on a device; every tensor is accounted for."""

from __future__ import annotations

from typing import Any

import torch

from factory.generators.latent_config import LatentSource
from factory.generators.latent_folder import LatentFolder
from factory.generators.networks import build, sketch
from factory.generators.networks.tensors import check_fit, load_into, read_tensors, renamed
from manifests.errors import UserError

TRUNCATED = ("stylegan2", "stylegan3", "biggan")  # the others would ignore psi, and their rows tell of it
HALF_LAYERS = 4  # of float16, from the image's end, as NVIDIA's num_fp16_res


def load_network(folder: LatentFolder, source: LatentSource, device: str) -> Any:
    """Build the network of a folder, fill it and place it.

    Raises: UserError naming what is wrong with the folder, or with what the source asks of it.
    """
    description = folder.description
    half_layers = {"half_layers": HALF_LAYERS if source.dtype == "float16" else 0}
    network: Any = build(description.family, {**description.arguments, **half_layers}, source.model)
    load_into(network, _tensors(folder), source.model)
    _check_asked(folder, network, source)
    network.requires_grad_(False)
    if _is_moved(source):
        _move_input(network, source)
    layout = torch.channels_last if source.channels_last else torch.preserve_format
    return network.to(device, memory_format=layout)


def sketch_network(folder: LatentFolder, source: LatentSource) -> Any:
    """Build the network without memory for its weights, once those in the file are known to fit it.

    Raises: UserError as `load_network` does.
    """
    network: Any = sketch(folder.description.family, folder.description.arguments, source.model)
    check_fit(network, _tensors(folder), source.model)
    _check_asked(folder, network, source)
    return network


def _tensors(folder: LatentFolder) -> dict[str, torch.Tensor]:
    description = folder.description
    return renamed(read_tensors(folder.weights, description.weights_key), description.weights_names)


def _check_asked(folder: LatentFolder, network: Any, source: LatentSource) -> None:
    if _is_moved(source) and folder.description.family != "stylegan3":
        raise UserError(f"{source.model}: translate and rotate_deg are for StyleGAN3, whose input can be moved")
    if source.psi_range != (1.0, 1.0) and folder.description.family not in TRUNCATED:
        raise UserError(
            f"{source.model}: psi is for {', '.join(TRUNCATED)}; of {folder.description.family} leave it out"
        )
    if source.classes.only and not network.num_classes:
        raise UserError(f"{source.model}: classes.only is given, but this generator has no classes; leave it out")


def _is_moved(source: LatentSource) -> bool:
    return source.translate != (0.0, 0.0) or source.rotate_deg != 0.0


def _move_input(network: Any, source: LatentSource) -> None:
    """Turn, then shift all images, in place of the pose that the weights have."""
    from factory.generators.networks.stylegan3 import transform_matrix

    right, down = source.translate
    network.input.transform.copy_(transform_matrix(right=right, down=down, clockwise_degrees=source.rotate_deg))
