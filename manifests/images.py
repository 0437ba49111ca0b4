"""Bytes to pixels, with a limit on what a file may unfold to."""

from __future__ import annotations

import hashlib
import io
import struct

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from manifests.canonical import canonical_json
from manifests.errors import CorruptError

MAX_PIXELS = 64_000_000
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
_ORIENTATION = 0x0112
_TO_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# What Pillow raises for damaged bytes; the last is for damaged EXIF.
_BROKEN = (OSError, ValueError, SyntaxError, MemoryError, struct.error)
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr"}


def decode_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> NDArray[np.uint8]:
    """Decode a JPEG, PNG or WebP to RGB, upright; transparent pixels are laid on white.

    Shapes: returns uint8 [H, W, 3].
    Raises: CorruptError for anything else, a cut file, or more than `max_pixels`.
    """
    with open_image(data, max_pixels=max_pixels) as image:
        try:
            image.load()
            return np.array(_on_white(_upright(image)))
        except _BROKEN as error:
            raise CorruptError(f"the image of {len(data)} bytes does not decode: {error}") from error


def open_image(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Image.Image:
    """Open an image's header and check kind, mode and size before anything is decoded.

    Raises: CorruptError.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=list(EXTENSIONS))
    except UnidentifiedImageError as error:
        raise CorruptError(f"{len(data)} bytes are no JPEG, PNG or WebP image") from error
    except (*_BROKEN, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise CorruptError(f"{len(data)} bytes are no JPEG, PNG or WebP image: {error}") from error
    if image.mode not in _MODES:
        raise CorruptError(f"the image has mode {image.mode}: expected 8 bits a channel; convert it")
    if image.width * image.height > max_pixels:
        raise CorruptError(f"the image has {image.width} x {image.height} pixels: the limit is {max_pixels}")
    return image


def _upright(image: Image.Image) -> Image.Image:
    """Read one tag only: ImageOps.exif_transpose writes the others again, and fails where one has an odd type."""
    turn = _TO_UPRIGHT.get(image.getexif().get(_ORIENTATION, 1))
    return image if turn is None else image.transpose(turn)


def _on_white(image: Image.Image) -> Image.Image:
    if not image.has_transparency_data:
        return image.convert("RGB")
    layers = image.convert("RGBA")
    return Image.alpha_composite(Image.new("RGBA", layers.size, "white"), layers).convert("RGB")


def pixel_hash(pixels: NDArray[np.uint8]) -> str:
    """Hash pixels as they are before encoding: SHA-256 of canonical ["uint8", H, W, C] and the bytes in C order."""
    digest = hashlib.sha256(canonical_json(["uint8", *pixels.shape]))
    digest.update(np.ascontiguousarray(pixels, dtype=np.uint8).tobytes())
    return digest.hexdigest()
