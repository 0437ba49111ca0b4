"""The laws of the augmentation, each against a reference in numpy that goes image by image."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from factory.gan.diffaugment import POLICIES, Draws, Policy, augment, draw

CPU = torch.device("cpu")
SIDE_PX = 16


def draws_of(seed: int, images: int) -> Draws:
    return draw(np.random.default_rng(seed), images, CPU)


def images_of(seed: int, images: int, side_px: int = SIDE_PX) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (images, 3, side_px, side_px)))


def one(draws: Draws, row: int) -> Draws:
    return Draws(*(column[row : row + 1] for column in vars(draws).values()))


def coloured(image: np.ndarray, brightness: float, saturation: float, contrast: float) -> np.ndarray:
    image = image + brightness - 0.5
    grey = image.mean(0)
    image = grey + 2 * saturation * (image - grey)
    return np.asarray(image.mean() + (0.5 + contrast) * (image - image.mean()))


def moved(image: np.ndarray, down_px: int, right_px: int) -> np.ndarray:
    canvas = np.zeros((3, 3 * SIDE_PX, 3 * SIDE_PX))
    top, left = SIDE_PX + down_px, SIDE_PX + right_px
    canvas[:, top : top + SIDE_PX, left : left + SIDE_PX] = image
    return canvas[:, SIDE_PX:-SIDE_PX, SIDE_PX:-SIDE_PX]


def test_colours_change_as_written() -> None:
    images, draws = images_of(0, 8), draws_of(1, 8)
    found = augment(images, draws, ["colour"]).numpy()
    for row, image in enumerate(images.numpy()):
        values = (float(column[row]) for column in (draws.brightness, draws.saturation, draws.contrast))
        np.testing.assert_allclose(found[row], coloured(image, *values), atol=1e-6)


def test_pictures_move_by_whole_pixels_up_to_an_eighth_and_what_comes_in_is_zero() -> None:
    images, draws = images_of(0, 200), draws_of(1, 200)
    found = augment(images, draws, ["translation"]).numpy()
    places = np.floor(draws.shift.numpy() * 5).astype(int) - 2  # an eighth of 16 px is 2 px: five places an axis
    for row, image in enumerate(images.numpy()):
        np.testing.assert_array_equal(found[row], moved(image, *places[row]))
    assert {tuple(place) for place in places} == {(down, right) for down in range(-2, 3) for right in range(-2, 3)}


def test_every_shift_is_as_likely_as_any_other() -> None:
    count, ramp = 5000, torch.arange(1.0, SIDE_PX + 1).expand(3, SIDE_PX, SIDE_PX)
    found = augment(ramp.expand(count, -1, -1, -1), draws_of(2, count), ["translation"])
    centre = found[:, 0, SIDE_PX // 2, SIDE_PX // 2]  # the ramp tells how far it went to the right
    seen = Counter(centre.tolist())
    assert len(seen) == 5
    assert sum((share - count / 5) ** 2 / (count / 5) for share in seen.values()) < 18.5  # chi-squared, 4, p = 0.001


def test_a_hole_is_a_square_of_half_a_side_cut_by_the_border_only() -> None:
    count = 500
    found = augment(torch.ones(count, 3, SIDE_PX, SIDE_PX), draws_of(3, count), ["cutout"]).numpy()
    sizes = set()
    for image in found:
        assert (image == image[0]).all(), "all channels have one hole"
        rows, columns = np.flatnonzero((image[0] == 0).any(1)), np.flatnonzero((image[0] == 0).any(0))
        hole = image[0][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert (hole == 0).all(), "the hole is a rectangle"
        for places in (rows, columns):
            assert len(places) == SIDE_PX // 2 or places[0] == 0 or places[-1] == SIDE_PX - 1
        sizes.add((len(rows), len(columns)))
    assert max(sizes) == (8, 8)
    assert len(sizes) > 10


def test_holes_are_everywhere() -> None:
    kept = augment(torch.ones(4000, 1, SIDE_PX, SIDE_PX), draws_of(4, 4000), ["cutout"]).mean((0, 1))
    assert ((kept > 0.5) & (kept < 0.95)).all()
    assert torch.allclose(kept, kept.T, atol=0.05), "both axes have one law"


@pytest.mark.parametrize("policies", [POLICIES, *[(policy,) for policy in POLICIES]])
def test_a_picture_changes_by_its_own_draws_alone(policies: tuple[Policy, ...]) -> None:
    images, draws = images_of(5, 6), draws_of(6, 6)
    together = augment(images, draws, policies)
    alone = torch.cat([augment(images[row : row + 1], one(draws, row), policies) for row in range(6)])
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-12)


@pytest.mark.parametrize("policies", [POLICIES, *[(policy,) for policy in POLICIES]])
def test_its_gradient_is_right_once_and_twice(policies: tuple[Policy, ...]) -> None:
    draws = draws_of(7, 2)

    def squared(images: torch.Tensor) -> torch.Tensor:
        return augment(images, draws, policies) ** 2

    images = images_of(8, 2, side_px=4).requires_grad_()
    assert torch.autograd.gradcheck(squared, images)
    assert torch.autograd.gradgradcheck(squared, images)


def test_without_policies_nothing_changes() -> None:
    images = images_of(9, 3)
    assert augment(images, draws_of(0, 3), []) is images


def test_draws_are_those_of_the_seed_and_use_up_the_same_whatever_is_done_with_them() -> None:
    first, again = np.random.default_rng(3), np.random.default_rng(3)
    ours, theirs = draw(first, 5, CPU), draw(again, 5, CPU)
    assert all(torch.equal(a, b) for a, b in zip(vars(ours).values(), vars(theirs).values(), strict=True))
    assert first.random() == again.random()
    values = torch.cat([column.reshape(-1) for column in vars(ours).values()])
    assert ((values >= 0) & (values < 1)).all()
    assert len(set(values.tolist())) == 5 * 7
