"""Each change of tone against PIL on 8-bit images, or torchvision on floats, image by image."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference
from PIL import Image, ImageOps
from torch import Tensor

from learning.augment.tones import autocontrast, equalize, posterize, sharpen, solarize, solarize_add

TOLERANCE = 2e-6


def levels(height: int = 23, width: int = 31) -> Tensor:
    """Noise, a narrow range, few levels, one level, a ramp and a nearly full channel, uint8 [6, 3, H, W]."""
    generator = torch.Generator().manual_seed(2)
    result = torch.randint(0, 256, (6, 3, height, width), dtype=torch.uint8, generator=generator)
    result[1] = 90 + result[1] % 40
    result[2] = result[2] // 100 * 100
    result[3] = torch.tensor([0, 128, 255], dtype=torch.uint8)[:, None, None]
    result[4] = torch.arange(width, dtype=torch.uint8) * 8
    result[5, :, 1:] = 255
    return result


def with_pil(operation: Callable[[Image.Image, int], Image.Image], argument: int, image: Tensor) -> Tensor:
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    return torch.from_numpy(np.array(operation(picture, argument))).permute(2, 0, 1)


@pytest.mark.parametrize(
    ("ours", "theirs", "arguments"),
    [
        (lambda x, t: solarize(x, t / 255), ImageOps.solarize, [0, 1, 100, 128, 255, 256]),
        (lambda x, bits: posterize(x, bits.long()), ImageOps.posterize, [1, 2, 4, 5, 7, 8]),
        (
            lambda x, more: solarize_add(x, more / 255),
            lambda image, more: image.point([min(255, i + more) if i < 128 else i for i in range(256)] * 3),
            [0, 1, 50, 97, 110, 128],
        ),
        (lambda x, _: equalize(x), lambda image, _: ImageOps.equalize(image), [0] * 6),
    ],
    ids=["solarize", "posterize", "solarize_add", "equalize"],
)
def test_on_levels_pil_is_met_exactly(
    ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[[Image.Image, int], Image.Image], arguments: list[int]
) -> None:
    for shift in range(6):
        turned = arguments[shift:] + arguments[:shift]
        mine = ours(levels().float() / 255, torch.tensor(turned).float())
        expected = torch.stack([with_pil(theirs, one, image) for one, image in zip(turned, levels(), strict=True)])
        assert torch.equal((mine * 255).round(), expected.float())
        torch.testing.assert_close(mine, expected.float() / 255, rtol=0, atol=TOLERANCE)


def test_posterize_to_no_bits_is_black() -> None:
    assert not posterize(levels().float() / 255, torch.zeros(6, dtype=torch.int64)).any()


def test_autocontrast_equals_torchvision_and_pil_within_a_level() -> None:
    batch = levels().float() / 255
    for one, image, stored in zip(autocontrast(batch), batch, levels(), strict=True):
        torch.testing.assert_close(one, reference.autocontrast(image), rtol=0, atol=TOLERANCE)
        pil = with_pil(lambda picture, _: ImageOps.autocontrast(picture), 0, stored)
        assert (one * 255 - pil).abs().max() < 1.001  # PIL cuts off what is behind the point


@pytest.mark.parametrize("size", [(23, 31), (3, 3), (2, 5), (1, 1)])
def test_sharpen_equals_torchvision(size: tuple[int, int]) -> None:
    batch = levels(*size).float() / 255
    factors = [0.0, 0.1, 1.0, 1.5, 1.9, 3.0]
    for one, image, factor in zip(sharpen(batch, torch.tensor(factors)), batch, factors, strict=True):
        torch.testing.assert_close(one, reference.adjust_sharpness(image, factor), rtol=0, atol=TOLERANCE)


def test_inputs_are_left_alone() -> None:
    batch = levels().float() / 255
    half = torch.full((6,), 0.5)
    for result in (
        solarize(batch, half),
        solarize_add(batch, half),
        posterize(batch, (half * 8).long()),
        autocontrast(batch),
        equalize(batch),
        sharpen(batch, half),
    ):
        assert result.data_ptr() != batch.data_ptr()
    assert torch.equal(batch, levels().float() / 255)
