"""RGB in [0, 1] -> other colour spaces, every channel in about [-1, 1]: what splits the channels of an image.

Sources: CIE 15 (Lab, D65), ITU-R BT.601 (YCbCr), NTSC (YIQ), SECAM (YDbDr), Smith 1978 (HSV).
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

_GREY = (0.299, 0.587, 0.114)
_LINEAR = {  # rows: channels of R, G, B; then the offset and scale that bring each to [-1, 1]
    "rgb": (((1.0, 0, 0), (0, 1.0, 0), (0, 0, 1.0)), (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "yiq": ((_GREY, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112)), (0.5, 0, 0), (0.5, 0.5959, 0.5227)),
    "ycbcr": ((_GREY, (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312)), (0.5, 0, 0), (0.5, 0.5, 0.5)),
    "ydbdr": ((_GREY, (-0.450, -0.883, 1.333), (-1.333, 1.116, 0.217)), (0.5, 0, 0), (0.5, 1.333, 1.333)),
}
_XYZ = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
_WHITE = (0.950456, 1.0, 1.088754)  # D65


def convert(images: Tensor, space: str) -> Tensor:
    """Return images in another colour space. Shapes: float [n, 3, H, W] in [0, 1] -> [n, 3, H, W].

    Raises: ValueError naming the spaces there are.
    """
    if space in _LINEAR:
        matrix, offset, scale = (images.new_tensor(part) for part in _LINEAR[space])
        return (_times(matrix, images) - offset[:, None, None]) / scale[:, None, None]
    if space not in _CURVED:
        raise ValueError(f"there is no colour space {space!r}, expected one of {', '.join(SPACES)}")
    return _CURVED[space](images)


def _times(matrix: Tensor, images: Tensor) -> Tensor:
    return torch.einsum("ij,njhw->nihw", matrix, images)


def _lab(images: Tensor) -> Tensor:
    """L in [0, 100] and a, b in about [-110, 110], each brought to [-1, 1]."""
    linear = torch.where(images > 0.04045, ((images.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4, images / 12.92)
    xyz = _times(images.new_tensor(_XYZ), linear) / images.new_tensor(_WHITE)[:, None, None]
    cut = (6 / 29) ** 3
    f = torch.where(xyz > cut, xyz.clamp(min=cut) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(dim=1)
    return torch.stack([(116 * y - 16) / 50 - 1, 500 * (x - y) / 110, 200 * (y - z) / 110], dim=1)


def _hsv(images: Tensor) -> Tensor:
    """Value first, then saturation and hue, so that the first channel is a lightness in every space."""
    high, low = images.amax(dim=1), images.amin(dim=1)
    chroma = high - low
    red, green, blue = images.unbind(dim=1)
    safe = chroma.clamp(min=1e-12)
    of_green = (blue - red) / safe + 2
    hue = torch.where(high == green, of_green, (red - green) / safe + 4)
    hue = torch.where(high == red, (green - blue) / safe, hue).remainder(6) / 6
    saturation = torch.where(high > 0, chroma / high.clamp(min=1e-12), torch.zeros_like(high))
    return torch.stack([high, saturation, hue.where(chroma > 0, torch.zeros_like(hue))], dim=1) * 2 - 1


_CURVED: dict[str, Callable[[Tensor], Tensor]] = {"lab": _lab, "hsv": _hsv}
SPACES = (*_LINEAR, *_CURVED)
