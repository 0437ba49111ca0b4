"""NVIDIA's official StyleGAN pickles -> generator folders, by the official tensors' names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from factory.gan.discriminator import Discriminator
from factory.gan.importing.folder import write_folder
from factory.gan.importing.nvidia_arguments import (
    discriminator_arguments,
    generator_family,
    stylegan2_arguments,
    stylegan3_arguments,
)
from factory.gan.importing.nvidia_pickle import Module, read_networks
from factory.gan.importing.pickles import RefusedPickleError
from factory.gan.importing.storages import TensorView
from factory.generators.networks import checked, network_class
from factory.generators.networks.resampling import low_pass
from factory.generators.weights import file_sha256
from manifests.errors import UserError
from manifests.terminal import printable

LICENCE = "NVIDIA Source Code License (research and evaluation only), unless its makers say otherwise"
FILTERS = ("resample_filter", "up_filter", "down_filter")  # ours follow from the arguments
FILTER_TOLERANCE = 1e-6


@dataclass(frozen=True)
class Translation:
    """How one of the official networks becomes ours: its arguments, the network without memory, its tensors' names."""

    arguments: dict[str, Any]
    sketch: nn.Module
    renamed: Callable[[str], str]


def import_pickle(path: Path, out: Path) -> None:
    """Convert a network pickle: G_ema is the generator; G and D, if both are there, go into training/.

    Raises: UserError for whatever is no such pickle, is hostile, or holds a network that ours cannot be.
    """
    networks = read_networks(path)
    limit_bytes = path.stat().st_size
    try:
        family = generator_family(networks["G_ema"])
        generator = _of_generator(networks["G_ema"], family, str(path))
        average = _translated(networks["G_ema"], generator, limit_bytes)
        training, discriminator = {}, None
        if "G" in networks and "D" in networks:
            judge = _of_discriminator(networks["D"])
            discriminator = judge.arguments
            training = {
                "G": _translated(networks["G"], generator, limit_bytes),
                "D": _translated(networks["D"], judge, limit_bytes),
            }
    except (RefusedPickleError, ValueError) as error:
        raise UserError(f"{path}: {printable(' '.join(str(error).split())[:300])}") from None
    made_from = {"file": path.name, "sha256": file_sha256(path), "layout": "NVIDIA network pickle", "network": "G_ema"}
    write_folder(
        out,
        family,
        generator.arguments,
        average,
        licence=LICENCE,
        made_from=made_from,
        training=training,
        discriminator=discriminator,
    )


def _of_generator(network: Module, family: str, where: str) -> Translation:
    read, renamed = {
        "stylegan2": (stylegan2_arguments, _stylegan2_name),
        "stylegan3": (stylegan3_arguments, _stylegan3_name),
    }[family]
    arguments = read(network)
    return Translation(arguments, _sketched(network_class(family), checked(family, arguments, where)), renamed)


def _of_discriminator(network: Module) -> Translation:
    arguments = discriminator_arguments(network)
    highest = int(arguments["resolution"]).bit_length()
    return Translation(arguments, _sketched(Discriminator, arguments), lambda name: _discriminator_name(name, highest))


def _sketched(network: type[nn.Module], arguments: Mapping[str, Any]) -> nn.Module:
    with torch.device("meta"):
        return network(**arguments)


def _translated(network: Module, translation: Translation, limit_bytes: int) -> dict[str, Tensor]:
    """Give the tensors our names, once their names, shapes and weight are known to be right.

    Raises: RefusedPickleError that names the first tensor that is not.
    """
    views = network.tensors()
    ours: dict[str, TensorView] = {}
    for name, view in views.items():
        if name.endswith(FILTERS):
            _check_filter(name, view, translation)
        else:
            ours[translation.renamed(name)] = view
    expected = translation.sketch.state_dict()
    if wrong := sorted(ours.keys() ^ expected.keys()):
        raise RefusedPickleError(f"its tensors are not those of its arguments: {', '.join(wrong[:3])[:200]}")
    for name, view in ours.items():
        if view.shape != tuple(expected[name].shape):
            raise RefusedPickleError(f"{name} has shape {view.shape}, expected {tuple(expected[name].shape)}")
    if sum(view.size_bytes for view in ours.values()) > limit_bytes:
        raise RefusedPickleError("tensors that weigh more than the file: some share their numbers")
    return {name: torch.from_numpy(np.array(view.array(), dtype=np.float32)) for name, view in ours.items()}


def _check_filter(name: str, view: TensorView, translation: Translation) -> None:
    """Compare a stored low-pass filter with the one that ours will use."""
    layer, _, kind = name.rpartition(".")
    if kind == "resample_filter":
        wanted = low_pass(translation.arguments["resample_filter"])
    else:
        found = translation.sketch.get_submodule(_stylegan3_name(f"{layer}.weight").rpartition(".")[0])
        wanted = getattr(found, kind)
    if view.shape != tuple(wanted.shape) or not np.allclose(
        view.array(), wanted.numpy(), rtol=0, atol=FILTER_TOLERANCE
    ):
        raise RefusedPickleError(f"{printable(name[:80])} is not the filter that follows from its arguments")


def _stylegan2_name(name: str) -> str:
    found = re.fullmatch(r"synthesis\.b(\d{1,5})\.(?:(conv0|conv1|torgb)\.)?(.{1,80})", name)
    if found is None:
        return _mapping_name(name)
    block = int(found[1]).bit_length() - 3  # 4 px is the first
    last = "convolutions.0." if block == 0 else "convolutions.1."
    layer = {"conv0": "convolutions.0.", "conv1": last, "torgb": "to_rgb.", None: ""}[found[2]]
    return f"blocks.{block}.{layer}{found[3]}"


def _stylegan3_name(name: str) -> str:
    found = re.fullmatch(r"synthesis\.(?:L(\d{1,3})_\d{1,5}_\d{1,5}|input)\.(.{1,80})", name)
    if found is None:
        return _mapping_name(name)
    return f"input.{found[2]}" if found[1] is None else f"layers.{found[1]}.{found[2]}"


def _discriminator_name(name: str, highest: int) -> str:
    found = re.fullmatch(r"b(\d{1,5})\.(conv0|conv1|skip|fromrgb|conv|fc|out)\.(.{1,80})", name)
    if found is None:
        return _mapping_name(name)
    layer = {"conv0": "conv", "conv1": "down", "skip": "short_cut", "fromrgb": "from_rgb", "fc": "dense"}
    last = layer.get(found[2], found[2])
    if found[1] == "4" or found[2] == "fromrgb":
        return f"{last}.{found[3]}"
    return f"blocks.{highest - int(found[1]).bit_length()}.{last}.{found[3]}"


def _mapping_name(name: str) -> str:
    return re.sub(r"^mapping\.fc(\d{1,3})\.", r"mapping.layers.\1.", name[:200])
