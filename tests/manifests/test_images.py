"""Pixels from bytes: what is decoded, and what is refused."""

import hashlib
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageOps

from manifests.errors import CorruptError
from manifests.images import decode_image, pixel_hash
from tests.manifests.making import encode, pixels


def file_of(image: Image.Image, kind: str, **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def test_lossless_images_come_back_to_the_bit():
    image = pixels(1, 2)
    for data in (encode(image), file_of(Image.fromarray(image), "WEBP", lossless=True)):
        np.testing.assert_array_equal(decode_image(data), image)


def test_a_jpeg_is_turned_upright():
    image = Image.fromarray(np.repeat(np.arange(0, 256, 8, dtype=np.uint8)[:, None, None], 16, 1).repeat(3, 2))
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    decoded = decode_image(file_of(image, "JPEG", quality=95, exif=exif))
    assert decoded.shape == (16, 32, 3)
    assert decoded[0, 0, 0] > decoded[0, -1, 0]


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("tag", "type_"), [(0x010F, 2), (0x0100, 2), (0x011A, 7), (0x0128, 7)])
def test_an_odd_exif_tag_does_not_keep_an_image_from_being_turned(orientation, tag, type_):
    image = Image.fromarray(pixels(0, 0)).resize((8, 6))
    entries = struct.pack("<HHII", 0x0112, 3, 1, orientation) + struct.pack("<HHI4s", tag, type_, 1, b"a\0\0\0")
    exif = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 2) + entries + bytes(4)
    plain = Image.Exif()
    plain[0x0112] = orientation
    with Image.open(io.BytesIO(file_of(image, "JPEG", exif=plain))) as reference:
        expected = np.asarray(ImageOps.exif_transpose(reference))
    np.testing.assert_array_equal(decode_image(file_of(image, "JPEG", exif=exif)), expected)


def test_transparent_pixels_are_laid_on_white():
    layers = np.zeros((2, 2, 4), np.uint8)
    layers[0, 0] = (10, 20, 30, 255)
    decoded = decode_image(file_of(Image.fromarray(layers), "PNG"))
    assert decoded[0, 0].tolist() == [10, 20, 30]
    assert decoded[1, 1].tolist() == [255, 255, 255]


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "CMYK"])
def test_other_modes_become_rgb(mode):
    data = file_of(Image.fromarray(pixels(0, 0)).convert(mode), "JPEG" if mode == "CMYK" else "PNG")
    assert decode_image(data).shape == (8, 8, 3)


def bomb(width: int, height: int) -> bytes:
    """A PNG header that promises far more pixels than its bytes hold."""
    header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    start = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    return start + struct.pack(">I", 10) + b"IDAT"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no JPEG, PNG or WebP"),
        (b"GIF89a" + bytes(20), "no JPEG, PNG or WebP"),
        (bomb(100_000, 100_000), "exceeds limit|the limit is 64000000"),
        (bomb(9_000, 9_000), "9000 x 9000 pixels: the limit is 64000000"),
        (encode(pixels(0, 0))[:-30], "does not decode"),
        (file_of(Image.new("I;16", (4, 4)), "PNG"), "mode I;16: expected 8 bits"),
    ],
)
def test_what_is_no_sound_image_of_a_decent_size_is_refused(data, message):
    with pytest.raises(CorruptError, match=message):
        decode_image(data)


def test_the_pixel_hash_is_what_the_format_says():
    image = pixels(3, 1)
    assert pixel_hash(image) == hashlib.sha256(b'["uint8",8,8,3]' + image.tobytes()).hexdigest()
    assert pixel_hash(np.asfortranarray(image)) == pixel_hash(image)
