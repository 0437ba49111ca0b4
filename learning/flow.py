"""An invertible change of colours, pixel by pixel: rotations of the three channels between coupling layers.

InfoMin's view generator (Tian et al., NeurIPS 2020, section 5.1), whose authors never released one. Additive couplings
(NICE, arXiv:1410.8516) keep volume; affine ones (RealNVP, arXiv:1605.08803 eq. 7-8) scale it by what `forward` returns.
A rotation is a 1x1 convolution (Glow, arXiv:1807.03039 eq. 9) whose inverse is its transpose: nothing to invert badly.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

Kind = Literal["additive", "affine"]
_TINY = 1e-24  # so that a root has a gradient at no rotation at all
_LARGEST_LOG_SCALE = 0.5  # of one coupling: few enough bits are lost that float32 inverts to 1e-5


@dataclass(frozen=True)
class FlowShape:
    """What a flow is built from; `hidden` is the width of the networks within couplings."""

    coupling: Kind = "additive"
    couplings: int = 4
    hidden: int = 16


class PixelFlow(nn.Module):
    """Images to images of the same size, without loss; at its beginning the identity.

    Its arithmetic is at least float32, whatever autocast says.
    """

    def __init__(self, shape: FlowShape = FlowShape()) -> None:
        super().__init__()
        self.shape = shape
        scales = shape.coupling == "affine"
        self.blocks: Any = nn.ModuleList(
            [_Block(1 + number % 2, shape.hidden, scales) for number in range(shape.couplings)]
        )
        self.last = Rotation()

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the transformed images and log |det| of each one's Jacobian. Shapes: [n, 3, H, W], [n]."""
        with torch.autocast(images.device.type, enabled=False):
            pixels = _pixels(images)
            log_determinant = pixels.new_zeros(len(pixels))
            for block in self.blocks:
                pixels, log_scale = block(pixels)
                log_determinant = log_determinant + log_scale.flatten(1).sum(dim=1)
            return self.last(pixels).movedim(-1, 1), log_determinant

    def inverse(self, views: Tensor) -> Tensor:
        """Return the images that `forward` made the views from. Shapes: [n, 3, H, W]."""
        with torch.autocast(views.device.type, enabled=False):
            pixels = self.last.inverse(_pixels(views))
            for number in reversed(range(len(self.blocks))):
                pixels = self.blocks[number].inverse(pixels)
            return pixels.movedim(-1, 1)


class Rotation(nn.Module):
    """A rotation of the three channels about an axis, by its length in radians (Rodrigues' formula)."""

    def __init__(self) -> None:
        super().__init__()
        self.angles = nn.Parameter(torch.zeros(3))

    def matrix(self) -> Tensor:
        """Return the rotation, [3, 3]."""
        zero = torch.zeros_like(self.angles[0])
        a, b, c = self.angles.unbind()
        skew = torch.stack([zero, -c, b, c, zero, -a, -b, a, zero]).view(3, 3)
        angle = (self.angles.square().sum() + _TINY).sqrt()
        turns = torch.sinc(angle / torch.pi) * skew + 0.5 * torch.sinc(angle / (2 * torch.pi)).square() * (skew @ skew)
        return torch.eye(3, dtype=skew.dtype, device=skew.device) + turns

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels @ self.matrix().T

    def inverse(self, pixels: Tensor) -> Tensor:
        """Undo the rotation."""
        return pixels @ self.matrix()


class _Block(nn.Module):
    """A rotation, then a coupling: the first `kept` channels say how the others are moved."""

    def __init__(self, kept: int, hidden: int, scales: bool) -> None:
        super().__init__()
        self.kept, self.scales = kept, scales
        self.rotation = Rotation()
        outputs = (3 - kept) * (2 if scales else 1)
        last = nn.Linear(hidden, outputs)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Linear(kept, hidden), nn.Tanh(), nn.Linear(hidden, hidden), nn.Tanh(), last)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the pixels and the logarithm of what the moved channels are scaled by."""
        still, moved = self._parted(self.rotation(pixels))
        log_scale, shift = self._move(still)
        return torch.cat([still, moved * log_scale.exp() + shift], dim=-1), log_scale

    def inverse(self, pixels: Tensor) -> Tensor:
        """Undo the block."""
        still, moved = self._parted(pixels)
        log_scale, shift = self._move(still)
        return self.rotation.inverse(torch.cat([still, (moved - shift) * (-log_scale).exp()], dim=-1))

    def _parted(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return pixels[..., : self.kept], pixels[..., self.kept :]

    def _move(self, still: Tensor) -> tuple[Tensor, Tensor]:
        moves: Tensor = self.network(still)
        if not self.scales:
            return torch.zeros_like(moves), moves
        raw, shift = moves.chunk(2, dim=-1)
        return _LARGEST_LOG_SCALE * torch.tanh(raw / _LARGEST_LOG_SCALE), shift


def _pixels(images: Tensor) -> Tensor:
    """Lay channels last, in which 1x1 convolutions are products of matrices. Shapes: [n, 3, H, W] -> [n, H, W, 3]."""
    return images.to(torch.promote_types(images.dtype, torch.float32)).movedim(1, -1)
