"""Differentiable augmentation: whatever the discriminator sees, real or generated, is changed by the same laws.

Draws are made apart from what they do, so that an image's change is a function of (seed, images seen) and its row.
Source: Zhao et al., arXiv:2006.10738, section 4; the strengths are those of its appendix.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

Policy = Literal["colour", "translation", "cutout"]
POLICIES: tuple[Policy, ...] = get_args(Policy)

SHIFT_FRACTION = 0.125  # of the side, at most
HOLE_FRACTION = 0.5  # of the side


@dataclass(frozen=True)
class Draws:
    """What happens to each image of a batch.

    Shapes: float32 [n] in [0, 1) each; two columns where there are two axes.
    """

    brightness: Tensor
    saturation: Tensor
    contrast: Tensor
    shift: Tensor  # [n, 2]
    hole: Tensor  # [n, 2]


def draw(rng: np.random.Generator, images: int, device: torch.device) -> Draws:
    """Draw for a batch; always the same amount of randomness, whichever policies use it."""
    columns = torch.from_numpy(rng.random((images, 7), np.float32)).to(device)
    return Draws(columns[:, 0], columns[:, 1], columns[:, 2], columns[:, 3:5], columns[:, 5:7])


def augment(images: Tensor, draws: Draws, policies: Sequence[Policy]) -> Tensor:
    """Change every image by its own draws, in the policies' order.

    Shapes: [n, 3, H, W] in [-1, 1], both ways; colours may leave the range, what moves in or is cut out is 0.
    """
    for policy in policies:
        images = _CHANGES[policy](images, draws)
    return images


def _colour(images: Tensor, draws: Draws) -> Tensor:
    brighter = images + (_spread(draws.brightness) - 0.5)
    grey = brighter.mean(1, keepdim=True)
    saturated = (brighter - grey) * (_spread(draws.saturation) * 2) + grey
    level = saturated.mean((1, 2, 3), keepdim=True)
    return (saturated - level) * (_spread(draws.contrast) + 0.5) + level


def _translation(images: Tensor, draws: Draws) -> Tensor:
    """Move by whole pixels, as products with 0/1 matrices: exact, and its own kind of gradient twice over."""
    height, width = images.shape[2:]
    down = _shift_matrices(draws.shift[:, 0], height).to(images.dtype)  # [n, H, H]
    right = _shift_matrices(draws.shift[:, 1], width).to(images.dtype)  # [n, W, W]
    return down[:, None] @ images @ right[:, None].transpose(2, 3)


def _shift_matrices(shares: Tensor, side_px: int) -> Tensor:
    reach = int(side_px * SHIFT_FRACTION + 0.5)
    shift = (shares * (2 * reach + 1)).floor() - reach  # [n], from -reach to reach
    places = torch.arange(side_px, device=shares.device)
    return places[:, None] - places[None, :] == shift[:, None, None]  # [n, to, from]


def _cutout(images: Tensor, draws: Draws) -> Tensor:
    height, width = images.shape[2:]
    rows, columns = _hole(draws.hole[:, 0], height), _hole(draws.hole[:, 1], width)
    is_cut = rows[:, None, :, None] & columns[:, None, None, :]  # [n, 1, H, W]
    return images * (~is_cut).to(images.dtype)


def _hole(shares: Tensor, side_px: int) -> Tensor:
    """Say which places lie in a hole whose centre is anywhere; at the border a part of it falls outside."""
    length = int(side_px * HOLE_FRACTION + 0.5)
    centre = (shares * (side_px + 1 - length % 2)).floor()  # [n]
    first = centre[:, None] - length // 2
    places = torch.arange(side_px, device=shares.device)
    return (places >= first) & (places < first + length)  # [n, side]


def _spread(values: Tensor) -> Tensor:
    return values[:, None, None, None]


_CHANGES: dict[Policy, Callable[[Tensor, Draws], Tensor]] = {
    "colour": _colour,
    "translation": _translation,
    "cutout": _cutout,
}
