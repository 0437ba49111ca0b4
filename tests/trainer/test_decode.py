"""The loader's decoder gives Pillow's pixels, and refuses what Pillow refuses."""

import io

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from manifests.errors import CorruptError
from manifests.images import decode_image
from trainer.decode import decode_into, plain_jpeg_size


def jpeg(width=40, height=24, mode="RGB", seed=0, **options):
    small = np.random.default_rng(seed).integers(0, 256, (5, 7, 3), dtype=np.uint8)
    image = Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC).convert(mode)
    file = io.BytesIO()
    image.save(file, options.pop("format", "JPEG"), **options)
    return file.getvalue()


def decoded(data, height=24, width=40):
    pixels = np.full((height, width, 3), 77, np.uint8)
    decode_into(pixels, data)
    return pixels


@settings(max_examples=80, deadline=None)
@given(
    width=st.integers(1, 70),
    height=st.integers(1, 70),
    quality=st.sampled_from([3, 50, 95, 100]),
    subsampling=st.sampled_from([0, 1, 2]),
    progressive=st.booleans(),
    optimize=st.booleans(),
    restarts=st.sampled_from([0, 1, 3]),
)
def test_a_plain_jpeg_has_the_pixels_that_pillow_sees(width, height, restarts, **options):
    data = jpeg(width, height, restart_marker_blocks=restarts, **options)
    assert plain_jpeg_size(data) == (height, width)
    assert (decoded(data, height, width) == decode_image(data)).all()


TURNED = Image.Exif()
TURNED[0x0112] = 6


@pytest.mark.parametrize(
    "options",
    [
        {"format": "PNG"},
        {"format": "WEBP", "lossless": True},
        {"mode": "L"},
        {"mode": "CMYK"},
        {"exif": TURNED, "width": 24, "height": 40},
        {"keep_rgb": True},
    ],
    ids=lambda options: "-".join(options),
)
def test_everything_else_is_left_to_pillow(options):
    data = jpeg(**options)
    assert plain_jpeg_size(data) is None or "keep_rgb" in options
    assert (decoded(data) == decode_image(data)).all()


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["cut", "flip"]), progressive=st.booleans())
def test_damaged_bytes_are_refused_or_read_as_pillow_does(data, kind, progressive):
    whole = bytearray(jpeg(progressive=progressive))
    at = data.draw(st.integers(0, len(whole) - 1))
    if kind == "flip":
        whole[at] ^= 1 << data.draw(st.integers(0, 7))
    damaged = bytes(whole[:at] if kind == "cut" else whole)
    try:
        expected = decode_image(damaged)
    except CorruptError:
        with pytest.raises(CorruptError):
            decoded(damaged)
        return
    if expected.shape == (24, 40, 3):
        assert (decoded(damaged) == expected).all()


def test_an_image_of_another_size_is_fitted():
    assert (decoded(jpeg(80, 48, quality=95)) != 77).any()
    assert decoded(jpeg(80, 48, quality=95)).shape == (24, 40, 3)
