"""Pictures from a latent network: for the sample grid, and for measuring what it has learned."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image

from factory.builtin.images import to_pixels
from factory.builtin.pipeline import sheet
from factory.generators.networks.protocol import LatentNetwork

GRID_COLUMNS = 10


@torch.inference_mode()
def sample(
    net: LatentNetwork, z: np.ndarray, class_ids: np.ndarray | None, device: torch.device, batch_images: int = 64
) -> np.ndarray:
    """Draw pictures without truncation, with the noise that belongs to the weights.

    Shapes: z float32 [N, z_dim]; class_ids int64 [N]; returns uint8 [N, H, W, 3].
    """
    pictures = []
    for start in range(0, len(z), batch_images):
        rows = slice(start, start + batch_images)
        latents = torch.from_numpy(z[rows]).to(device)
        ids = None if class_ids is None else torch.from_numpy(class_ids[rows]).to(device)
        psi = torch.ones(len(latents), device=device)
        images = net.synthesize(net.map(latents, ids, psi), ids, psi, net.constant_noise())
        pictures.append(to_pixels(images.cpu()))
    return np.concatenate(pictures)


def drawn_classes(class_ids: np.ndarray, rng: np.random.Generator, images: int) -> np.ndarray | None:
    """Draw classes as frequent as those of some pictures; None where there are no classes."""
    return rng.choice(class_ids, images) if len(class_ids) else None


def grid(net: LatentNetwork, seed: int, device: torch.device) -> Image.Image:
    """Draw one row a class, or ten rows, always from the same latents."""
    rows = net.num_classes or GRID_COLUMNS
    rng = np.random.Generator(np.random.Philox(key=seed))
    z = rng.standard_normal((rows * GRID_COLUMNS, net.z_dim), np.float32)
    class_ids = np.repeat(np.arange(rows), GRID_COLUMNS) if net.num_classes else None
    return sheet(sample(net, z, class_ids, device), columns=GRID_COLUMNS)
