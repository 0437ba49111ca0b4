"""Accuracy of E(x0, t) over t as one SVG: a line for each beginning, and beside it what reads all times at once."""

from __future__ import annotations

from typing import Any

from trainer.evaluation import svg

WIDTH, HEIGHT = 720, 380
FRAME = svg.Frame(left=56, right=WIDTH - 190, top=20, bottom=HEIGHT - 48)
COLOURS = {"drl": svg.BLUE, "vdrl": svg.BROWN, "none": svg.GREY}
_CURVE_GAP_PX = 26


def times_plot(result: dict[str, Any]) -> str:
    """Draw mean and 95 % interval at each time; at the right, with the same colours, of the probes over all times."""
    arms = {name: arm for name, arm in result["trajectories"].items() if name in COLOURS}
    everything = [one for arm in arms.values() for one in [*arm["by_time"], *arm["by_curve"].values()]]
    low, high = svg.percent_range([one[key] for one in everything for key in ("low", "high")])
    y = svg.scale(low, high, FRAME.bottom, FRAME.top)
    times = next(iter(arms.values()))["times"]
    x = svg.scale(-0.03, 1.03, FRAME.left, FRAME.right)
    parts = svg.percent_grid(low, high, y, FRAME)
    parts += [svg.text(x(time), FRAME.bottom + 16, f"{time:g}", "middle") for time in times]
    for place, (name, arm) in enumerate(arms.items()):
        parts += _line(arm, [x(time) + 2 * (place - 1) for time in times], y, COLOURS[name])
        parts += _beside(arm, place, y, COLOURS[name])
        parts.append(svg.text(FRAME.right + 110, FRAME.top + 16 * (place + 1), name, colour=COLOURS[name]))
    kinds = next(iter(arms.values()))["by_curve"]
    parts += [_name_below(place, kind) for place, kind in enumerate(kinds)]
    title = f"{result['labelled']} labels, {result['images']:,} images, one seed: smoke"
    parts.append(svg.text(FRAME.left, HEIGHT - 8, f"t, from clean to noise ({title})"))
    return svg.page(WIDTH, HEIGHT, parts)


def _line(arm: dict[str, Any], across: list[float], y: svg.Scale, colour: str) -> list[str]:
    scores = arm["by_time"]
    points = [(at, y(one["mean"])) for at, one in zip(across, scores, strict=True)]
    dots = [part for at, one in zip(across, scores, strict=True) for part in _point(at, one, y, colour)]
    return [svg.curve(points, colour), *dots]


def _beside(arm: dict[str, Any], place: int, y: svg.Scale, colour: str) -> list[str]:
    at = [FRAME.right + 14 + _CURVE_GAP_PX * kind + 6 * (place - 1) for kind in range(len(arm["by_curve"]))]
    return [part for x, one in zip(at, arm["by_curve"].values(), strict=True) for part in _point(x, one, y, colour)]


def _point(at: float, one: dict[str, float], y: svg.Scale, colour: str) -> list[str]:
    return svg.point(at, y(one["low"]), y(one["mean"]), y(one["high"]), colour)


def _name_below(place: int, kind: str) -> str:
    return svg.text(FRAME.right + 14 + _CURVE_GAP_PX * place, FRAME.bottom + 16, kind[:5], "middle")
