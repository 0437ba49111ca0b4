"""BigGAN-deep as the PyPI package pytorch-pretrained-biggan publishes it -> a generator folder.

Spectral norms are divided out, the class matrix becomes an embedding, and of the last convolution only the three
channels that are looked at are kept; the images stay the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from factory.gan.importing.folder import write_folder
from factory.gan.importing.spectral import divided
from factory.generators.networks import checked
from factory.generators.networks.tensors import read_tensors, renamed
from factory.generators.weights import file_sha256, read_json
from manifests.errors import UserError

CONFIG, WEIGHTS = "config.json", "pytorch_model.bin"
ARGUMENTS = ("num_classes", "layers", "channel_width", "z_dim", "attention_layer_position", "eps", "n_stats")
IMPLIED = {"output_dim", "class_embed_dim"}  # the image's size and z_dim say so too
IMAGENET_CLASSES = 1000
LICENCE = "unknown"  # the code is MIT; DeepMind published the weights without a word on theirs in the files
ATTENTION = {"theta": "query", "phi": "key", "g": "value", "o_conv": "output"}


def import_biggan(folder: Path, out: Path, class_names: Sequence[str] | None = None) -> None:
    """Convert a folder of config.json and pytorch_model.bin.

    The 1000 classes of ImageNet are named without being given.
    Raises: UserError for whatever is no such folder.
    """
    config = read_json(folder, CONFIG, f"{folder}: no BigGAN")
    arguments = _arguments(config, str(folder / CONFIG))
    tensors = _ours(read_tensors(folder / WEIGHTS), arguments, folder / WEIGHTS)
    names = class_names if class_names is not None else imagenet_names(arguments["num_classes"])
    if names is not None and len(names) != arguments["num_classes"]:
        raise UserError(f"{out}: {len(names)} class names, expected {arguments.get('num_classes')}")
    made_from = {"file": WEIGHTS, "sha256": file_sha256(folder / WEIGHTS), "layout": "pytorch-pretrained-biggan"}
    write_folder(out, "biggan", arguments, tensors, licence=LICENCE, made_from=made_from, class_names=names)


def imagenet_names(num_classes: int) -> list[str] | None:
    """Return the names of ImageNet's classes in their usual order, if there are as many."""
    if num_classes != IMAGENET_CLASSES:
        return None
    from torchvision.models import ResNet50_Weights

    return list(ResNet50_Weights.DEFAULT.meta["categories"])


def _arguments(config: Mapping[str, Any], where: str) -> dict[str, Any]:
    unknown = sorted(config.keys() - set(ARGUMENTS) - IMPLIED)
    missing = sorted(set(ARGUMENTS) - config.keys())
    if unknown or missing:
        lacking = f"lacks {', '.join(missing)}" if missing else f"has unknown keys {', '.join(unknown[:3])}"
        raise UserError(f"{where}: {lacking}; expected the config.json of pytorch-pretrained-biggan")
    if config.get("class_embed_dim", config["z_dim"]) != config["z_dim"]:
        raise UserError(f"{where}: class_embed_dim {config['class_embed_dim']}, expected z_dim, {config['z_dim']}")
    arguments = {name: config[name] for name in ARGUMENTS}
    checked("biggan", arguments, where)
    return arguments


def _ours(theirs: Mapping[str, Tensor], arguments: Mapping[str, Any], path: Path) -> dict[str, Tensor]:
    plain = _without_spectral_norms(theirs, path)
    tensors = renamed(plain, _names(len(arguments["layers"]), arguments["attention_layer_position"]))
    try:
        tensors["embedding.weight"] = tensors["embedding.weight"].t()  # [num_classes, z_dim]
        tensors["attention.gamma"] = tensors["attention.gamma"].reshape(())
        for kind in ("weight", "bias"):
            tensors[f"to_rgb.{kind}"] = tensors[f"to_rgb.{kind}"][:3]
            tensors[f"first.{kind}"] = _channels_first(tensors[f"first.{kind}"])
    except (KeyError, RuntimeError) as error:
        raise UserError(f"{path}: no BigGAN-deep as {CONFIG} describes it: {str(error)[:100]}") from None
    return tensors


def _channels_first(values: Tensor) -> Tensor:
    """Reorder what makes the first grid: its pixels come as height, width, channel."""
    return values.reshape(4, 4, len(values) // 16, -1).movedim(2, 0).reshape(values.shape)


def _without_spectral_norms(theirs: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    plain = {}
    for name, tensor in theirs.items():
        layer, _, kind = name.rpartition(".")
        if kind == "weight_orig":
            u, v = theirs.get(f"{layer}.weight_u"), theirs.get(f"{layer}.weight_v")
            if u is None or v is None or u.shape != tensor.shape[:1] or v.shape != tensor[0].flatten().shape:
                raise UserError(f"{path}: {layer} lacks the singular vectors weight_u and weight_v of its {name}")
            plain[f"{layer}.weight"] = divided(tensor, u, v)
        elif kind not in ("weight_u", "weight_v"):
            plain[name] = tensor
    return plain


def _names(layers: int, attention_position: int) -> dict[str, str]:
    """Map our prefixes to theirs; the attention counts among their layers."""
    names = {
        "embedding": "embeddings",
        "first": "generator.gen_z",
        "to_rgb": "generator.conv_to_rgb",
        "norm.gain": "generator.bn.weight",
        "norm.offset": "generator.bn.bias",
    } | _statistics("norm", "generator.bn")
    for i in range(layers):
        theirs = f"generator.layers.{i + (i >= attention_position)}"
        for j in range(4):
            norm, their_norm = f"blocks.{i}.norms.{j}", f"{theirs}.bn_{j}"
            names |= {f"{norm}.gain": f"{their_norm}.scale", f"{norm}.offset": f"{their_norm}.offset"}
            names |= {f"blocks.{i}.convs.{j}": f"{theirs}.conv_{j}"} | _statistics(norm, their_norm)
    attention = f"generator.layers.{attention_position}"
    names |= {f"attention.{ours}": f"{attention}.snconv1x1_{theirs}" for theirs, ours in ATTENTION.items()}
    return names | {"attention.gamma": f"{attention}.gamma"}


def _statistics(ours: str, theirs: str) -> dict[str, str]:
    return {
        f"{ours}.statistics.means": f"{theirs}.running_means",
        f"{ours}.statistics.variances": f"{theirs}.running_vars",
    }
