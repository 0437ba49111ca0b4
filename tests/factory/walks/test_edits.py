"""Edits against closed forms, their masks against where the border really goes, their compositions against matrices."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from factory.walks.edits import edited, homography
from factory.walks.transforms import FAMILIES, GENREP
from learning.augment.colour import adjust_saturation_

SIDE_PX = 32
IMAGES = torch.rand(2, 3, SIDE_PX, SIDE_PX, generator=torch.Generator().manual_seed(0)) * 2 - 1
STEP_PX = 100 / 256 * SIDE_PX  # a shift of α = 1


def both(value: float) -> torch.Tensor:
    return torch.full((2,), float(value), dtype=torch.float64)


def test_no_edit_leaves_every_bit() -> None:
    for laws in FAMILIES.values():
        warps_and_tints = {name: both(name == "crop_area") for name in laws if name not in ("brightness", "contrast")}
        warps_and_tints = {name: value for name, value in warps_and_tints.items() if name not in ("saturation", "hue")}
        result, mask = edited(IMAGES, warps_and_tints)
        assert torch.equal(result, IMAGES)
        assert mask.eq(1).all()


@pytest.mark.parametrize(("name", "axis", "pixels"), [("shift_x", 3, 5), ("shift_x", 3, -8), ("shift_y", 2, 3)])
def test_whole_pixels_are_shifted_exactly_and_what_came_in_is_masked(name: str, axis: int, pixels: int) -> None:
    result, mask = edited(IMAGES, {name: both(pixels / STEP_PX)})
    rolled, known = IMAGES.roll(pixels, axis), torch.ones(SIDE_PX)
    known[slice(0, pixels) if pixels > 0 else slice(SIDE_PX + pixels, SIDE_PX)] = 0
    known = known.view([SIDE_PX if one == axis else 1 for one in range(4)]).expand(2, 1, SIDE_PX, SIDE_PX)
    assert torch.equal(mask, known)
    torch.testing.assert_close(result * known, rolled * known, atol=1e-5, rtol=0)


def test_three_turns_of_thirty_degrees_put_the_top_to_the_right() -> None:
    result, mask = edited(IMAGES, {"rot2d": both(3)})  # 90 degrees clockwise
    torch.testing.assert_close(result, torch.rot90(IMAGES, -1, (2, 3)), atol=2e-5, rtol=0)
    assert mask.eq(1).all()


def test_a_turn_about_the_vertical_axis_is_a_pinhole_cameras() -> None:
    angle, distance = math.radians(60 * 0.5), 4.0  # half sides
    inverse = homography({"rot3d": both(0.5)}, SIDE_PX, SIDE_PX)[0].numpy()
    for x, y in ((0.3, -0.2), (-0.9, 0.7), (0.0, 0.4)):
        depth = distance + x * math.sin(angle)
        seen = np.array([x * math.cos(angle) * distance / depth, y * distance / depth, 1.0])
        back = inverse @ seen
        np.testing.assert_allclose(back[:2] / back[2], (x, y), atol=1e-12)


@pytest.mark.parametrize("scale", [0.5, 2.0])
def test_a_zoom_is_that_much_larger(scale: float) -> None:
    axis = torch.linspace(-1, 1, SIDE_PX)
    smooth = (axis * 0.8).expand(2, 3, SIDE_PX, SIDE_PX)
    result, mask = edited(smooth, {"zoom": both(math.log(scale))})
    inner = slice(SIDE_PX // 2 - 5, SIDE_PX // 2 + 5)
    torch.testing.assert_close(result[..., inner], (smooth / scale)[..., inner], atol=1e-2, rtol=0)
    assert mask.mean() == pytest.approx(min(1.0, scale**2), abs=1e-6)


def test_a_mask_is_that_of_all_warps_together() -> None:
    """Shifted half out, then half back: an honest camera has lost nothing but what left the frame in the end."""
    away, _ = edited(IMAGES, {"shift_x": both(8 / STEP_PX)})
    alphas = {"rot2d": both(1.5), "zoom": both(0.4), "shift_x": both(0.3), "shift_y": both(-0.2)}
    result, mask = edited(IMAGES, alphas)
    inverse = homography(alphas, SIDE_PX, SIDE_PX)[0].numpy()
    for row, column in ((0, 0), (3, 30), (16, 16), (31, 2), (20, 9)):
        point = np.array([(column + 0.5) * 2 / SIDE_PX - 1, (row + 0.5) * 2 / SIDE_PX - 1, 1.0])
        source = inverse @ point
        assert mask[0, 0, row, column] == float(np.abs(source[:2]).max() <= 1)
    assert not torch.equal(result, away)


def test_what_lies_behind_the_camera_is_unknown() -> None:
    _, mask = edited(IMAGES, {"rot3d": both(1.0), "zoom": both(-math.log(4))})
    assert mask.mean() < 1 / 16


def test_a_crop_is_its_box_enlarged() -> None:
    crop = {"crop_x": 1.0, "crop_y": -1.0, "crop_area": 0.25, "crop_aspect": 0.0}  # the upper right quarter
    result, mask = edited(IMAGES, {name: both(value) for name, value in crop.items()})
    expected = torch.nn.functional.interpolate(IMAGES[..., :16, 16:], scale_factor=2, mode="bilinear")
    torch.testing.assert_close(result[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-5, rtol=0)
    assert mask.eq(1).all()


@given(area=st.floats(0.2, 1), aspect=st.floats(-0.28, 0.28), x=st.floats(-1, 1), y=st.floats(-1, 1))
@settings(max_examples=25, deadline=None)
def test_a_crop_never_leaves_the_image(area: float, aspect: float, x: float, y: float) -> None:
    crop = {"crop_x": x, "crop_y": y, "crop_area": area, "crop_aspect": aspect}
    _, mask = edited(IMAGES, {name: both(value) for name, value in crop.items()})
    assert mask.eq(1).all()


def test_tints_add_and_stop_at_black_and_white() -> None:
    result, _ = edited(IMAGES, {"green": both(0.5)})
    assert torch.equal(result[:, [0, 2]], IMAGES[:, [0, 2]])
    torch.testing.assert_close(result[:, 1], (IMAGES[:, 1] + 0.5).clamp(max=1))


def test_jitter_is_simclrs() -> None:
    result, _ = edited(IMAGES, {"saturation": both(-0.3)})
    expected = adjust_saturation_((IMAGES + 1) / 2, torch.full((2,), 0.7)) * 2 - 1
    torch.testing.assert_close(result, expected)


def test_a_row_does_not_depend_on_its_neighbours() -> None:
    alphas = {name: torch.tensor([0.3, -0.4]) for name in GENREP}
    whole, mask = edited(IMAGES, alphas)
    alone, own_mask = edited(IMAGES[1:], {name: values[1:] for name, values in alphas.items()})
    torch.testing.assert_close(whole[1:], alone, atol=1e-6, rtol=0)
    assert torch.equal(mask[1:], own_mask)
