"""A sweep as one SVG: accuracy over a scale on a logarithmic axis, with intervals; other arms as bands across."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from xml.sax.saxutils import escape

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 56, 130, 20, 44
COLOURS = {"independent": "#b3541e", "none": "#6b6b6b"}
LINE = "#1f5fa8"


def sweep_plot(result: dict[str, Any], sigmas: Sequence[float], method: str = "linear") -> str:
    """Draw mean and 95 % interval of each σ, and of the arms without one."""
    scores = {name: by[method] for name, by in result["scores"].items()}
    low, high = _range([one[key] for one in scores.values() for key in ("low", "high")])
    y = _scale(low, high, HEIGHT - BOTTOM, TOP)
    x = _scale(math.log2(sigmas[0]) - 0.3, math.log2(sigmas[-1]) + 0.3, LEFT, WIDTH - RIGHT)
    points = [(x(math.log2(s)), scores[f"gaussian-{s:g}"]) for s in sigmas]
    parts = [*_frame(low, high, y), *_ticks(sigmas, x)]
    for name, colour in COLOURS.items():
        parts += _band(name, scores[name], colour, y)
    path = " ".join(f"{at:.1f},{y(one['mean']):.1f}" for at, one in points)
    parts.append(f'<polyline points="{path}" fill="none" stroke="{LINE}" stroke-width="2"/>')
    parts += [part for at, one in points for part in _point(at, one, y)]
    title = f"{result['set']} {result['split']}, {result['seeds']} seeds, {result['images']:,} images each"
    parts.append(_text(LEFT, HEIGHT - 6, f"σ of the Gaussian step, in τ ({title})"))
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


def _ticks(sigmas: Sequence[float], x: Any) -> list[str]:
    return [_text(x(math.log2(s)), HEIGHT - BOTTOM + 16, f"{s:g}", "middle") for s in sigmas]


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
