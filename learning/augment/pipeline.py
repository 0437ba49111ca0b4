"""A whole augmentation of a batch on its device: uint8 in, float32 in [0, 1] out, every sample by its own seed.

The result of a sample is a function of its pixels, its seed and the recipe, bit for bit: whatever else is in the batch.
Operations that are drawn for some samples run on those only; jitter's order is fixed: brightness, contrast, saturation,
hue. On a CPU the batch is worked on in slices that stay in the cache.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
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
from learning.augment.draws import uniform
from learning.augment.rand_augment import DRAWS, rand_augment_
from learning.augment.recipe import Augmentation, Jitter
from learning.augment.resample import resize, resized_crop
from learning.augment.tones import solarize

# One stream of random numbers per operation: a new one gets a new number, so that it changes no other's draws.
_CROP, _FLIP, _JITTER, _GRAYSCALE, _BLUR, _DOWNSAMPLE, _SOLARIZE, _RAND_AUGMENT = range(1, 9)
_SLICE_VALUES = 1 << 19  # floats worked on at a time on a CPU: two megabytes
_BLUR_REFERENCE_PX = 224


@torch.no_grad()
def augment(images: Tensor, seeds: Tensor, recipe: Augmentation, size_px: int) -> Tensor:
    """Return the augmented images in [0, 1].

    Shapes: uint8 [B, 3, H, W] and int64 [B] on one device -> float32 [B, 3, size_px, size_px].
    """
    if images.dtype != torch.uint8 or images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images are {images.dtype} {tuple(images.shape)}, expected torch.uint8 [B, 3, H, W]")
    if seeds.dtype != torch.int64 or seeds.shape != images.shape[:1]:
        raise ValueError(f"seeds are {seeds.dtype} {tuple(seeds.shape)}, expected torch.int64 [{len(images)}]")
    if images.device.type != "cpu":
        return _augment(images, seeds, recipe, size_px)
    result = torch.empty(len(images), 3, size_px, size_px)
    at_a_time = max(1, _SLICE_VALUES // (3 * size_px * size_px))
    for start in range(0, len(images), at_a_time):
        part = slice(start, start + at_a_time)
        result[part] = _augment(images[part], seeds[part], recipe, size_px)
    return result


def augment_differentiably(images: Tensor, seeds: Tensor, recipe: Augmentation, size_px: int) -> Tensor:
    """Return what `augment` does to images that were not rounded to bytes, with a gradient.

    Shapes: float [B, 3, H, W] in [0, 1] and int64 [B] on one device -> [B, 3, size_px, size_px].
    """
    return _augment(images * 255, seeds, recipe, size_px)


def normalise(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Return (images - mean) / std per channel. Shapes: float [B, 3, H, W]."""
    return (images - images.new_tensor(mean)[:, None, None]) / images.new_tensor(std)[:, None, None]


def _augment(images: Tensor, seeds: Tensor, recipe: Augmentation, size_px: int) -> Tensor:
    result = _geometry(images, seeds, recipe, size_px)
    if recipe.jitter is not None:
        jitter = recipe.jitter
        draws = uniform(seeds, _JITTER, 5)
        _where_(result, draws[:, 0] < jitter.probability, lambda part, of: _jitter_(part, draws[of, 1:], jitter))
    _blur_(result, seeds, recipe)
    if recipe.rand_augment is not None:
        draws = uniform(seeds, _RAND_AUGMENT, recipe.rand_augment.operations * DRAWS)
        rand_augment_(result, draws, recipe.rand_augment)
    drawn = uniform(seeds, _GRAYSCALE, 1)[:, 0] < recipe.grayscale_probability
    _where_(result, drawn, lambda part, of: grayscale_(part))
    drawn = uniform(seeds, _SOLARIZE, 1)[:, 0] < recipe.solarize_probability
    _where_(result, drawn, lambda part, of: solarize(part, part.new_full((len(part),), 0.5)))
    return result


def _geometry(images: Tensor, seeds: Tensor, recipe: Augmentation, size_px: int) -> Tensor:
    """Return [B, 3, size_px, size_px] in [0, 1]; the images are resampled as they are, 0 to 255."""
    if recipe.downsample_to:
        images = images.float()
        draws = uniform(seeds, _DOWNSAMPLE, 2)
        choices = torch.where(draws[:, 0] < recipe.downsample_probability, draws[:, 1] * len(recipe.downsample_to), -1)
        for number, share in enumerate(recipe.downsample_to):
            _where_(images, choices.floor() == number, partial(_coarsen, share=share))
    flips = uniform(seeds, _FLIP, 1)[:, 0] < recipe.flip_probability
    boxes = _boxes(images, seeds, recipe)
    return resized_crop(images, boxes, (size_px, size_px), flips).div_(255)


def _boxes(images: Tensor, seeds: Tensor, recipe: Augmentation) -> Tensor:
    height, width = images.shape[2:]
    if recipe.crop_area is None:
        return torch.tensor([0, 0, height, width], device=images.device).expand(len(images), 4)
    return random_boxes(uniform(seeds, _CROP, 22), height, width, recipe.crop_area, recipe.crop_aspect)


def _blur_(images: Tensor, seeds: Tensor, recipe: Augmentation) -> None:
    low, high = (sigma * images.shape[2] / _BLUR_REFERENCE_PX for sigma in recipe.blur_sigma_px)
    draws = uniform(seeds, _BLUR, 2)
    sigmas_px = low + (high - low) * draws[:, 1]
    drawn = draws[:, 0] < recipe.blur_probability
    _where_(images, drawn, lambda part, of: gaussian_blur(part, sigmas_px[of], high))


def _coarsen(images: Tensor, indices: Tensor, share: float) -> Tensor:
    """Shrink to a share of the side and enlarge again."""
    height, width = images.shape[2:]
    small = max(1, round(height * share)), max(1, round(width * share))
    return resize(resize(images, small), (height, width))


def _jitter_(images: Tensor, draws: Tensor, jitter: Jitter) -> Tensor:
    """Draws float64 [B, 4] in [0, 1) become factors in [max(0, 1 - half), 1 + half) and turns of hue."""
    halves = draws.new_tensor([jitter.brightness, jitter.contrast, jitter.saturation, jitter.hue])
    low = (draws.new_tensor([1.0, 1.0, 1.0, 0.0]) - halves).maximum(draws.new_tensor([0.0, 0.0, 0.0, -0.5]))
    high = draws.new_tensor([1.0, 1.0, 1.0, 0.0]) + halves
    brightness, contrast, saturation, hue = (low + (high - low) * draws).float().unbind(dim=1)
    adjust_brightness_(images, brightness)
    adjust_contrast_(images, contrast)
    adjust_saturation_(images, saturation)
    return shift_hue_(images, hue)


def _where_(images: Tensor, drawn: Tensor, operation: Callable[[Tensor, Tensor], Tensor]) -> None:
    """Replace the drawn images by the operation's result on (a copy of) them and their indices."""
    indices = drawn.nonzero()[:, 0]
    if len(indices):
        images.index_copy_(0, indices, operation(images.index_select(0, indices), indices))
