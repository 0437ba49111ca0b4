"""Line charts and interval plots as inline SVG that stretches with the page while text and strokes keep their size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from demo.markup import Markup, element

MAX_POINTS = 240  # more cannot be told apart at the width of a page


@dataclass(frozen=True)
class Interval:
    """One estimate with its bounds, as fractions."""

    mean: float
    low: float
    high: float


def nice_ticks(low: float, high: float, wanted: int = 4) -> list[float]:
    """Choose evenly spaced round numbers that enclose the range; they are the axis from end to end."""
    span = (high - low) or abs(high) or 1.0
    magnitude = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(magnitude * factor for factor in (1, 2, 2.5, 5, 10) if span / (magnitude * factor) <= wanted)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [step * index for index in range(first, max(last, first + 1) + 1)]


def thin(xs: Sequence[float], ys: Sequence[float], most: int = MAX_POINTS) -> list[tuple[float, float]]:
    """Average neighbouring points until at most `most` are left."""
    pieces = min(most, len(xs))
    if not pieces:
        return []
    return [
        (float(np.mean(x)), float(np.mean(y)))
        for x, y in zip(np.array_split(xs, pieces), np.array_split(ys, pieces), strict=True)
    ]


def line_chart(
    title: str, latest: str, xs: Sequence[float], ys: Sequence[float], *, unit: str = "", floor: float | None = None
) -> Markup:
    """Draw one curve over images seen, with a dashed line at the least value it could reach when there is one."""
    known = [(x, y) for x, y in zip(xs, ys, strict=True) if math.isfinite(y)]
    points = thin([x for x, _ in known], [y for _, y in known])
    heading = element("figcaption", element("span", title), element("b", latest))
    if not points:
        return element("figure", heading, element("p", "Nothing was recorded.", class_="quiet"), class_="chart")
    values = [y for _, y in points] + ([] if floor is None else [floor])
    ticks = nice_ticks(min(0.0, *values) if unit else min(values), max(values))
    plot = element(
        "div",
        element("div", [element("span", f"{_number(tick)}{unit}") for tick in reversed(ticks)], class_="y-axis"),
        _curve(points, ticks, floor, label=f"{title}, {latest}"),
        element("div", [element("span", text) for text in _images_axis(points[-1][0])], class_="x-axis"),
        class_="plot",
    )
    return element("figure", heading, plot, class_="chart")


def interval_plot(rows: Sequence[tuple[str, str, Interval]], *, chance: float) -> Markup:
    """Draw one row a method: a dot at the mean, a bar from low to high, chance as a dashed line through all rows."""
    ticks = nice_ticks(0.0, max([chance, *(interval.high for _, _, interval in rows)]), wanted=5)
    body = [
        element("div", element("span", name), _interval_row(kind, interval, ticks, chance), class_="interval-row")
        for name, kind, interval in rows
    ]
    axis = element("div", [element("span", f"{100 * tick:.0f} %") for tick in ticks], class_="x-axis")
    return element("div", body, element("div", element("span"), axis, class_="interval-row"), class_="intervals")


def _curve(points: list[tuple[float, float]], ticks: list[float], floor: float | None, *, label: str) -> Markup:
    right, bottom, top = points[-1][0] or 1.0, ticks[0], ticks[-1]

    def height(value: float) -> float:
        return 100 * (top - value) / (top - bottom)

    path = " ".join(f"{100 * x / right:.2f},{height(y):.2f}" for x, y in points)
    children = [_rule(height(tick), "grid") for tick in ticks]
    children += [] if floor is None else [_rule(height(floor), "floor")]
    children.append(element("polyline", points=path, class_="curve", vector_effect="non-scaling-stroke"))
    return element("svg", children, viewBox="0 0 100 100", preserveAspectRatio="none", role="img", aria_label=label)


def _rule(height: float, kind: str) -> Markup:
    return element(
        "line", x1=0, x2=100, y1=f"{height:.2f}", y2=f"{height:.2f}", class_=kind, vector_effect="non-scaling-stroke"
    )


def _interval_row(kind: str, interval: Interval, ticks: list[float], chance: float) -> Markup:
    def at(value: float) -> str:
        return f"{100 * (value - ticks[0]) / (ticks[-1] - ticks[0]):.2f}%"

    label = f"{100 * interval.mean:.1f} %, from {100 * interval.low:.1f} to {100 * interval.high:.1f} %"
    children = [element("line", x1=at(tick), x2=at(tick), y1=0, y2=34, class_="grid") for tick in ticks]
    children.append(element("line", x1=at(chance), x2=at(chance), y1=0, y2=34, class_="floor"))
    children.append(element("line", x1=at(interval.low), x2=at(interval.high), y1=17, y2=17, class_="bar"))
    children.append(element("circle", element("title", label), cx=at(interval.mean), cy=17, r=5.5))
    return element("svg", children, class_=kind, width="100%", height=34, role="img", aria_label=label)


def _images_axis(last: float) -> list[str]:
    return ["0", compact(last / 2), f"{compact(last)} images seen"]


def compact(count: float) -> str:
    """Shorten a count: 950, 12.8 k, 1.2 M."""
    for limit, letter in ((1e6, "M"), (1e3, "k")):
        if count >= limit:
            return f"{count / limit:.1f}".removesuffix(".0") + f" {letter}"
    return f"{count:.0f}"


def _number(value: float) -> str:
    return f"{round(value, 6):g}".replace("-", "−")
