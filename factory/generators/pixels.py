"""Images in [0, 1] -> uint8 pixels of the size that a source asks for."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

FILTERS = {"lanczos": Image.Resampling.LANCZOS, "bicubic": Image.Resampling.BICUBIC}


def to_pixels(images: torch.Tensor, finite: np.ndarray) -> np.ndarray:
    """Round [n, 3, H, W] images in [0, 1] to uint8 [n, H, W, 3]; one that is not finite becomes black."""
    levels = images.float().permute(0, 2, 3, 1).mul(255).round()  # [n, H, W, 3]
    levels[~torch.from_numpy(finite).to(levels.device)] = 0
    return levels.to(torch.uint8).cpu().numpy()


def resized(pixels: np.ndarray, resize_px: int | None, resize_filter: str) -> np.ndarray:
    """Bring the shorter side of uint8 images [n, H, W, 3] to a length; None leaves them."""
    if resize_px is None:
        return pixels
    height_px, width_px = pixels.shape[1:3]
    scale = resize_px / min(height_px, width_px)
    size = round(width_px * scale), round(height_px * scale)
    return np.stack([np.asarray(Image.fromarray(image).resize(size, FILTERS[resize_filter])) for image in pixels])
