"""RandAugment against timm's own operations on 8-bit pictures, and against a plain loop over images and layers."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import auto_augment as timm_augment
from torch import Tensor

from learning.augment import PRESETS, RandAugment
from learning.augment.rand_augment import DRAWS, OPERATIONS, Operation, rand_augment_

FILL_LEVELS = (124, 116, 104)
EXACT = {"Invert", "Posterize", "Solarize", "SolarizeAdd", "Equalize"}
INFOMIN = RandAugment(operations=2, magnitude=10.0, magnitude_std=0.5, probability=0.5)


def pictures(count: int = 3, height: int = 32, width: int = 40) -> Tensor:
    """Smooth blobs with noise, uint8 [count, 3, H, W]: warps are compared, so that noise alone would be too hard."""
    coarse = torch.rand(count, 3, 5, 6, generator=torch.Generator().manual_seed(4))
    smooth = torch.nn.functional.interpolate(coarse, (height, width), mode="bicubic") * 200 + 20
    return (smooth + torch.rand(smooth.shape, generator=torch.Generator().manual_seed(5)) * 20).clamp(0, 255).byte()


def test_the_operations_are_timms_in_its_order() -> None:
    assert list(OPERATIONS) == timm_augment._RAND_TRANSFORMS
    assert PRESETS["infomin"].rand_augment == INFOMIN


@pytest.mark.parametrize("sign", [-1.0, 1.0])
@pytest.mark.parametrize("magnitude", [2.6, 9.6, 10.0])
@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_equals_timms_at_every_magnitude(
    name: str, magnitude: float, sign: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timm_augment.random, "random", lambda: 1.0 if sign < 0 else 0.0)  # whether it negates
    hyperparameters = {"img_mean": FILL_LEVELS, "interpolation": Image.Resampling.BILINEAR}
    theirs = timm_augment.AugmentOp(name, prob=1.0, magnitude=magnitude, hparams=hyperparameters)
    strengths, signs = torch.full((3,), magnitude / 10, dtype=torch.float64), torch.full((3,), sign).double()
    mine = OPERATIONS[name](pictures().float() / 255, strengths, signs) * 255
    for one, picture in zip(mine, pictures(), strict=True):
        expected = np.array(theirs(Image.fromarray(picture.permute(1, 2, 0).numpy())))
        difference = (one - torch.from_numpy(expected).permute(2, 0, 1)).abs()
        # PIL rounds its grey image, its mean and its result; near a border its fixed point may decide otherwise.
        assert difference.max() < (1e-3 if name in EXACT else 2.5)


def draws(count: int, operations: int) -> Tensor:
    generator = torch.Generator().manual_seed(count)
    return torch.rand(count, operations * DRAWS, dtype=torch.float64, generator=generator)


@pytest.mark.parametrize("settings", [INFOMIN, RandAugment(3, 4.0, 2.0, 1.0), RandAugment(1, 9.0, 0.0, 0.5)])
def test_a_batch_equals_a_loop_over_images_and_layers(settings: RandAugment) -> None:
    start, numbers = pictures(64).float() / 255, draws(64, settings.operations)
    mine = rand_augment_(start.clone(), numbers, settings)
    for one, begin, row in zip(mine, start, numbers.tolist(), strict=True):
        image = begin[None].clone()
        for layer in range(settings.operations):
            which, whether, noise, sign = row[DRAWS * layer : DRAWS * (layer + 1)]
            if whether >= settings.probability:
                continue
            magnitude = settings.magnitude + settings.magnitude_std * NormalDist().inv_cdf(noise)
            strength = torch.tensor([min(10.0, max(0.0, magnitude)) / 10], dtype=torch.float64)
            operation = list(OPERATIONS.values())[int(which * len(OPERATIONS))]
            image = operation(image, strength, torch.tensor([-1.0 if sign >= 0.5 else 1.0]).double())
        torch.testing.assert_close(one, image[0], rtol=0, atol=1e-4)


def test_each_operation_is_drawn_as_often_and_magnitudes_are_normal_but_cut() -> None:
    seen: dict[str, list[float]] = {name: [] for name in OPERATIONS}
    spies = {name: _spy(values) for name, values in seen.items()}
    with pytest.MonkeyPatch.context() as patch:
        for name, spy in spies.items():
            patch.setitem(OPERATIONS, name, spy)
        rand_augment_(torch.zeros(6000, 3, 1, 1), draws(6000, 2), INFOMIN)
    counts = np.array([len(values) for values in seen.values()])
    assert np.abs(counts - 400).max() < 5 * 400**0.5  # 6000 · 2 · ½ / 15
    strengths = np.concatenate(list(seen.values()))
    assert abs((strengths == 1).mean() - 0.5) < 5 * 0.5 / len(strengths) ** 0.5
    below = strengths[strengths < 1]
    assert abs((1 - below).mean() - 0.05 * (2 / np.pi) ** 0.5) < 5 * 0.05 / len(below) ** 0.5


def _spy(values: list[float]) -> Operation:
    def operation(images: Tensor, strengths: Tensor, signs: Tensor) -> Tensor:
        assert set(signs.tolist()) <= {-1.0, 1.0}
        values.extend(strengths.tolist())
        return images

    return operation


@pytest.mark.parametrize(("size", "threads", "count"), [((33, 33), 1, 45), ((224, 201), 2, 8)])
def test_an_image_does_not_depend_on_its_batch(size: tuple[int, int], threads: int, count: int) -> None:
    settings = RandAugment(3, 7.0, 2.0, 1.0)
    start, numbers = torch.rand(count, 3, *size, generator=torch.Generator().manual_seed(6)), draws(count, 3)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        whole = rand_augment_(start.clone(), numbers, settings)
        for i in range(0, count, 4):
            assert torch.equal(rand_augment_(start[i : i + 1].clone(), numbers[i : i + 1], settings)[0], whole[i])
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("name", OPERATIONS)
def test_each_operation_alone_and_in_a_batch_gives_the_same_bits(name: str) -> None:
    start, strengths = torch.rand(9, 3, 35, 37), torch.linspace(0, 1, 9, dtype=torch.float64)
    signs = torch.tensor([-1.0, 1.0, 1.0] * 3, dtype=torch.float64)
    whole = OPERATIONS[name](start.clone(), strengths, signs)
    for i in range(9):
        part = slice(i, i + 1)
        assert torch.equal(OPERATIONS[name](start[part].clone(), strengths[part], signs[part])[0], whole[i])
