"""The strokes that plots of scores are made of: a page, a grid of percents, points with intervals, bands, words. Pure.

A plot is a list of such strokes inside `page`; `Frame` says where on the page the data lie.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

Scale = Callable[[float], float]
BLUE, BROWN, GREY, INK = "#1f5fa8", "#b3541e", "#6b6b6b", "#333"
_STEP = 0.02  # of the grid, as a fraction


@dataclass(frozen=True)
class Frame:
    """The rectangle of the data. Units: px."""

    left: float
    right: float
    top: float
    bottom: float


def page(width: float, height: float, parts: Sequence[str]) -> str:
    """Return a whole SVG file."""
    size = f'viewBox="0 0 {width:g} {height:g}" font-family="sans-serif" font-size="12"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}><rect width="{width:g}" height="{height:g}" fill="white"/>'
    return "\n".join([head, *parts, "</svg>"]) + "\n"


def scale(low: float, high: float, start: float, end: float) -> Scale:
    """Return the function that takes low to start and high to end."""
    return lambda value: start + (value - low) / (high - low) * (end - start)


def percent_range(values: Sequence[float]) -> tuple[float, float]:
    """Return the lines of the percent grid that enclose all values, at least one step apart."""
    low, high = math.floor(min(values) / _STEP) * _STEP, math.ceil(max(values) / _STEP) * _STEP
    return low, max(high, low + _STEP)


def percent_grid(low: float, high: float, y: Scale, frame: Frame) -> list[str]:
    """Draw a line every two percent, each with its number."""
    levels = [round(low + _STEP * i, 4) for i in range(round((high - low) / _STEP) + 1)]
    lines = [f'<path d="M{frame.left} {y(v):.1f}H{frame.right}" stroke="#e4e4e4"/>' for v in levels]
    return [*lines, *(text(8, y(v) + 4, f"{100 * v:.0f} %") for v in levels)]


def curve(points: Sequence[tuple[float, float]], colour: str = BLUE) -> str:
    """Join points on the page by a line."""
    path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>'


def point(x: float, low: float, mean: float, high: float, colour: str = BLUE) -> list[str]:
    """Draw a dot and the upright line of its interval, all given in places on the page."""
    bar = f'<path d="M{x:.1f} {low:.1f}V{high:.1f}" stroke="{colour}"/>'
    return [bar, f'<circle cx="{x:.1f}" cy="{mean:.1f}" r="4" fill="{colour}"/>']


def level_point(y: float, low: float, mean: float, high: float, colour: str = BLUE) -> list[str]:
    """Draw a dot and the level line of its interval, all given in places on the page."""
    bar = f'<path d="M{low:.1f} {y:.1f}H{high:.1f}" stroke="{colour}"/>'
    return [bar, f'<circle cx="{mean:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>']


def band(name: str, low: float, mean: float, high: float, colour: str, frame: Frame) -> list[str]:
    """Draw an interval across the whole frame, with its name beside it."""
    width = frame.right - frame.left
    area = f'<rect x="{frame.left}" y="{high:.1f}" width="{width}" height="{low - high:.1f}" fill="{colour}"'
    line = f'<path d="M{frame.left} {mean:.1f}H{frame.right}" stroke="{colour}" stroke-dasharray="5 4"/>'
    return [f'{area} opacity="0.1"/>', line, text(frame.right + 6, mean + 4, name, colour=colour)]


def text(x: float, y: float, words: str, anchor: str = "start", colour: str = INK) -> str:
    """Write words; `anchor` is start, middle or end."""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}">{escape(words)}</text>'
