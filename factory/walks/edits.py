"""What a walk shall do to an image: all warps as one homography and one resampling, then colours.

One homography loses nothing between two warps, and its mask is that of all of them: 0 where the source's border passed.
Everything is a row's own: α = 0 leaves a row as it is, bit for bit.
Coordinates: x to the right, y down, the shorter side from -1 to 1; matrices lead from the result back to the source.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from factory.walks.transforms import CROP, JITTER, ROT2D_DEG, ROT3D_DEG, SHIFT_SIDES
from learning.augment.blur import gaussian_blur
from learning.augment.colour import adjust_brightness_, adjust_contrast_, adjust_saturation_, shift_hue_

CAMERA_SIDES = 2.0  # from the eye to the image that turns about its vertical axis
_NO_BLUR_PX = 0.05  # of a Gaussian whose neighbours weigh nothing in float32

Alphas = Mapping[str, Tensor]


def edited(images: Tensor, alphas: Alphas) -> tuple[Tensor, Tensor]:
    """Return the edited images and where they are known; beyond, the border's colours go on.

    Shapes: images [n, 3, H, W] in [-1, 1], each alpha [n]; mask [n, 1, H, W] of 0 and 1.
    """
    mask = torch.ones_like(images[:, :1])
    if any(name in _MATRICES or name in CROP for name in alphas):
        images, mask = _warped(images, alphas)
    if any(name in JITTER for name in alphas):
        images = _jittered(images, alphas)
    return _tinted(images, alphas), mask


def homography(alphas: Alphas, height: int, width: int) -> Tensor:
    """Compose turn, rotation, zoom, shift and crop, in this order; float64 [n, 3, 3] from the result to the source."""
    first = next(iter(alphas.values()))
    total = torch.eye(3, dtype=torch.float64, device=first.device).expand(len(first), 3, 3)
    for name, matrix in _MATRICES.items():
        if name in alphas:
            total = total @ matrix(alphas[name].double())
    return total @ _crop(alphas, height, width) if CROP.keys() <= alphas.keys() else total


def _warped(images: Tensor, alphas: Alphas) -> tuple[Tensor, Tensor]:
    height, width = images.shape[2:]
    side = min(height, width)
    if "zoom" in alphas:
        images = _smoothed(images, alphas["zoom"])
    extent = torch.tensor([width / side, height / side], dtype=torch.float64, device=images.device)
    rows = ((torch.arange(height, device=images.device) + 0.5) * 2 - height) / side
    columns = ((torch.arange(width, device=images.device) + 0.5) * 2 - width) / side
    y, x = torch.meshgrid(rows.double(), columns.double(), indexing="ij")
    points = torch.stack([x, y, torch.ones_like(x)], dim=-1)  # [H, W, 3]
    source = torch.einsum("nij,hwj->nhwi", homography(alphas, height, width), points)
    depth = source[..., 2:].clamp(min=1e-6)
    places = source[..., :2] / depth / extent  # [n, H, W, 2]
    is_known = (places.abs() <= 1 + 1e-9).all(dim=-1) & (source[..., 2] > 1e-6)
    grid = places.clamp(-4, 4).to(images.dtype)
    warped = grid_sample(images, grid, mode="bilinear", padding_mode="border", align_corners=False)
    is_still = torch.stack([_is_still(name, alphas[name]) for name in alphas]).all(dim=0)
    warped = torch.where(is_still[:, None, None, None], images, warped)
    return warped, is_known[:, None].to(images.dtype)


def _is_still(name: str, alpha: Tensor) -> Tensor:
    if name == "crop_area":
        return alpha == 1  # a box as large as the image has no room to go
    is_warp = name in _MATRICES or name == "crop_aspect"
    return alpha == 0 if is_warp else torch.ones_like(alpha, dtype=torch.bool)


def _smoothed(images: Tensor, zoom: Tensor) -> Tensor:
    """Blur what will be shrunk, so that no detail folds back: a pixel of the result is the mean of several."""
    sigmas_px = 0.5 * ((-2 * zoom.double()).exp() - 1).clamp(min=0).sqrt().clamp(min=_NO_BLUR_PX)
    largest = float(sigmas_px.max())
    return gaussian_blur(images, sigmas_px, largest) if largest > _NO_BLUR_PX else images


def _turn(alpha: Tensor) -> Tensor:
    """Undo a turn about the vertical axis, seen from CAMERA_SIDES away: x' = x·cos / (1 + x·sin / d)."""
    angle = alpha * math.radians(ROT3D_DEG)
    distance = 2 * CAMERA_SIDES  # half sides
    one, zero = torch.ones_like(angle), torch.zeros_like(angle)
    tilt = -angle.tan() / distance
    return _matrix([[1 / angle.cos(), zero, zero], [zero, one, zero], [tilt, zero, one]])


def _rotation(alpha: Tensor) -> Tensor:
    angle = alpha * math.radians(ROT2D_DEG)
    cos, sin, zero = angle.cos(), angle.sin(), torch.zeros_like(angle)
    return _matrix([[cos, sin, zero], [-sin, cos, zero], [zero, zero, torch.ones_like(angle)]])


def _zoom(alpha: Tensor) -> Tensor:
    zero, one = torch.zeros_like(alpha), torch.ones_like(alpha)
    return _matrix([[(-alpha).exp(), zero, zero], [zero, (-alpha).exp(), zero], [zero, zero, one]])


def _shift_x(alpha: Tensor) -> Tensor:
    return _moved(-2 * SHIFT_SIDES * alpha, torch.zeros_like(alpha))


def _shift_y(alpha: Tensor) -> Tensor:
    return _moved(torch.zeros_like(alpha), -2 * SHIFT_SIDES * alpha)


def _moved(x: Tensor, y: Tensor) -> Tensor:
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[one, zero, x], [zero, one, y], [zero, zero, one]])


_MATRICES: dict[str, Callable[[Tensor], Tensor]] = {
    "rot3d": _turn,
    "rot2d": _rotation,
    "zoom": _zoom,
    "shift_x": _shift_x,
    "shift_y": _shift_y,
}


def _crop(alphas: Alphas, height: int, width: int) -> Tensor:
    """Lead the whole frame to a box: area as a share, aspect as a logarithm, position as a share of the free room."""
    area, aspect = alphas["crop_area"].double(), alphas["crop_aspect"].double()
    side = min(height, width)
    across = (area * aspect.exp() * height / width).sqrt().clamp(max=1)  # box over image
    down = (area / aspect.exp() * width / height).sqrt().clamp(max=1)
    x = alphas["crop_x"].double() * (1 - across) * width / side
    y = alphas["crop_y"].double() * (1 - down) * height / side
    zero, one = torch.zeros_like(x), torch.ones_like(x)
    return _matrix([[across, zero, x], [zero, down, y], [zero, zero, one]])


def _matrix(rows: list[list[Tensor]]) -> Tensor:
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)  # [n, 3, 3]


def _jittered(images: Tensor, alphas: Alphas) -> Tensor:
    """Change brightness, contrast, saturation and hue as learning.augment does, in its order."""
    result = images.add(1).div_(2).clamp_(0, 1)
    adjust = {"brightness": adjust_brightness_, "contrast": adjust_contrast_, "saturation": adjust_saturation_}
    for name, function in adjust.items():
        if name in alphas:
            function(result, (1 + alphas[name]).to(result.dtype))
    if "hue" in alphas:
        shift_hue_(result, alphas["hue"].to(result.dtype))
    return result.mul_(2).sub_(1)


def _tinted(images: Tensor, alphas: Alphas) -> Tensor:
    """Add to the channels; what reaches black or white stays there, as in a picture."""
    tints = [alphas.get(name) for name in ("red", "green", "blue")]
    if not any(tint is not None for tint in tints):
        return images
    zero = images.new_zeros(len(images))
    added = torch.stack([zero if tint is None else tint.to(images.dtype) for tint in tints], dim=1)[:, :, None, None]
    return (images + added).minimum(images.clamp(min=1)).maximum(images.clamp(max=-1))
