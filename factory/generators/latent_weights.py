"""The weights of a latent generator -> its network on a device; every tensor is accounted for."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from factory.generators.latent_config import LatentSource
from factory.generators.latent_folder import LatentFolder
from factory.generators.networks import build
from manifests.errors import UserError


def load_network(folder: LatentFolder, source: LatentSource, device: str) -> Any:
    """Build the network of a folder, fill it and place it.

    Raises: UserError naming what is wrong with the folder, or with what the source asks of it.
    """
    description = folder.description
    arguments = dict(description.arguments)
    if description.family in ("stylegan2", "stylegan3"):
        arguments["half_layers"] = 4 if source.dtype == "float16" else 0
    network: Any = build(description.family, arguments, source.model)
    fill(network, read_state(folder), source.model)
    _place_input(network, source)
    network.requires_grad_(False)
    layout = torch.channels_last if source.channels_last else torch.preserve_format
    return network.to(device, memory_format=layout)


def read_state(folder: LatentFolder) -> dict[str, torch.Tensor]:
    """Read a state dict as data: safetensors, or torch.load(weights_only=True).

    Raises: UserError for a file that is neither.
    """
    path, key = folder.weights, folder.description.weights_key
    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else _unpickled_safely(path)
    except (SafetensorError, OSError, RuntimeError, ValueError, EOFError, pickle.UnpicklingError) as error:
        raise UserError(f"{path}: its weights cannot be read as data: {' '.join(str(error).split())[:160]}") from None
    state = state.get(key) if key and isinstance(state, Mapping) else state
    if not isinstance(state, Mapping) or not all(isinstance(one, torch.Tensor) for one in state.values()):
        raise UserError(f"{path}: holds no state dict" + (f" under {key!r}" if key else ""))
    return dict(state)


def _unpickled_safely(path: Any) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def fill(network: torch.nn.Module, state: Mapping[str, torch.Tensor], where: str) -> None:
    """Load every tensor, in float32.

    Raises: UserError naming tensors that are missing, left over or of another shape.
    """
    wanted = network.state_dict()
    missing, extra = sorted(wanted.keys() - state.keys()), sorted(state.keys() - wanted.keys())
    if missing or extra:
        told = [
            f"{len(names)} {what}, such as {names[0]}"
            for names, what in ((missing, "missing"), (extra, "left over"))
            if names
        ]
        raise UserError(f"{where}: its weights are not of this network: {' and '.join(told)}")
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            raise UserError(f"{where}: {name} is {list(state[name].shape)}; expected {list(tensor.shape)}")
    network.load_state_dict({name: value.to(wanted[name].dtype) for name, value in state.items()})


def _place_input(network: Any, source: LatentSource) -> None:
    if source.translate == (0.0, 0.0) and source.rotate_deg == 0.0:
        return
    if not hasattr(network, "set_transform"):
        raise UserError(f"{source.model}: translate and rotate_deg are for StyleGAN3, whose input can be moved")
    network.set_transform(translate=source.translate, rotate_deg=source.rotate_deg)
