"""StyleGAN networks whose every number follows from integers, and the inputs they are asked with.

The same numbers were put into the official networks (stylegan2-ada-pytorch and stylegan3, in float32 on a CPU); what
those drew is in tests/golden/official_stylegan.json, thinned out to 4x4 pixels.
"""

from typing import Any

import numpy as np
import torch
from torch import nn

from manifests.seeds import integers, normal, uniform

SEED = 20260322
ROWS = 2
STYLEGAN2 = {"z_dim": 16, "w_dim": 24}
STYLEGAN3 = {"z_dim": 16, "w_dim": 24, "channel_base": 512, "channel_max": 24}
TURNING = {"conv_kernel": 1, "use_radial_filters": True}
GENERATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "f-16": ("stylegan2", STYLEGAN2 | {"resolution": 16, "channel_base": 256}),
    "f-64": ("stylegan2", STYLEGAN2 | {"resolution": 64, "channel_base": 1024, "channel_max": 64}),
    "ada-32-classes": (
        "stylegan2",
        STYLEGAN2 | {"resolution": 32, "channel_base": 512, "num_classes": 3, "mapping_layers": 2, "conv_clamp": 2.0},
    ),
    "ada-256": ("stylegan2", STYLEGAN2 | {"resolution": 256, "channel_base": 2048, "channel_max": 32}),
    "t-32": ("stylegan3", STYLEGAN3 | {"resolution": 32, "layers": 8}),
    "t-64-classes": ("stylegan3", STYLEGAN3 | {"resolution": 64, "num_classes": 3, "conv_clamp": 8.0}),
    "t-256": ("stylegan3", STYLEGAN3 | {"resolution": 256, "channel_max": 8}),
    "r-64": ("stylegan3", STYLEGAN3 | TURNING | {"resolution": 64, "output_scale": 0.1}),
    "r-128-classes": ("stylegan3", STYLEGAN3 | TURNING | {"resolution": 128, "num_classes": 3, "output_scale": 0.05}),
}
ASKED: dict[str, dict[str, Any]] = {
    "whole": {"psi": 1.0, "cutoff": None, "noise": "const"},
    "truncated": {"psi": 0.7, "cutoff": None, "noise": "given"},
    "cut": {"psi": 0.5, "cutoff": 4, "noise": "none"},
    "moved": {"psi": 1.0, "cutoff": None, "noise": "none", "right": 0.1, "down": -0.2, "clockwise_degrees": 30.0},
}
DISCRIMINATORS: dict[str, dict[str, Any]] = {
    "resnet-64": {"resolution": 64, "channel_base": 1024, "channel_max": 64},
    "resnet-32-classes": {"resolution": 32, "channel_base": 512, "num_classes": 3, "mapping_layers": 2},
    "orig-32-classes": {"resolution": 32, "channel_base": 512, "num_classes": 3, "architecture": "orig"},
    "resnet-256-clamped": {"resolution": 256, "channel_base": 2048, "channel_max": 32, "conv_clamp": 0.5},
}


def fill(network: nn.Module, name: str) -> None:
    """Give every parameter and buffer numbers of a size that keeps images near [-1, 1]."""
    for key, tensor in network.state_dict().items():
        drawn = normal(SEED, f"{name}/{key}", tuple(tensor.shape) or 1)
        tensor.copy_(torch.from_numpy(_sized(key, drawn).astype(np.float32)).reshape(tensor.shape))


def _sized(key: str, drawn: np.ndarray) -> np.ndarray:
    slow = 100 if key.startswith("mapping.layers") else 1  # the learning rate's multiplier is 0.01
    if key == "input.transform":
        return np.eye(3)
    if key.endswith("magnitude_ema"):
        return 0.45 + 0.2 * drawn**2
    if key.endswith("affine.bias"):
        return 0.1 * drawn + ([1, 0, 0, 0] if key.startswith("input") else 1)
    if key.startswith("layers"):
        return (0.02 if key.endswith("bias") else 1.0) * drawn
    if key.endswith("bias"):
        return 0.1 * slow * drawn
    if key.endswith(("w_avg", "noise_strength")):
        return 0.2 * drawn
    if key.endswith("to_rgb.weight"):
        return 0.3 * drawn
    return slow * drawn


def latents(name: str) -> torch.Tensor:
    return torch.from_numpy(normal(SEED, f"{name}/z", (ROWS, 16)))


def classes(name: str, num_classes: int, rows: int = ROWS) -> torch.Tensor:
    return torch.from_numpy(integers(SEED, f"{name}/class", max(num_classes, 1), rows))


def noise(name: str, shapes: tuple[tuple[int, int], ...]) -> list[torch.Tensor]:
    return [torch.from_numpy(normal(SEED, f"{name}/noise {i}", (ROWS, 1, *shape))) for i, shape in enumerate(shapes)]


def pictures(name: str, resolution: int) -> torch.Tensor:
    return torch.from_numpy(
        (2 * uniform(SEED, f"{name}/images", (8, 3, resolution, resolution)) - 1).astype(np.float32)
    )


def thinned(images: torch.Tensor) -> torch.Tensor:
    """Keep 4x4 pixels, none of them at the border."""
    step = images.shape[-1] // 4
    return images[:, :, step // 2 :: step, step // 2 :: step]
