"""Recorded results side by side: a table and a plot of those that are alike, and a refusal of those that are not.

Numbers are alike when they were measured on the same version of the data, split and partition, by the same version of
a protocol, and learned from the same labels. Nothing is measured here; pure but for its caller's reading.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from manifests.errors import ConflictError, UserError
from trainer.evaluation import svg

Row = Mapping[str, Any]
_SAME_ALL = ("root", "split", "partition")
_SAME_METRIC = ("version", "images", "learned_from", "list_sha256")
_REMEDY = "choose with --set, --split or --suite, or measure them anew"
_FRACTIONS = ("knn", "linear", "ridge", "prototypes", "fine_tuned", "retrieval", "zero_shot")
_WIDTH, _LINE, _HEAD, _COLOURS = 720, 22, 46, (svg.BLUE, svg.BROWN, svg.GREY)


@dataclass(frozen=True)
class Comparison:
    """Rows by metric and subject; all metrics of the same data."""

    rows: dict[str, dict[str, Row]]

    def to_json(self) -> str:
        return json.dumps({"metrics": self.rows}, indent=1)


def select(rows: Sequence[Row], *, protocols: Sequence[str], dataset: str | None, split: str | None) -> list[Row]:
    """Return the rows of some protocols, of a set by its name or the beginning of its root, and of a split.

    Raises: UserError where there are none.
    """
    found = [
        row
        for row in rows
        if row["protocol"] in protocols
        and (dataset is None or row["set"] == dataset or row["root"].startswith(dataset))
        and (split is None or row["split"] == split)
    ]
    if not found:
        known = sorted({f"{row['protocol']} on {row['set']} {row['split']}" for row in rows})
        raise UserError(f"none of {len(rows)} rows is wanted; there are {', '.join(known)}")
    return found


def compared(rows: Sequence[Row]) -> Comparison:
    """Lay rows side by side; of two measurements of the same thing the later one counts.

    Raises: ConflictError naming the first two rows that are not alike, and in what.
    """
    for row in rows:
        _check_alike(rows[0], row, _SAME_ALL)
    metrics: dict[str, dict[str, Row]] = {}
    names = _subjects(rows)
    for row in rows:
        beside = metrics.setdefault(row["metric"], {})
        for other in beside.values():
            _check_alike(other, row, _SAME_METRIC)
        beside[names[row["checkpoint_sha256"], row["seed"]]] = row
    return Comparison(metrics)


def _check_alike(a: Row, b: Row, columns: Sequence[str]) -> None:
    unlike = [f"{name} {_short(a[name])} and {_short(b[name])}" for name in columns if a[name] != b[name]]
    if unlike:
        rows = " and ".join(f"{row['metric']} of {row['checkpoint']} on {row['set']}" for row in (a, b))
        raise ConflictError(f"{rows} are not alike: {', '.join(unlike)}; {_REMEDY}")


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text or "none"


def _subjects(rows: Sequence[Row]) -> dict[tuple[str, int], str]:
    """Name each set of weights as it was typed, with its hash and seed where that would not tell it from another."""
    typed = {(row["checkpoint_sha256"], row["seed"]): row["checkpoint"] for row in rows}
    several = [name for name in typed.values() if list(typed.values()).count(name) > 1]
    return {key: f"{name} ({key[0][:6]}, seed {key[1]})" if name in several else name for key, name in typed.items()}


def is_fraction(metric: str) -> bool:
    """Say whether a metric is shown in percent."""
    return metric.startswith(_FRACTIONS)


def cell(row: Row) -> str:
    """Write a value and its interval: in percent where it is a share."""
    factor, digits = (100, 1) if is_fraction(row["metric"]) else (1, 3)
    told = f"{factor * row['value']:.{digits}f}"
    if row["low"] is None:
        return told
    return f"{told} [{factor * row['low']:.{digits}f}, {factor * row['high']:.{digits}f}]"


def table_lines(found: Comparison) -> list[str]:
    """Return a block of lines for each metric, a line a subject."""
    width = max(len(name) for beside in found.rows.values() for name in beside)
    lines: list[str] = []
    for metric, beside in found.rows.items():
        row = next(iter(beside.values()))
        unit = ", percent" if is_fraction(metric) else ""
        lines.append(f"{metric}{unit} ({row['set']} {row['split']}, {row['partition']}, {row['images']} images)")
        lines += [f"  {name:{width}}  {cell(row)}" for name, row in beside.items()]
    return lines


def drawn(found: Comparison) -> str:
    """Draw a panel for each metric, with a dot and an interval for each subject."""
    parts: list[str] = []
    names = max(len(name) for beside in found.rows.values() for name in beside)
    frame = svg.Frame(left=24 + 6.5 * names, right=_WIDTH - 24, top=10, bottom=0)
    y = frame.top
    for metric, beside in found.rows.items():
        parts += _panel(metric, beside, frame, y)
        y += _HEAD + _LINE * len(beside)
    return svg.page(_WIDTH, y, parts)


def _panel(metric: str, beside: Mapping[str, Row], frame: svg.Frame, top: float) -> list[str]:
    low, high = _range([row[name] for row in beside.values() for name in ("low", "value", "high")])
    x = svg.scale(low, high, frame.left, frame.right)
    bottom = top + 20 + _LINE * len(beside)
    parts = [svg.text(frame.left, top + 12, metric)]
    for tick in (low, (low + high) / 2, high):
        label = f"{100 * tick:.1f} %" if is_fraction(metric) else f"{tick:.3g}"
        parts.append(f'<path d="M{x(tick):.1f} {top + 18:.1f}V{bottom:.1f}" stroke="#e4e4e4"/>')
        parts.append(svg.text(x(tick), bottom + 13, label, "middle"))
    for place, (name, row) in enumerate(beside.items()):
        y, colour = top + 30 + _LINE * place, _COLOURS[place % len(_COLOURS)]
        ends = [x(row["value"] if row[end] is None else row[end]) for end in ("low", "value", "high")]
        parts += [svg.text(8, y + 4, name), *svg.level_point(y, ends[0], ends[1], ends[2], colour)]
    return parts


def _range(values: Sequence[float | None]) -> tuple[float, float]:
    known = [value for value in values if value is not None]
    low, high = min(known), max(known)
    margin = 0.05 * (high - low) or 0.05 * abs(high) or 1.0
    return low - margin, high + margin
