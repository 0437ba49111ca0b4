"""Colour spaces against the standards' own definitions, a pixel at a time."""

import colorsys
import math

import pytest
import torch

from learning.colour_spaces import SPACES, convert

PIXELS = torch.rand(60, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
EXTREMES = torch.tensor([[r, g, b] for r in (0, 1) for g in (0, 1) for b in (0, 1)], dtype=torch.float64)
DARK = PIXELS / 40
ALL = torch.cat([PIXELS, EXTREMES, DARK])


def lab(r, g, b):
    """CIE 15 with D65, from sRGB (IEC 61966-2-1)."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in (r, g, b)]
    to_xyz = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
    xyz = [sum(m * c for m, c in zip(row, linear, strict=True)) for row in to_xyz]
    ratio = [value / white for value, white in zip(xyz, (0.95047, 1.0, 1.08883), strict=True)]
    f = [math.cbrt(t) if t > 216 / 24389 else (24389 / 27 * t + 16) / 116 for t in ratio]
    lightness, a, blue = 116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])
    return lightness / 50 - 1, a / 110, blue / 110


def yiq(r, g, b):
    y = 0.299 * r + 0.587 * g + 0.114 * b
    i, q = 0.5959 * r - 0.2746 * g - 0.3213 * b, 0.2115 * r - 0.5227 * g + 0.3112 * b
    return 2 * y - 1, i / 0.5959, q / 0.5227


def ycbcr(r, g, b):
    """BT.601: scaled differences of blue and red from luma."""
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return 2 * y - 1, 2 * (b - y) / 1.772, 2 * (r - y) / 1.402


def ydbdr(r, g, b):
    y = 0.299 * r + 0.587 * g + 0.114 * b
    return 2 * y - 1, 1.505 * (b - y) / 1.333, -1.902 * (r - y) / 1.333


def hsv(r, g, b):
    hue, saturation, value = colorsys.rgb_to_hsv(r, g, b)
    return 2 * value - 1, 2 * saturation - 1, 2 * hue - 1


def rgb(r, g, b):
    return 2 * r - 1, 2 * g - 1, 2 * b - 1


@pytest.mark.parametrize(
    ("space", "reference", "limit"),
    [
        ("rgb", rgb, 1e-12),
        ("lab", lab, 2e-4),  # matrix and white of more digits
        ("yiq", yiq, 1e-9),
        ("ycbcr", ycbcr, 1e-5),
        ("ydbdr", ydbdr, 2e-3),  # the standard's coefficients have three digits
        ("hsv", hsv, 1e-9),
    ],
)
def test_every_space_is_what_its_standard_says(space, reference, limit):
    images = ALL.T.reshape(1, 3, 4, -1)
    found = convert(images, space).reshape(3, -1).T
    for pixel, row in zip(ALL.tolist(), found.tolist(), strict=True):
        assert row == pytest.approx(reference(*pixel), abs=limit), pixel


@pytest.mark.parametrize("space", SPACES)
def test_every_channel_is_within_about_one(space):
    found = convert(ALL.T.reshape(1, 3, 4, -1), space)
    assert found.abs().max() < 1.1
    assert found.isfinite().all()


@pytest.mark.parametrize("space", [space for space in SPACES if space not in ("rgb", "hsv")])
def test_greys_have_no_colour(space):
    greys = torch.linspace(0, 1, 9, dtype=torch.float64).expand(1, 3, 1, 9)
    found = convert(greys, space)
    assert found[:, 1:].abs().max() < 2e-3
    assert (found[0, 0, 0].diff() > 0).all()


@pytest.mark.parametrize("space", SPACES)
def test_images_are_converted_one_like_many(space):
    images = torch.rand(3, 3, 4, 5)
    assert torch.allclose(convert(images, space)[1:2], convert(images[1:2], space), rtol=1e-5, atol=1e-6)


def test_an_unknown_space_names_those_there_are():
    with pytest.raises(ValueError, match=r"no colour space 'luv', expected one of rgb, yiq, .*hsv"):
        convert(torch.zeros(1, 3, 2, 2), "luv")
