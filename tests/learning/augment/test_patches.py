"""The batched jigsaw against a loop over images and patches."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from learning.augment import jigsaw
from learning.augment.draws import uniform


def batch(count: int, side: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(side)
    seeds = torch.randint(-(2**63), 2**63 - 1, (count,), generator=generator)
    return torch.rand(count, 3, side, side, generator=generator), seeds


def one_image(image: Tensor, seed: Tensor, grid: int, patch_px: int) -> list[Tensor]:
    """Cells in the order of their drawn numbers; the patch at each place of the order has its own corner."""
    cell = image.shape[1] // grid
    keys = uniform(seed[None], 101, grid * grid)[0].tolist()
    corners = uniform(seed[None], 102, 2 * grid * grid)[0].tolist()
    patches = []
    for place, number in enumerate(sorted(range(grid * grid), key=keys.__getitem__)):
        down, across = (int(corner * (cell - patch_px + 1)) for corner in corners[2 * place : 2 * place + 2])
        top, left = number // grid * cell + down, number % grid * cell + across
        patches.append(image[:, top : top + patch_px, left : left + patch_px])
    return patches


@pytest.mark.parametrize(("side", "grid", "patch_px"), [(96, 3, 24), (65, 3, 21), (32, 2, 16), (8, 1, 5), (9, 3, 1)])
def test_patches_equal_a_loop_over_images(side: int, grid: int, patch_px: int) -> None:
    images, seeds = batch(9, side)
    patches = jigsaw(images, seeds, grid, patch_px)
    assert patches.shape == (9, grid * grid, 3, patch_px, patch_px)
    for mine, image, seed in zip(patches, images, seeds, strict=True):
        assert torch.equal(mine, torch.stack(one_image(image, seed, grid, patch_px)))


def test_an_images_patches_do_not_depend_on_its_batch() -> None:
    images, seeds = batch(9, 48)
    together = jigsaw(images, seeds, 3, 12)
    order = torch.tensor([7, 2, 4])
    assert torch.equal(jigsaw(images[order], seeds[order], 3, 12), together[order])
    assert torch.equal(jigsaw(images[5:6], seeds[5:6], 3, 12)[0], together[5])


def test_orders_and_places_are_uniform() -> None:
    """Where each of 4 cells lands, and where a patch lies in it, over 4,000 seeds within five standard errors."""
    cells = torch.arange(4.0).view(1, 1, 2, 2).repeat_interleave(8, 2).repeat_interleave(8, 3)
    steps = torch.arange(8.0).repeat(2)
    images = torch.stack([cells[0, 0], steps[:, None].expand(16, 16), steps.expand(16, 16)])
    corners = jigsaw(images.expand(4000, -1, -1, -1), torch.arange(4000), 2, 5)[..., 0, 0]  # [4000, 4 places, 3]
    for place in range(4):
        for channel, values in enumerate((4, 4, 4)):  # 8 - 5 + 1 corners
            counts = corners[:, place, channel].long().bincount(minlength=values)
            assert (counts / 4000 - 1 / values).abs().max() < 5 * (0.25 * 0.75 / 4000) ** 0.5


def test_a_patch_larger_than_its_cell_is_refused() -> None:
    images, seeds = batch(2, 32)
    with pytest.raises(ValueError, match="patch_px is 11, expected at most the 10 px of a cell"):
        jigsaw(images, seeds, 3, 11)
