"""Decoding for the loader: plain JPEGs by simplejpeg, without Python's lock and straight into a batch; else Pillow.

Both stand on libjpeg-turbo and give the same pixels (tests/trainer/test_decode.py). Pillow reads a JPEG's header in
Python, which for small images takes longer than the pixels, and lets only one thread at a time go on.
"""

from __future__ import annotations

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image, ImageOps

from manifests.images import decode_image

_START, _SCAN = b"\xff\xd8", 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive Huffman coding
_INERT = {0xC4, 0xDB, 0xDD, 0xE0, 0xFE}  # tables, restarts, JFIF, comment: not Exif (turned) or Adobe (other colours)


def decode_into(pixels: NDArray[np.uint8], data: bytes) -> None:
    """Decode an image to RGB as `manifests.images.decode_image` does; one of another size is fitted to the pixels'.

    Shapes: pixels [H, W, 3], contiguous.
    Raises: CorruptError for what is no image, is cut, or has too many pixels.
    """
    if plain_jpeg_size(data) == pixels.shape[:2]:
        try:
            simplejpeg.decode_jpeg(data, "RGB", buffer=pixels)
            return
        except ValueError:
            pass  # Pillow says what is wrong, or reads it all the same
    image = decode_image(data)
    pixels[:] = image if image.shape == pixels.shape else _fitted(image, *pixels.shape[:2])


def _fitted(image: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    return np.asarray(ImageOps.fit(Image.fromarray(image), (width, height), Image.Resampling.BICUBIC))


def plain_jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return height and width of an upright JPEG with three channels of 8 bits, if its header says nothing else."""
    at, size = len(_START), None
    while data.startswith(_START) and at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES and (data[at + 4], data[at + 9]) == (8, 3):
            size = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
        elif marker not in _INERT:
            return size if marker == _SCAN else None
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return None
