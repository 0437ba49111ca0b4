"""Schedules as pure functions of the images seen so far: there is no scheduler state to save, lose or step twice."""

from __future__ import annotations

import math


def warmup_cosine(images_seen: int, *, peak: float, warmup_images: int, total_images: int, final: float = 0.0) -> float:
    """Return a rate that rises linearly from 0 to `peak`, then falls along half a cosine to `final` and stays there.

    Raises: ValueError when the warm-up is longer than the run.
    Source: SGDR, arXiv:1608.03983 eq. 5, one cycle.
    """
    if not 0 <= warmup_images <= total_images:
        raise ValueError(
            f"warmup_images is {warmup_images}, expected 0 to total_images ({total_images}); shorten the warm-up"
        )
    if images_seen < warmup_images:
        return peak * images_seen / warmup_images
    return cosine(images_seen - warmup_images, start=peak, end=final, total_images=total_images - warmup_images)


def cosine(images_seen: int, *, start: float, end: float, total_images: int) -> float:
    """Return the value on half a cosine from `start` to `end`, and `end` from `total_images` on."""
    if images_seen >= total_images:
        return end
    return end + (start - end) * (1 + math.cos(math.pi * max(images_seen, 0) / total_images)) / 2


def ema_decay(
    images_seen: int, *, batch_images: int, half_life_images: float, warmup_fraction: float | None = 0.05
) -> float:
    """Return the EMA decay of one step of `batch_images`, so that a weight's share halves every `half_life_images`.

    Early on the half-life is at most `warmup_fraction` of the images seen, so that the random start is soon forgotten.
    Source: the ramp of the code to arXiv:2006.06676; in images, not steps, so that it survives a new batch size.
    """
    if warmup_fraction is not None:
        half_life_images = min(half_life_images, images_seen * warmup_fraction)
    return 0.5 ** (batch_images / half_life_images) if half_life_images > 0 else 0.0
