"""Warps against PIL's bilinear transform of each channel in float32, image by image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from learning.augment.warp import rotation, shear, translation, warp

FILL = (0.25, 0.5, 0.75)
TOLERANCE = 1e-4  # positions are float32: some 1e-5 px, in noise


def images(height: int, width: int) -> Tensor:
    return torch.rand(7, 3, height, width, generator=torch.Generator().manual_seed(0))


def with_pil(image: Tensor, move: Callable[[Image.Image, float], Image.Image]) -> Tensor:
    channels = zip(image, FILL, strict=True)
    return torch.stack([torch.from_numpy(np.array(move(Image.fromarray(one.numpy()), fill))) for one, fill in channels])


def seen_through(coefficients: Tensor) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, fill: image.transform(
        image.size, Image.Transform.AFFINE, coefficients.tolist(), Image.Resampling.BILINEAR, fillcolor=fill
    )


def turned(degrees: float) -> Callable[[Image.Image, float], Image.Image]:
    return lambda image, fill: image.rotate(degrees, Image.Resampling.BILINEAR, fillcolor=fill)


@pytest.mark.parametrize("size", [(24, 24), (17, 40)])
def test_any_affine_map_equals_pils(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    around = torch.rand(7, 6, dtype=torch.float64, generator=generator) - 0.5
    coefficients = around * torch.tensor([1, 1, 10, 1, 1, 10]) + torch.tensor([1, 0, 0, 0, 1, 0])
    mine = warp(images(*size), coefficients, FILL)
    for one, image, six in zip(mine, images(*size), coefficients, strict=True):
        torch.testing.assert_close(one, with_pil(image, seen_through(six)), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("size", [(24, 24), (17, 40)])
def test_rotation_equals_pils(size: tuple[int, int]) -> None:
    degrees = [-170.0, -30.0, -0.5, 7.0, 20.0, 30.0, 100.0]
    mine = warp(images(*size), rotation(torch.tensor(degrees, dtype=torch.float64), *size), FILL)
    for one, image, angle in zip(mine, images(*size), degrees, strict=True):
        expected = with_pil(image, turned(angle))
        torch.testing.assert_close(one, expected, rtol=0, atol=TOLERANCE)


def test_whole_pixels_move_without_blur_and_leave_the_fill() -> None:
    three = torch.full((7,), 3.0, dtype=torch.float64)
    batch = images(12, 12)
    moved = warp(batch, translation(three, -three), FILL)
    torch.testing.assert_close(moved[:, :, 3:, :-3], batch[:, :, :-3, 3:], rtol=0, atol=TOLERANCE)
    filled = torch.tensor(FILL)[None, :, None, None].expand_as(batch)
    assert torch.equal(moved[:, :, :3], filled[:, :, :3])
    assert torch.equal(moved[..., -3:], filled[..., -3:])


def test_shear_moves_rows_and_columns_by_their_place() -> None:
    zero, one = torch.zeros(7, dtype=torch.float64), torch.ones(7, dtype=torch.float64)
    batch = images(8, 8)
    across, down = warp(batch, shear(one, zero), FILL), warp(batch, shear(zero, one), FILL)
    torch.testing.assert_close(down, warp(batch.mT, shear(one, zero), FILL).mT, rtol=0, atol=TOLERANCE)
    between = (batch[:, :, 5, 5:-1] + batch[:, :, 5, 6:]) / 2  # row 5 lies 5.5 px below the top
    torch.testing.assert_close(across[:, :, 5, :2], between, rtol=0, atol=TOLERANCE)
