"""Random numbers as a pure function of (seed, purpose, index), computed for a whole batch on its device.

Each sample owns its seed, so what it draws depends neither on its neighbours nor on what other operations drew.
The mix is SplitMix64's finaliser (Steele, Lea, Flood 2014), in int64 arithmetic that wraps modulo 2^64.
"""

from __future__ import annotations

import torch
from torch import Tensor

_GOLDEN = 0x9E3779B97F4A7C15
_MIX = (0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


def uniform(seeds: Tensor, purpose: int, count: int) -> Tensor:
    """Return numbers in [0, 1) with 53 random bits: word `i` is mix(mix(seed + purpose * golden) + (i + 1) * golden).

    Shapes: int64 seeds [B] -> float64 [B, count].
    """
    steps = torch.arange(1, count + 1, device=seeds.device) * _signed(_GOLDEN)
    keys = _mix(seeds + _signed(purpose * _GOLDEN))
    words = _mix(keys[:, None] + steps)  # [B, count]
    return _shift_right(words, 11).double() * 2.0**-53


def _mix(words: Tensor) -> Tensor:
    words = (words ^ _shift_right(words, 30)) * _signed(_MIX[0])
    words = (words ^ _shift_right(words, 27)) * _signed(_MIX[1])
    return words ^ _shift_right(words, 31)


def _shift_right(words: Tensor, bits: int) -> Tensor:
    return (words >> bits) & ((1 << (64 - bits)) - 1)  # int64's own shift would copy the sign in


def _signed(value: int) -> int:
    value %= 1 << 64
    return value - (1 << 64) if value >= 1 << 63 else value
