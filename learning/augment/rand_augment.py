"""RandAugment: every image undergoes a few operations, drawn with replacement, with a noisy magnitude.

Operations and their strengths are those of timm's `rand-m10-n2-mstd0.5`, which InfoMin-Aug uses: solarize and posterize
grow weaker with the magnitude, color, contrast, brightness and sharpness run from 0.1 to 1.9. Always bilinear where
timm draws bilinear or bicubic; not rounded to 8 bits between operations. Source: arXiv:1909.13719; arXiv:2005.10243.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from learning.augment.colour import adjust_brightness_, adjust_contrast_, adjust_saturation_
from learning.augment.recipe import RandAugment
from learning.augment.tones import autocontrast, equalize, posterize, sharpen, solarize, solarize_add
from learning.augment.warp import rotation, shear, translation, warp

DRAWS = 4  # numbers an operation needs: which, whether, magnitude, sign
_FULL = 10.0  # the magnitude of full strength
_FILL = (124 / 255, 116 / 255, 104 / 255)  # ImageNet's mean, as InfoMin fills

# Images in [0, 1] that may be changed in place, strengths in [0, 1] and signs of -1 or 1, float64 [B].
Operation = Callable[[Tensor, Tensor, Tensor], Tensor]


def rand_augment_(images: Tensor, draws: Tensor, settings: RandAugment) -> Tensor:
    """Apply the drawn operations in place. Shapes: [B, 3, H, W], float64 [B, operations * DRAWS] in [0, 1)."""
    for layer in draws.view(-1, settings.operations, DRAWS).unbind(dim=1):
        which, whether, magnitude, sign = layer.unbind(dim=1)
        drawn = torch.where(whether < settings.probability, (which * len(OPERATIONS)).long(), len(OPERATIONS))
        strengths = _strengths(magnitude, settings)
        signs = torch.where(sign < 0.5, 1.0, -1.0).double()
        _each_its_own_(images, drawn, strengths, signs)
    return images


def _strengths(draws: Tensor, settings: RandAugment) -> Tensor:
    noise: Tensor = torch.special.ndtri(draws.clamp(min=2.0**-53).contiguous())  # normal; 0 would be minus infinity
    return (noise * settings.magnitude_std + settings.magnitude).clamp(0, _FULL) / _FULL


def _each_its_own_(images: Tensor, drawn: Tensor, strengths: Tensor, signs: Tensor) -> None:
    """Sort the images by operation, so that the device is asked only once how many drew which."""
    counts = drawn.bincount(minlength=len(OPERATIONS) + 1).tolist()
    groups = torch.split(drawn.argsort(stable=True), counts)[:-1]
    for indices, operation in zip(groups, OPERATIONS.values(), strict=True):
        if len(indices):
            part = operation(images.index_select(0, indices), strengths[indices], signs[indices])
            images.index_copy_(0, indices, part)


def _factors(strengths: Tensor) -> Tensor:
    return (0.1 + 1.8 * strengths).float()


def _rotate(images: Tensor, strengths: Tensor, signs: Tensor) -> Tensor:
    return warp(images, rotation(30 * strengths * signs, *images.shape[2:]), _FILL)


def _shear_x(images: Tensor, strengths: Tensor, signs: Tensor) -> Tensor:
    return warp(images, shear(0.3 * strengths * signs, torch.zeros_like(signs)), _FILL)


def _shear_y(images: Tensor, strengths: Tensor, signs: Tensor) -> Tensor:
    return warp(images, shear(torch.zeros_like(signs), 0.3 * strengths * signs), _FILL)


def _translate_x(images: Tensor, strengths: Tensor, signs: Tensor) -> Tensor:
    return warp(images, translation(0.45 * images.shape[3] * strengths * signs, torch.zeros_like(signs)), _FILL)


def _translate_y(images: Tensor, strengths: Tensor, signs: Tensor) -> Tensor:
    return warp(images, translation(torch.zeros_like(signs), 0.45 * images.shape[2] * strengths * signs), _FILL)


# The order is part of what a seed means. Names are timm's.
OPERATIONS: dict[str, Operation] = {
    "AutoContrast": lambda images, _, __: autocontrast(images),
    "Equalize": lambda images, _, __: equalize(images),
    "Invert": lambda images, _, __: 1 - images,
    "Rotate": _rotate,
    "Posterize": lambda images, strengths, _: posterize(images, (4 * strengths).long()),
    "Solarize": lambda images, strengths, _: solarize(images, (256 * strengths).floor().float() / 255),
    "SolarizeAdd": lambda images, strengths, _: solarize_add(images, (110 * strengths).floor().float() / 255),
    "Color": lambda images, strengths, _: adjust_saturation_(images, _factors(strengths)),
    "Contrast": lambda images, strengths, _: adjust_contrast_(images, _factors(strengths)),
    "Brightness": lambda images, strengths, _: adjust_brightness_(images, _factors(strengths)),
    "Sharpness": lambda images, strengths, _: sharpen(images, _factors(strengths)),
    "ShearX": _shear_x,
    "ShearY": _shear_y,
    "TranslateXRel": _translate_x,
    "TranslateYRel": _translate_y,
}
