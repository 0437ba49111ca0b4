"""Each operation against torchvision's per-image function, or a float64 calculation written here."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as reference
from scipy.ndimage import correlate1d
from torch import Tensor

from learning.augment.blur import gaussian_blur
from learning.augment.boxes import random_boxes
from learning.augment.colour import (
    adjust_brightness_,
    adjust_contrast_,
    adjust_saturation_,
    grayscale_,
    shift_hue_,
)
from learning.augment.resample import resize, resized_crop

TOLERANCE = 2e-6  # a few float32 roundings of numbers up to 1


def images(batch: int = 6, height: int = 23, width: int = 23) -> Tensor:
    """Noise, with a grey, a black, a white and a saturated image among it."""
    result = torch.rand(batch, 3, height, width, generator=torch.Generator().manual_seed(0))
    result[0] = result[0, :1].clone()
    result[1, :, : height // 2], result[1, :, height // 2 :] = 0.0, 1.0
    result[2] = (result[2] > 0.5).float()
    return result


@pytest.mark.parametrize(
    ("ours", "theirs", "factors", "tolerance"),
    [
        (adjust_brightness_, reference.adjust_brightness, [0.0, 0.2, 0.7, 1.0, 1.3, 1.8], TOLERANCE),
        (adjust_contrast_, reference.adjust_contrast, [0.0, 0.2, 0.7, 1.0, 1.3, 1.8], TOLERANCE),
        (adjust_saturation_, reference.adjust_saturation, [0.0, 0.2, 0.7, 1.0, 1.3, 1.8], TOLERANCE),
        (shift_hue_, reference.adjust_hue, [-0.5, -0.2, 0.0, 0.1, 0.37, 0.5], 1e-5),  # hue is a quotient
    ],
)
def test_colour_equals_torchvision_image_by_image(
    ours: Callable[[Tensor, Tensor], Tensor],
    theirs: Callable[[Tensor, float], Tensor],
    factors: list[float],
    tolerance: float,
) -> None:
    for shift in range(6):
        turned = factors[shift:] + factors[:shift]
        mine = ours(images(), torch.tensor(turned))
        for one, image, factor in zip(mine, images(), turned, strict=True):
            torch.testing.assert_close(one, theirs(image, factor), rtol=0, atol=tolerance)


def test_a_lone_large_image_has_the_contrast_it_has_in_a_batch() -> None:
    """With two threads torch's own mean cuts a lone row in two and sums it in another order."""
    batch, factors = images(6, 511, 513), torch.full((6,), 1.7)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        together = adjust_contrast_(batch.clone(), factors)
        for i in range(6):
            assert torch.equal(adjust_contrast_(batch[i : i + 1].clone(), factors[:1])[0], together[i])
    finally:
        torch.set_num_threads(before)


def test_grayscale_equals_torchvision() -> None:
    expected = reference.rgb_to_grayscale(images(), num_output_channels=3)
    torch.testing.assert_close(grayscale_(images()), expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("size", [(16, 16), (64, 64), (23, 40)])
@pytest.mark.parametrize("source", [(64, 64), (37, 53)])
def test_resized_crop_equals_torchvision_with_antialias(source: tuple[int, int], size: tuple[int, int]) -> None:
    height, width = source
    boxes = [(0, 0, height, width), (3, 5, 7, 30), (height - 1, width - 1, 1, 1), (10, 0, 27, 9), (2, 2, 20, 20)]
    flips = [False, True, False, True, False]
    batch = (images(5, height, width) * 255).round().to(torch.uint8)
    mine = resized_crop(batch, torch.tensor(boxes), size, torch.tensor(flips))
    for one, image, box, flip in zip(mine, batch, boxes, flips, strict=True):
        expected = reference.resized_crop(image.float(), *box, size=list(size), antialias=True)
        expected = reference.horizontal_flip(expected) if flip else expected
        torch.testing.assert_close(one / 255, expected / 255, rtol=0, atol=TOLERANCE)


def test_resize_to_the_same_size_changes_no_bit() -> None:
    assert torch.equal(resize(images(), (23, 23)), images())


@pytest.mark.parametrize("shape", [(32, 32), (9, 20)])
def test_blur_equals_scipy_in_float64(shape: tuple[int, int]) -> None:
    sigmas = [0.03, 0.5, 0.9, 1.4, 2.0, 0.2]
    mine = gaussian_blur(images(6, *shape), torch.tensor(sigmas, dtype=torch.float64), 2.0)
    for one, image, sigma in zip(mine, images(6, *shape), sigmas, strict=True):
        kernel = np.exp(-0.5 * (np.arange(-6, 7) / sigma) ** 2)
        expected = image.double().numpy()
        for axis in (1, 2):
            expected = correlate1d(expected, kernel / kernel.sum(), axis=axis, mode="mirror")
        np.testing.assert_allclose(one.numpy(), expected, rtol=0, atol=TOLERANCE)


def test_blur_of_an_image_smaller_than_its_kernel_stays_in_range() -> None:
    blurred = gaussian_blur(images(6, 4, 4), torch.full((6,), 2.0, dtype=torch.float64), 2.0)
    assert blurred.shape == (6, 3, 4, 4)
    assert blurred.min() >= 0
    assert blurred.max() <= 1 + 1e-6


def uniform_draws(batch: int) -> Tensor:
    return torch.rand(batch, 22, dtype=torch.float64, generator=torch.Generator().manual_seed(7))


@pytest.mark.parametrize("source", [(64, 64), (48, 96), (64, 8)])
def test_boxes_lie_inside_and_keep_area_and_aspect(source: tuple[int, int]) -> None:
    height, width = source
    top, left, box_height, box_width = random_boxes(uniform_draws(4000), *source, (0.08, 1.0), (0.75, 4 / 3)).unbind(1)
    assert (top >= 0).all()
    assert (left >= 0).all()
    assert (top + box_height <= height).all()
    assert (left + box_width <= width).all()
    aspect = box_width / box_height
    rounding = 1 + 1 / torch.minimum(box_height, box_width)
    assert (aspect <= 4 / 3 * rounding).all()
    assert (aspect >= 0.75 / rounding).all()


def test_box_statistics_equal_torchvisions() -> None:
    """Means of area, height, top over 4,000 boxes within four standard errors of torchvision's sampler."""
    from torchvision.transforms import RandomResizedCrop

    torch.manual_seed(0)
    image = torch.zeros(3, 64, 64)
    ranges = [0.08, 1.0], [0.75, 4 / 3]
    theirs = torch.tensor([RandomResizedCrop.get_params(image, *ranges) for _ in range(4000)]).double()
    mine = random_boxes(uniform_draws(4000), 64, 64, (0.08, 1.0), (0.75, 4 / 3)).double()
    for boxes_statistic in (lambda b: b[:, 2] * b[:, 3], lambda b: b[:, 2], lambda b: b[:, 0], lambda b: b[:, 1]):
        a, b = boxes_statistic(mine), boxes_statistic(theirs)
        standard_error = ((a.var() + b.var()) / 4000).sqrt()
        assert (a.mean() - b.mean()).abs() < 4 * standard_error


def test_without_a_fitting_box_the_middle_is_taken() -> None:
    box = random_boxes(uniform_draws(1), 64, 8, (0.9, 1.0), (0.75, 4 / 3))
    assert box.tolist() == [[(64 - 11) // 2, 0, 11, 8]]
