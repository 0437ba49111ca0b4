"""How wide and how fine each layer of StyleGAN3 works: sizes, sampling rates and cutoffs, planned before building.

Karras et al., arXiv:2106.12423, section 3.2. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

MAX_LAYERS = 64  # the official networks have 14


@dataclass(frozen=True)
class Band:
    """What goes in or comes out of a layer.

    Units: size in px, margins included; rate, cutoff and half_width (of the transition) in cycles per image width.
    """

    channels: int
    size: int
    rate: int
    cutoff: float
    half_width: float


def plan_bands(
    resolution: int,
    layers: int,
    critical_layers: int,
    first_cutoff: float,
    stopbands: tuple[float, float],
    margin_size: int,
    channels: tuple[int, int],
) -> list[Band]:
    """Lay out what each layer puts out, the colours last; cutoffs and stopbands grow geometrically.

    `stopbands` is the first, and the last as a multiple of its cutoff; `channels` is the base and the maximum.
    Source: arXiv:2106.12423, section 3.2.
    Raises: ValueError for a layout that cannot be.
    """
    _check(resolution, layers, critical_layers)
    last_cutoff = resolution / 2
    share = np.minimum(np.arange(layers + 1) / (layers - critical_layers), 1)
    cutoffs = first_cutoff * (last_cutoff / first_cutoff) ** share
    stops = stopbands[0] * (last_cutoff * stopbands[1] / stopbands[0]) ** share
    rates = np.exp2(np.ceil(np.log2(np.minimum(2 * stops, resolution))))
    half_widths = np.maximum(stops, rates / 2) - cutoffs
    sizes = rates + 2 * margin_size
    sizes[-2:] = resolution
    widths = np.rint(np.minimum(channels[0] / 2 / cutoffs, channels[1]))
    widths[-1] = 3
    columns = zip(widths, sizes, rates, cutoffs, half_widths, strict=True)
    return [Band(int(a), int(b), int(c), float(d), float(e)) for a, b, c, d, e in columns]


def _check(resolution: int, layers: int, critical_layers: int) -> None:
    if resolution < 16 or resolution & (resolution - 1):
        raise ValueError(f"resolution {resolution}: expected a power of two from 16 on")
    if not 0 <= critical_layers < layers <= MAX_LAYERS:
        raise ValueError(
            f"layers {layers}, critical_layers {critical_layers}: expected {MAX_LAYERS} at most, and not all critical"
        )
