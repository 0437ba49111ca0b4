"""Generators whose latent space is known: a spot that moves along planted directions, and a tiny random StyleGAN2."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from factory.gan.importing.folder import write_folder
from factory.generators.facts import SourceFacts
from factory.generators.networks import build
from factory.walks.frozen import Frozen, LatentLaw

SIDE_PX = 32
CPU = torch.device("cpu")


class Spot(nn.Module):
    """A dark oval on white: across and down by planted directions of z; the other directions change nothing.

    Units: a step of 1 along `across` moves it by a tenth of the side.
    """

    z_dim = w_dim = 6
    num_layers, num_classes, image_size, noise_shapes = 1, 0, (SIDE_PX, SIDE_PX), ()

    def __init__(self) -> None:
        super().__init__()
        basis = torch.linalg.qr(torch.randn(6, 6, generator=torch.Generator().manual_seed(3)))[0]
        self.across, self.down = basis[0], basis[1]
        axis = (torch.arange(SIDE_PX) + 0.5) * 2 / SIDE_PX - 1
        self.y, self.x = torch.meshgrid(axis, axis, indexing="ij")

    def map(self, z: Tensor, class_ids: Tensor | None, psi: Tensor, cutoff: int | None = None) -> Tensor:
        return z[:, None]

    def synthesize(self, ws: Tensor, class_ids: Tensor | None, psi: Tensor, noise: object = None) -> Tensor:
        across, down = (0.2 * (ws[:, 0] @ way)[:, None, None] for way in (self.across, self.down))
        square = ((self.x - across) / 0.35).square() + ((self.y - down) / 0.25).square()
        dark = (-square / 2).exp()[:, None]  # [n, 1, H, W]
        return 1 - dark * torch.tensor([1.8, 1.2, 0.6])[:, None, None]

    def constant_noise(self) -> None:
        return None


def spot() -> Frozen:
    known = SourceFacts("spot", "CC0-1.0", {"sha256": "ab" * 32})
    return Frozen(Spot(), LatentLaw(noise="none"), CPU, known)


def tiny_folder(folder: Path) -> Path:
    """Write a random conditional StyleGAN2 of 16 px."""
    torch.manual_seed(0)
    sizes = {"resolution": 16, "z_dim": 8, "w_dim": 8, "num_classes": 2, "mapping_layers": 2}
    arguments = {**sizes, "channel_base": 128, "channel_max": 8}
    tensors = {name: value.clone() for name, value in build("stylegan2", arguments).state_dict().items()}
    write_folder(folder, "stylegan2", arguments, tensors, licence="CC0-1.0", made_from={}, class_names=["a", "b"])
    return folder
