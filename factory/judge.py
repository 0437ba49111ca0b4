"""Which rendered views are fit to keep, and what happens to those that are not: pure.

A view that fails is rendered again with the next attempt's seed, at most `attempts` times in all, and is then
quarantined with its reason.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

Verdict = Literal["ok", "flagged", "nan", "blank", "unrealistic"]
Step = Literal["keep", "again", "quarantine"]


class Probe(BaseModel):
    """A line in a vision model's features that tells real images from generated ones; `factory probe` writes it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal[1] = 1
    model: str = Field(min_length=1, description="as factory/gan/bank.py names them; where it lies decides no pixel")
    model_sha256: str = Field(description="of its weights; another model of that name is refused")
    size_px: int = Field(ge=8, le=4096, description="of the images that the model sees")
    side_px: int = Field(ge=8, le=4096, description="of the square images that it was fitted to; others are resized")
    weights: str = Field(description="float32, little-endian, in base64")
    bias: float


class RealismConfig(BaseModel):
    """Which images look too little like real ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    probe: Probe = Field(description="a file of `factory probe --save`; a recipe that is read holds its content")
    least: float = Field(0.0, ge=0, le=1, description="score of a kept image: how likely it is real; 0 keeps all")


class JudgeConfig(BaseModel):
    """What counts as a failure, and how often a view is tried."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    attempts: int = Field(3, ge=1, le=100, description="renderings of one view in all, the first included")
    blank_std: float = Field(1.0, ge=0, description="in 8-bit levels; below it an image is blank; 0 keeps blank images")
    realism: RealismConfig | None = Field(None, description="score every image by a probe: realism_score in its row")


def judge(
    pixels: np.ndarray,
    finite: np.ndarray,
    flagged: np.ndarray,
    config: JudgeConfig,
    realism: np.ndarray | None = None,
) -> list[Verdict]:
    """Return each view's verdict; the safety flag comes first, since a checker blackens what it flags.

    Shapes: pixels uint8 [n, H, W, 3]; finite, flagged bool [n]; realism [n], where the config asks for it.
    """
    spread = blankness(pixels)
    least = config.realism.least if config.realism and realism is not None else 0.0
    scores = np.ones(len(pixels)) if realism is None else realism
    return [
        _verdict(bool(finite[i]), bool(flagged[i]), float(spread[i]) >= config.blank_std, float(scores[i]) >= least)
        for i in range(len(pixels))
    ]


def _verdict(is_finite: bool, is_flagged: bool, is_drawn: bool, is_real: bool) -> Verdict:
    if is_flagged:
        return "flagged"
    if not is_finite:
        return "nan"
    if not is_drawn:
        return "blank"
    return "ok" if is_real else "unrealistic"


def blankness(pixels: np.ndarray) -> np.ndarray:
    """Return the largest standard deviation over the area among each image's channels, in 8-bit levels [n]."""
    flat = pixels.reshape(len(pixels), -1, 3).astype(np.float64)  # [n, H * W, 3]
    spread: np.ndarray = flat.std(axis=1).max(axis=1)
    return spread


def next_step(verdict: Verdict, attempt: int, config: JudgeConfig) -> Step:
    """Decide about a view after its attempt number `attempt`, counted from 0."""
    if verdict == "ok":
        return "keep"
    return "again" if attempt + 1 < config.attempts else "quarantine"


def reason(verdicts: Sequence[Verdict]) -> str:
    """Put a quarantined view's verdicts in words, in the order of its attempts: "nan, 2 x blank"."""
    runs: list[tuple[Verdict, int]] = []
    for verdict in verdicts:
        previous, count = runs[-1] if runs else (verdict, 0)
        runs[:] = [*runs[:-1], (verdict, count + 1)] if previous == verdict else [*runs, (verdict, 1)]
    return ", ".join(verdict if count == 1 else f"{count} x {verdict}" for verdict, count in runs)
