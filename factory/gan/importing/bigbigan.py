"""BigBiGAN's generator in its public PyTorch conversion (the state dict of BigBiGAN_x1.pth) -> a generator folder.

That conversion puts the unconditional generator into a class-conditional one whose classes are all alike: their one
embedding is folded into the biases here, and the spectral norms are divided out.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from factory.gan.importing.folder import write_folder
from factory.gan.importing.spectral import divided_after_one_step
from factory.generators.networks.tensors import read_tensors, renamed
from factory.generators.weights import file_sha256
from manifests.errors import UserError

LICENCE = "unknown"  # neither the weights nor their conversion come with terms in the file
ATTENTION = {"theta": "query", "phi": "key", "g": "value", "o": "output"}
FIRST_PX = 4


def import_bigbigan(file: Path, out: Path) -> None:
    """Convert a .pth with the generator's state dict; widths and depth are read off its shapes.

    Raises: UserError for whatever is no such state dict.
    """
    theirs = read_tensors(file)
    try:
        arguments = _arguments(theirs)
        tensors = _ours(theirs, arguments)
    except (KeyError, IndexError, RuntimeError, ValueError, StopIteration) as error:
        detail = " ".join(str(error).split())[:100]
        raise UserError(f"{file}: no BigBiGAN generator in the known PyTorch layout: {detail}") from None
    made_from = {"file": file.name, "sha256": file_sha256(file), "layout": "BigGANsAreWatching"}
    write_folder(out, "bigbigan", arguments, tensors, licence=LICENCE, made_from=made_from)


def _arguments(theirs: Mapping[str, Tensor]) -> dict[str, Any]:
    blocks = 1 + max(int(name.split(".")[1]) for name in theirs if name.startswith("blocks."))
    widths = [len(theirs["linear.weight"]) // FIRST_PX**2]
    widths += [len(theirs[f"blocks.{i}.0.conv1.weight"]) for i in range(blocks)]
    return {
        "z_dim": theirs["linear.weight"].shape[1] * (blocks + 1),
        "channel_width": widths[-1],
        "multiples": [width // widths[-1] for width in widths],
        "attention_px": FIRST_PX << 1 + _attended(theirs),
    }


def _attended(theirs: Mapping[str, Tensor]) -> int:
    """Return the block that attention follows."""
    return next(int(name.split(".")[1]) for name in theirs if name.startswith("blocks.") and name.endswith(".1.gamma"))


def _ours(theirs: Mapping[str, Tensor], arguments: Mapping[str, Any]) -> dict[str, Tensor]:
    blocks = len(arguments["multiples"]) - 1
    plain = _without_spectral_norms(theirs)
    plain = _folded(plain, _one_class(plain.pop("shared.weight")), blocks)
    statistics = {
        name: tensor[None] for name, tensor in plain.items() if name.endswith((".stored_mean", ".stored_var"))
    }
    return renamed(plain | statistics, _names(blocks, _attended(theirs)))


def _without_spectral_norms(theirs: Mapping[str, Tensor]) -> dict[str, Tensor]:
    plain = {}
    for name, tensor in theirs.items():
        layer, _, kind = name.rpartition(".")
        if kind in ("u0", "sv0"):
            continue
        u = theirs.get(f"{layer}.u0") if kind == "weight" else None
        plain[name] = tensor if u is None else divided_after_one_step(tensor, u)
    return plain


def _one_class(embeddings: Tensor) -> Tensor:
    if not bool((embeddings == embeddings[:1]).all()):
        raise ValueError("its classes differ, so it is a conditional BigGAN")
    return embeddings[0]


def _folded(plain: Mapping[str, Tensor], embedding: Tensor, blocks: int) -> dict[str, Tensor]:
    """Split what reads [embedding, chunk of z] into a weight for the chunk and a constant."""
    folded = dict(plain)
    for i in range(blocks):
        for layer in (f"blocks.{i}.0.bn{j}.{kind}" for j in (1, 2) for kind in ("gain", "bias")):
            weight = plain[f"{layer}.weight"]  # [C, embedding + chunk]
            folded[f"{layer}.weight"] = weight[:, len(embedding) :]
            folded[f"{layer}.bias"] = weight[:, : len(embedding)] @ embedding
    return folded


def _names(blocks: int, attended: int) -> dict[str, str]:
    """Map our prefixes to theirs."""
    names = {
        "first": "linear",
        "to_rgb": "output_layer.2",
        "norm.gain": "output_layer.0.gain",
        "norm.offset": "output_layer.0.bias",
        "attention.gamma": f"blocks.{attended}.1.gamma",
    } | _statistics("norm", "output_layer.0")
    names |= {f"attention.{ours}": f"blocks.{attended}.1.{theirs}" for theirs, ours in ATTENTION.items()}
    for i in range(blocks):
        ours, theirs = f"blocks.{i}", f"blocks.{i}.0"
        names |= {f"{ours}.conv{j}": f"{theirs}.conv{j}" for j in (1, 2)} | {f"{ours}.shortcut": f"{theirs}.conv_sc"}
        for j in (1, 2):
            norm, their_norm = f"{ours}.norm{j}", f"{theirs}.bn{j}"
            names |= {f"{norm}.gain": f"{their_norm}.gain", f"{norm}.offset": f"{their_norm}.bias"}
            names |= _statistics(norm, their_norm)
    return names


def _statistics(ours: str, theirs: str) -> dict[str, str]:
    return {f"{ours}.statistics.means": f"{theirs}.stored_mean", f"{ours}.statistics.variances": f"{theirs}.stored_var"}
