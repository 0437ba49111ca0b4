"""A sweep as one SVG: accuracy over a number on a logarithmic axis, with intervals; other arms as bands across."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from xml.sax.saxutils import escape

import numpy as np

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 56, 130, 20, 44
COLOURS = ("#b3541e", "#6b6b6b")
LINE = "#1f5fa8"
CURVE_COLOURS = (LINE, *COLOURS, "#2e7d32", "#7b1fa2", "#00838f")


@dataclass(frozen=True)
class Curve:
    """A named line of points (x, y)."""

    name: str
    points: Sequence[tuple[float, float]]


def sweep_plot(
    result: dict[str, Any], points: Mapping[float, str], bands: Sequence[str], axis: str, method: str = "linear"
) -> str:
    """Draw mean and 95 % interval of the arm at each number, and of the arms without one."""
    shown = [*points.values(), *bands]
    scores = {name: by[method] for name, by in result["scores"].items() if name in shown}
    low, high = _range([one[key] for one in scores.values() for key in ("low", "high")])
    y = _scale(low, high, HEIGHT - BOTTOM, TOP)
    x = _scale(math.log2(min(points)) - 0.3, math.log2(max(points)) + 0.3, LEFT, WIDTH - RIGHT)
    places = [(x(math.log2(number)), scores[name]) for number, name in points.items()]
    parts = [*_frame(low, high, y), *_ticks(points, x)]
    for name, colour in zip(bands, COLOURS, strict=False):
        parts += _band(name, scores[name], colour, y)
    path = " ".join(f"{at:.1f},{y(one['mean']):.1f}" for at, one in places)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    parts += [part for at, one in places for part in _point(at, one, y)]
    title = f"{result['set']} {result['split']}, {result['seeds']} seeds, {result['images']:,} images each"
    parts.append(_text(LEFT, HEIGHT - 6, f"{axis} ({title})"))
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def _range(values: Sequence[float]) -> tuple[float, float]:
    return math.floor(min(values) * 50) / 50, math.ceil(max(values) * 50) / 50


def _scale(low: float, high: float, start: float, end: float) -> Any:
    return lambda value: start + (value - low) / (high - low) * (end - start)


def _frame(low: float, high: float, y: Any) -> list[str]:
    levels = [round(low + 0.02 * i, 4) for i in range(round((high - low) / 0.02) + 1)]
    lines = [f'<path d="M{LEFT} {y(v):.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>' for v in levels]
    return [*lines, *(_text(8, y(v) + 4, f"{100 * v:.0f} %") for v in levels)]


def _ticks(numbers: Iterable[float], x: Any) -> list[str]:
    return [_text(x(math.log2(one)), HEIGHT - BOTTOM + 16, f"{one:g}", "middle") for one in numbers]


def _band(name: str, one: dict[str, float], colour: str, y: Any) -> list[str]:
    height, width = y(one["low"]) - y(one["high"]), WIDTH - RIGHT - LEFT
    area = f'<rect x="{LEFT}" y="{y(one["high"]):.1f}" width="{width}" height="{height:.1f}" fill="{colour}"'
    line = f'<path d="M{LEFT} {y(one["mean"]):.1f}H{WIDTH - RIGHT}" stroke="{colour}" stroke-dasharray="5 4"/>'
    return [f'{area} opacity="0.1"/>', line, _text(WIDTH - RIGHT + 6, y(one["mean"]) + 4, name, colour=colour)]


def _point(at: float, one: dict[str, float], y: Any) -> list[str]:
    bar = f'<path d="M{at:.1f} {y(one["low"]):.1f}V{y(one["high"]):.1f}" stroke="{LINE}"/>'
    return [bar, f'<circle cx="{at:.1f}" cy="{y(one["mean"]):.1f}" r="4" fill="{LINE}"/>']


def _text(x: float, y: float, text: str, anchor: str = "start", colour: str = "#333") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(text)}</text>'


def curves_plot(curves: Sequence[Curve], axis: str) -> str:
    """Draw lines over one axis, the y axis logarithmic, each with its name at its end."""
    shown = [curve for curve in curves if curve.points]
    xs, ys = zip(*[point for curve in shown for point in curve.points], strict=True)
    x = _scale(0, max(xs), LEFT, WIDTH - RIGHT)
    floor, ceiling = math.log10(max(min(ys), 1e-9)), math.log10(max(max(ys), 2e-9))
    y = _scale(floor, max(ceiling, floor + 1e-6), HEIGHT - BOTTOM, TOP)
    parts = [_text(8, y(level) + 4, f"{10**level:.3g}") for level in np.linspace(floor, ceiling, 5).tolist()]
    for curve, colour in zip(shown, itertools.cycle(CURVE_COLOURS), strict=False):
        places = [(x(at), y(math.log10(max(value, 1e-9)))) for at, value in curve.points]
        path = " ".join(f"{at:.1f},{height:.1f}" for at, height in places)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts.append(_text(places[-1][0] + 6, places[-1][1] + 4, curve.name, colour=colour))
    parts.append(_text(LEFT, HEIGHT - 6, f"Fréchet distance to the training images, over {axis}"))
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return "\n".join([head, *parts, "</svg>"]) + "\n"
