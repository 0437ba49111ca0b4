"""Decoding for the loader: plain JPEGs by torchvision, which runs without Python's lock; all else by Pillow.

Both stand on libjpeg-turbo and give the same pixels (tests/trainer/test_decode.py). Pillow reads a JPEG's header in
Python, which for small images takes longer than the pixels and lets only one thread go on.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.io import ImageReadMode, decode_jpeg

from manifests.images import MAX_PIXELS, decode_image

_START, _SCAN = b"\xff\xd8", 0xDA
_FRAMES = {0xC0, 0xC1, 0xC2}  # baseline, extended and progressive Huffman coding
_INERT = {0xC4, 0xDB, 0xDD, 0xE0, 0xFE}  # tables, restarts, JFIF, comment: not Exif (turned) or Adobe (other colours)


def decode(data: bytes) -> NDArray[np.uint8]:
    """Decode an image to RGB, pixel for pixel as `manifests.images.decode_image` does.

    Shapes: returns uint8 [H, W, 3].
    Raises: CorruptError for what is no image, is cut, or has too many pixels.
    """
    if not is_plain_jpeg(data):
        return decode_image(data)
    try:
        pixels = decode_jpeg(torch.frombuffer(bytearray(data), dtype=torch.uint8), ImageReadMode.RGB)  # [3, H, W]
    except RuntimeError:
        return decode_image(data)  # which says what is wrong, or reads it
    decoded: NDArray[np.uint8] = pixels.permute(1, 2, 0).numpy()
    return decoded


def is_plain_jpeg(data: bytes) -> bool:
    """Say whether the header holds nothing but an upright YCbCr image of 8 bits a channel and an allowed size."""
    at, is_framed = len(_START), False
    while data.startswith(_START) and at + 10 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker in _FRAMES:
            height, width = int.from_bytes(data[at + 5 : at + 7]), int.from_bytes(data[at + 7 : at + 9])
            is_framed = (data[at + 4], data[at + 9]) == (8, 3) and 0 < height * width <= MAX_PIXELS
        elif marker == _SCAN or marker not in _INERT:
            return marker == _SCAN and is_framed
        at += 2 + int.from_bytes(data[at + 2 : at + 4])
    return False
