"""A sample's augmentation is a function of its pixels and seed, bit for bit; the whole equals a loop over images."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torchvision.transforms.v2.functional as reference
from torch import Tensor

from learning.augment import (
    PRESETS,
    Augmentation,
    Jitter,
    augment,
    normalise,
    pipeline,
    preset,
    preset_pair,
)
from learning.augment.boxes import random_boxes
from learning.augment.draws import uniform
from learning.augment.rand_augment import DRAWS, rand_augment_

ALL_OFTEN = Augmentation(
    downsample_to=(0.25, 0.5),
    downsample_probability=0.5,
    crop_area=(0.08, 1.0),
    flip_probability=0.5,
    jitter=Jitter(0.8, 0.8, 0.8, 0.2, probability=0.8),
    grayscale_probability=0.2,
    blur_probability=0.5,
    solarize_probability=0.3,
)
RECIPES = {"all_often": ALL_OFTEN, **PRESETS, "byol_second": preset_pair("byol")[1]}


def batch(count: int, height: int = 64, width: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(count)
    pixels = torch.randint(0, 256, (count, 3, height, width), dtype=torch.uint8, generator=generator)
    return pixels, torch.randint(-(2**63), 2**63 - 1, (count,), generator=generator)


@pytest.mark.parametrize(
    ("source", "size_px", "threads"), [((64, 64), 64, 1), ((37, 41), 29, 2), ((96, 96), 33, 1), ((200, 240), 224, 1)]
)
@pytest.mark.parametrize("name", ["all_often", "weak", "infomin"])
def test_a_sample_does_not_depend_on_its_batch(name: str, source: tuple[int, int], size_px: int, threads: int) -> None:
    recipe, (pixels, seeds) = RECIPES[name], batch(23, *source)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = augment(pixels, seeds, recipe, size_px)
        order = torch.randperm(23, generator=torch.Generator().manual_seed(1))[:14]
        assert torch.equal(augment(pixels[order], seeds[order], recipe, size_px), whole[order])
        for i in range(0, 23, 5):
            assert torch.equal(augment(pixels[i : i + 1], seeds[i : i + 1], recipe, size_px)[0], whole[i])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("slice_values", [1, 50_000, 1 << 30])
def test_the_slices_of_work_change_no_bit(slice_values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels, seeds = batch(24)
    expected = augment(pixels, seeds, ALL_OFTEN, 64)
    monkeypatch.setattr(pipeline, "_SLICE_VALUES", slice_values)
    assert torch.equal(augment(pixels, seeds, ALL_OFTEN, 64), expected)


def one_image(pixels: Tensor, seed: Tensor, recipe: Augmentation, size_px: int) -> Tensor:
    """The documented order, one image, with torchvision's functions; draws as the pipeline numbers them."""

    def draw(purpose: int, count: int) -> list[float]:
        return uniform(seed[None], purpose, count)[0].tolist()

    image = pixels.double() / 255
    height, width = image.shape[1:]
    coarse, choice = draw(6, 2)
    if recipe.downsample_to and coarse < recipe.downsample_probability:
        share = recipe.downsample_to[int(choice * len(recipe.downsample_to))]
        image = reference.resize(image, [round(height * share), round(width * share)], antialias=True)
        image = reference.resize(image, [height, width], antialias=True)
    box = [0, 0, height, width]
    if recipe.crop_area is not None:
        box = random_boxes(uniform(seed[None], 1, 22), height, width, recipe.crop_area, recipe.crop_aspect)[0].tolist()
    image = reference.resized_crop(image, *box, size=[size_px, size_px], antialias=True)
    if draw(2, 1)[0] < recipe.flip_probability:
        image = reference.horizontal_flip(image)
    drawn, *numbers = draw(3, 5)
    if recipe.jitter is not None and drawn < recipe.jitter.probability:
        halves = [recipe.jitter.brightness, recipe.jitter.contrast, recipe.jitter.saturation]
        lows = [max(0.0, 1 - half) for half in halves]
        factors = [low + (1 + half - low) * u for low, half, u in zip(lows, halves, numbers, strict=False)]
        image = reference.adjust_brightness(image, factors[0])
        image = reference.adjust_contrast(image, factors[1])
        image = reference.adjust_saturation(image, factors[2])
        image = reference.adjust_hue(image, -recipe.jitter.hue + 2 * recipe.jitter.hue * numbers[3])
    drawn, number = draw(5, 2)
    if drawn < recipe.blur_probability:
        low, high = (sigma * size_px / 224 for sigma in recipe.blur_sigma_px)
        side = 2 * int(-(-3 * high // 1)) + 1
        image = reference.gaussian_blur(image, [side, side], [low + (high - low) * number] * 2)
    if recipe.rand_augment is not None:
        numbers = uniform(seed[None], 8, recipe.rand_augment.operations * DRAWS)
        image = rand_augment_(image.float()[None], numbers, recipe.rand_augment)[0].double()
    if draw(4, 1)[0] < recipe.grayscale_probability:
        image = reference.rgb_to_grayscale(image, num_output_channels=3)
    return reference.solarize(image, 0.5) if draw(7, 1)[0] < recipe.solarize_probability else image


@pytest.mark.parametrize(
    ("name", "source", "size_px"),
    [*((name, (48, 64), 40) for name in RECIPES), ("all_often", (64, 64), 64), ("all_often", (32, 32), 96)],
)
def test_the_whole_equals_a_loop_over_images(name: str, source: tuple[int, int], size_px: int) -> None:
    recipe, (pixels, seeds) = RECIPES[name], batch(48, *source)
    mine = augment(pixels, seeds, recipe, size_px)
    assert mine.dtype == torch.float32
    expected = torch.stack(
        [one_image(image, seed, recipe, size_px).float() for image, seed in zip(pixels, seeds, strict=True)]
    )
    # Noise is the hardest input: hue's quotient magnifies float32's roundings where a pixel is nearly grey; and what
    # RandAugment rounds to levels may round the other way.
    far = (mine - expected).abs() > 1e-4
    assert far.double().mean() < (0.002 if recipe.rand_augment else 1e-12)


def test_probabilities_are_what_they_say() -> None:
    """Of 4,000 flat images, the share that a lone operation changes is its probability within four standard errors."""
    pixels = torch.arange(192, dtype=torch.uint8).reshape(1, 3, 8, 8).expand(4000, -1, -1, -1)
    plain = augment(pixels[:1], torch.zeros(1, dtype=torch.int64), preset("none"), 8)
    lone = [
        (Augmentation(flip_probability=0.5), 0.5),
        (Augmentation(jitter=Jitter(0.8, 0.8, 0.8, 0.2, probability=0.8)), 0.8),
        (Augmentation(grayscale_probability=0.2), 0.2),
        (Augmentation(blur_probability=0.5, blur_sigma_px=(20, 56)), 0.5),
        (Augmentation(downsample_to=(0.25, 0.5), downsample_probability=0.05), 0.05),
        (Augmentation(solarize_probability=0.2), 0.2),
    ]
    for recipe, probability in lone:
        changed = (augment(pixels, torch.arange(4000), recipe, 8) != plain).flatten(1).any(dim=1).double().mean()
        assert abs(changed - probability) < 4 * (probability * (1 - probability) / 4000) ** 0.5


def test_byols_crops_differ_in_blur_and_solarize_and_no_others_do() -> None:
    first, second = preset_pair("byol")
    assert (first.blur_probability, first.solarize_probability) == (1.0, 0.0)
    assert (second.blur_probability, second.solarize_probability) == (0.1, 0.2)
    assert replace(second, blur_probability=1.0, solarize_probability=0.0) == first == preset("byol")
    assert all(preset_pair(name) == (preset(name), preset(name)) for name in PRESETS if name != "byol")
    with pytest.raises(ValueError, match="'dino', expected one of"):
        preset_pair("dino")


@pytest.mark.parametrize(("area", "size_px"), [((0.4, 1.0), 64), ((0.05, 0.4), 24), ((0.2, 0.25), 96)])
def test_multi_crops_sizes_and_areas_are_free_for_each_kind(area: tuple[float, float], size_px: int) -> None:
    """Red grows across and green downwards, so that a crop's colours tell its sides."""
    ramp = torch.arange(128, dtype=torch.uint8)
    pixels = torch.stack([ramp.expand(128, 128), ramp[:, None].expand(128, 128), ramp.expand(128, 128)])
    recipe = replace(PRESETS["weak"], crop_area=area)
    crops = augment(pixels.expand(300, -1, -1, -1), torch.arange(300), recipe, size_px)
    assert crops.shape == (300, 3, size_px, size_px)
    sides = (crops.amax(dim=(2, 3)) - crops.amin(dim=(2, 3)))[:, :2] * 255 + 1
    shares = sides.prod(dim=1) / 128**2
    assert area[0] * 0.9 < shares.min() < area[0] + 0.2 * (area[1] - area[0])
    assert area[1] - 0.2 * (area[1] - area[0]) < shares.max() < area[1] * 1.1


def test_none_at_the_stored_size_is_the_image() -> None:
    pixels, seeds = batch(3)
    assert torch.equal(augment(pixels, seeds, preset("none"), 64), pixels.float() / 255)


def test_the_input_is_left_alone() -> None:
    pixels, seeds = batch(5)
    before = pixels.clone()
    augment(pixels, seeds, ALL_OFTEN, 32)
    assert torch.equal(pixels, before)


def test_values_stay_in_range() -> None:
    result = augment(*batch(64), ALL_OFTEN, 48)
    assert result.min() >= 0
    assert result.max() <= 1 + 1e-6


def test_normalise_is_per_channel() -> None:
    result = normalise(torch.ones(1, 3, 1, 1), (0.5, 0.25, 0.0), (0.5, 0.25, 2.0))
    assert result.flatten().tolist() == [1.0, 3.0, 0.5]


def test_wrong_inputs_and_names_are_said() -> None:
    pixels, seeds = batch(2)
    with pytest.raises(ValueError, match=r"expected torch.uint8 \[B, 3, H, W\]"):
        augment(pixels.float(), seeds, preset("none"), 8)
    with pytest.raises(ValueError, match=r"expected torch.int64 \[2\]"):
        augment(pixels, seeds[:1], preset("none"), 8)
    with pytest.raises(ValueError, match="'simcrl', expected one of simclr, stablerep, infomin, byol, weak, none"):
        preset("simcrl")
