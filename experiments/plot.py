"""A sweep as one SVG: accuracy over a number on a logarithmic axis, or over what the views share, with intervals."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from trainer.evaluation import svg

WIDTH, HEIGHT = 640, 360
FRAME = svg.Frame(left=56, right=WIDTH - 130, top=20, bottom=HEIGHT - 44)
COLOURS = (svg.BROWN, svg.GREY)


def sweep_plot(
    result: dict[str, Any], points: Mapping[float, str], bands: Sequence[str], axis: str, method: str = "linear"
) -> str:
    """Draw mean and 95 % interval of the arm at each number, and of the arms without one."""
    shown = [*points.values(), *bands]
    scores = {name: by[method] for name, by in result["scores"].items() if name in shown}
    low, high = svg.percent_range([one[key] for one in scores.values() for key in ("low", "high")])
    y = svg.scale(low, high, FRAME.bottom, FRAME.top)
    x = svg.scale(math.log2(min(points)) - 0.3, math.log2(max(points)) + 0.3, FRAME.left, FRAME.right)
    places = [(x(math.log2(number)), scores[name]) for number, name in points.items()]
    parts = [*svg.percent_grid(low, high, y, FRAME), *_ticks(points, x)]
    for name, colour in zip(bands, COLOURS, strict=False):
        parts += svg.band(name, *_places(scores[name], y), colour, FRAME)
    parts.append(svg.curve([(at, y(one["mean"])) for at, one in places]))
    parts += [part for at, one in places for part in svg.point(at, *_places(one, y))]
    title = f"{result['set']} {result['split']}, {result['seeds']} seeds, {result['images']:,} images each"
    parts.append(svg.text(FRAME.left, HEIGHT - 6, f"{axis} ({title})"))
    return svg.page(WIDTH, HEIGHT, parts)


def _places(one: dict[str, float], y: svg.Scale) -> tuple[float, float, float]:
    return y(one["low"]), y(one["mean"]), y(one["high"])


def _ticks(numbers: Iterable[float], x: svg.Scale) -> list[str]:
    return [svg.text(x(math.log2(one)), FRAME.bottom + 16, f"{one:g}", "middle") for one in numbers]


def information_plot(result: dict[str, Any], method: str = "linear") -> str:
    """Draw accuracy over I_NCE, a point for each value of a knob, joined in order of I_NCE; the ceiling is a line."""
    rows = sorted(result["points"], key=lambda row: float(row["information"]["nats"]["i_nce"]["mean"]))
    scores = [row["scores"][method] for row in rows]
    nats = [row["information"]["nats"]["i_nce"]["mean"] for row in rows]
    ceiling = rows[0]["information"]["ceiling_nats"]
    low, high = svg.percent_range([one[key] for one in scores for key in ("low", "high")])
    y = svg.scale(low, high, FRAME.bottom, FRAME.top)
    x = svg.scale(min(0.0, *nats), max(ceiling, *nats), FRAME.left, FRAME.right)
    parts = [*svg.percent_grid(low, high, y, FRAME), *_nats_ticks(ceiling, x)]
    parts.append(svg.curve([(x(at), y(one["mean"])) for at, one in zip(nats, scores, strict=True)]))
    for row, at, one in zip(rows, nats, scores, strict=True):
        parts += svg.point(x(at), *_places(one, y))
        parts.append(svg.text(x(at) + 6, y(one["mean"]) - 8, str(row["value"])))
    seeds = "1 seed: smoke" if result["seeds"] == 1 else f"{result['seeds']} seeds"
    title = f"{result['set']} {result['split']}, {seeds}, {result['images']:,} images each"
    parts.append(svg.text(FRAME.left, HEIGHT - 6, f"I_NCE of two views by {result['knob']}, nats ({title})"))
    return svg.page(WIDTH, HEIGHT, parts)


def _nats_ticks(ceiling: float, x: svg.Scale) -> list[str]:
    ticks = [svg.text(x(n), FRAME.bottom + 16, str(n), "middle") for n in range(math.floor(ceiling) + 1)]
    line = f'<path d="M{x(ceiling):.1f} {FRAME.top}V{FRAME.bottom}" stroke="{svg.GREY}" stroke-dasharray="5 4"/>'
    return [*ticks, line, svg.text(x(ceiling) + 4, FRAME.top + 10, "log K", colour=svg.GREY)]
