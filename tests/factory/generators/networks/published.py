"""State dicts with the names and shapes that other people publish, and numbers of our own: all from seeds."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from manifests import seeds

SEED = 20
LAYERS = {
    128: "16-16 16+16 16-16 16+8 8-8 8+4 4-4 4+2 2-2 2+1",
    256: "16-16 16+16 16-16 16+8 8-8 8+8 8-8 8+4 4-4 4+2 2-2 2+1",
    512: "16-16 16+16 16-16 16+8 8-8 8+8 8-8 8+4 4-4 4+2 2-2 2+1 1-1 1+1",
}


def drawn(name: str, *shape: int, scale: float = 1.0, centre: float = 0.0) -> Tensor:
    return torch.from_numpy(seeds.normal(SEED, name, shape)) * scale + centre


def biggan_config(size_px: int) -> dict[str, Any]:
    """Return config.json of the size, narrow and with ten classes; in LAYERS, + doubles the size."""
    pairs = [(("+" in text), *map(int, text.replace("+", "-").split("-"))) for text in LAYERS[size_px].split()]
    return {
        "attention_layer_position": 8,
        "channel_width": 8,
        "class_embed_dim": 16,
        "eps": 1e-4,
        "layers": pairs,
        "n_stats": 51,
        "num_classes": 10,
        "output_dim": size_px,
        "z_dim": 16,
    }


def biggan_state(config: dict[str, Any]) -> dict[str, Tensor]:
    """Return what pytorch_model.bin of the config would hold."""
    width, condition = config["channel_width"], 2 * config["z_dim"]
    state = {"embeddings.weight": drawn("embeddings", config["z_dim"], config["num_classes"])}
    state |= _spectral("generator.gen_z", 256 * width, condition) | _bias("generator.gen_z", 256 * width)
    for i, (_, before, after) in enumerate(config["layers"]):
        layer = f"generator.layers.{i + (i >= config['attention_layer_position'])}"
        state |= _biggan_block(layer, before * width, after * width, condition)
    attended = config["layers"][config["attention_layer_position"]][1] * width
    attention = f"generator.layers.{config['attention_layer_position']}"
    for name, out, into in (("theta", 8, 1), ("phi", 8, 1), ("g", 2, 1), ("o_conv", 1, 2)):
        state |= _spectral(f"{attention}.snconv1x1_{name}", attended // out, attended // into, 1, 1)
    state |= {f"{attention}.gamma": torch.tensor([0.7])}
    state |= _by_truncation("generator.bn", width)
    state |= {"generator.bn.weight": drawn("bn.weight", width, scale=0.8), **_bias("generator.bn", width)}
    return state | _spectral("generator.conv_to_rgb", width, width, 3, 3) | _bias("generator.conv_to_rgb", width)


def bigbigan_state(width: int = 8, chunk: int = 20) -> dict[str, Tensor]:
    """Return what the generator's .pth would hold, at a narrow width."""
    widths = [multiple * width for multiple in (16, 16, 8, 4, 2, 1)]
    state = {"shared.weight": drawn("shared", 1, 128).expand(10, -1).clone()}
    state |= _normed("linear", 16 * widths[0], chunk) | _bias("linear", 16 * widths[0])
    for i, (before, after) in enumerate(pairwise(widths)):
        block = f"blocks.{i}.0"
        for name, into, side in (("conv1", before, 3), ("conv2", after, 3), ("conv_sc", before, 1)):
            state |= _normed(f"{block}.{name}", after, into, side, side) | _bias(f"{block}.{name}", after)
        for name, channels in (("bn1", before), ("bn2", after)):
            state |= _normed(f"{block}.{name}.gain", channels, 128 + chunk)
            state |= _normed(f"{block}.{name}.bias", channels, 128 + chunk)
            state |= _stored(f"{block}.{name}", channels)
    attended = widths[4]
    for name, out, into in (("theta", 8, 1), ("phi", 8, 1), ("g", 2, 1), ("o", 1, 2)):
        state |= _normed(f"blocks.3.1.{name}", attended // out, attended // into, 1, 1)
    state |= {"blocks.3.1.gamma": torch.tensor(0.8)} | _stored("output_layer.0", width)
    state |= {"output_layer.0.gain": drawn("gain", width, scale=0.2, centre=1.0), **_bias("output_layer.0", width)}
    return state | _normed("output_layer.2", 3, width, 3, 3) | _bias("output_layer.2", 3)


def _biggan_block(layer: str, before: int, after: int, condition: int) -> dict[str, Tensor]:
    middle, state = before // 4, {}
    shapes = ((middle, before, 1, 1), (middle, middle, 3, 3), (middle, middle, 3, 3), (after, middle, 1, 1))
    for j, shape in enumerate(shapes):
        state |= _spectral(f"{layer}.conv_{j}", *shape) | _bias(f"{layer}.conv_{j}", shape[0])
        state |= _by_truncation(f"{layer}.bn_{j}", shape[1])
        state |= _spectral(f"{layer}.bn_{j}.scale", shape[1], condition)
        state |= _spectral(f"{layer}.bn_{j}.offset", shape[1], condition)
    return state


def _bias(name: str, size: int) -> dict[str, Tensor]:
    return {f"{name}.bias": drawn(f"{name}.bias", size, scale=0.2)}


def _spectral(name: str, *shape: int) -> dict[str, Tensor]:
    """Return a weight with the singular vectors that PyTorch's spectral norm keeps, some steps into following them."""
    weight, u, v = _followed(name, *shape)
    return {f"{name}.weight_orig": weight, f"{name}.weight_u": u, f"{name}.weight_v": v}


def _normed(name: str, *shape: int) -> dict[str, Tensor]:
    """Return the same as the other layout keeps it, which makes one more step by itself."""
    weight, u, _ = _followed(name, *shape)
    return {f"{name}.weight": weight, f"{name}.u0": u[None], f"{name}.sv0": torch.ones(1)}


def _followed(name: str, *shape: int) -> tuple[Tensor, Tensor, Tensor]:
    weight, u = drawn(name, *shape), drawn(f"{name}.u", shape[0])
    matrix = weight.flatten(1)
    for _ in range(3):
        v = torch.nn.functional.normalize(matrix.t() @ u, dim=0)
        u = torch.nn.functional.normalize(matrix @ v, dim=0)
    return weight, u, v


def _by_truncation(name: str, channels: int) -> dict[str, Tensor]:
    """Return statistics of 51 truncations, each channel's on a line of its own."""
    steps = torch.linspace(0, 1, 51)[:, None]
    means = drawn(f"{name}.mean", channels, scale=0.3) + steps * drawn(f"{name}.slope", channels, scale=0.3)
    return {f"{name}.running_means": means, f"{name}.running_vars": 0.5 + steps * drawn(f"{name}.var", channels).abs()}


def _stored(name: str, channels: int) -> dict[str, Tensor]:
    variances = 0.5 + drawn(f"{name}.var", channels).abs()
    return {f"{name}.stored_mean": drawn(f"{name}.mean", channels, scale=0.3), f"{name}.stored_var": variances}
