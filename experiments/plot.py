"""A sweep as one SVG: accuracy over a scale on a logarithmic axis, with intervals; other arms as bands across."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from trainer.evaluation import svg

WIDTH, HEIGHT = 640, 360
FRAME = svg.Frame(left=56, right=WIDTH - 130, top=20, bottom=HEIGHT - 44)
COLOURS = {"independent": svg.BROWN, "none": svg.GREY}


def sweep_plot(result: dict[str, Any], sigmas: Sequence[float], method: str = "linear") -> str:
    """Draw mean and 95 % interval of each σ, and of the arms without one."""
    scores = {name: by[method] for name, by in result["scores"].items()}
    low, high = svg.percent_range([one[key] for one in scores.values() for key in ("low", "high")])
    y = svg.scale(low, high, FRAME.bottom, FRAME.top)
    x = svg.scale(math.log2(sigmas[0]) - 0.3, math.log2(sigmas[-1]) + 0.3, FRAME.left, FRAME.right)
    points = [(x(math.log2(s)), scores[f"gaussian-{s:g}"]) for s in sigmas]
    parts = [*svg.percent_grid(low, high, y, FRAME), *_ticks(sigmas, x)]
    for name, colour in COLOURS.items():
        parts += svg.band(name, *_places(scores[name], y), colour, FRAME)
    parts.append(svg.curve([(at, y(one["mean"])) for at, one in points]))
    parts += [part for at, one in points for part in svg.point(at, *_places(one, y))]
    title = f"{result['set']} {result['split']}, {result['seeds']} seeds, {result['images']:,} images each"
    parts.append(svg.text(FRAME.left, HEIGHT - 6, f"σ of the Gaussian step, in τ ({title})"))
    return svg.page(WIDTH, HEIGHT, parts)


def _places(one: dict[str, float], y: svg.Scale) -> tuple[float, float, float]:
    return y(one["low"]), y(one["mean"]), y(one["high"])


def _ticks(sigmas: Sequence[float], x: svg.Scale) -> list[str]:
    return [svg.text(x(math.log2(s)), FRAME.bottom + 16, f"{s:g}", "middle") for s in sigmas]
