"""Which groups a gallery shows, by what they can be found, and what is told of a view."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from manifests.dataset import DataSet
from manifests.documents import VersionDoc
from manifests.schema import OK, VIEW_SCHEMA

_WORDS = ["source", "generator", "strategy", "split"]
_NUMBERS = ["sigma", "strength", "psi", "guidance_scale", "steps", "safety_score", "realism_score"]
_MOST_LIST = 16  # items of a list that are told
_RERENDERED = ("rendered", "selected", "merged", "resharded")
Row = dict[str, Any]


@dataclass(frozen=True)
class Chosen:
    """Groups by the position of their shard and their place among its shown ok groups."""

    positions: NDArray[np.int64]
    places: NDArray[np.int64]
    keys: list[str]

    def __len__(self) -> int:
        return len(self.keys)

    def part(self, of: slice) -> Chosen:
        """Return some of them."""
        return Chosen(self.positions[of], self.places[of], self.keys[of])

    def rows(self, dataset: DataSet) -> list[list[Row]]:
        """Read the rows of each group; a shard's are read once, however many of its groups follow each other."""
        k, found = dataset.version.views_per_group, list[list[Row]]()
        pairs = zip(self.positions.tolist(), self.places.tolist(), strict=True)
        for position, places in groupby(pairs, key=lambda pair: pair[0]):
            table = dataset.rows(shards=[position], ok_only=True)
            found += [table.slice(place * k, k).to_pylist() for _, place in places]
        return found


def chosen_groups(dataset: DataSet, most: int | None) -> Chosen:
    """Choose all groups with images, or so many of them spread evenly."""
    positions, places, keys = list[int](), list[int](), list[str]()
    k = dataset.version.views_per_group
    for position in range(len(dataset.version.shards)):
        mine = dataset.rows(["key", "status"], shards=[position])
        mine = mine.filter(pc.equal(mine["status"], OK))["key"].to_pylist()[::k]
        positions += [position] * len(mine)
        places += range(len(mine))
        keys += mine
    kept = np.arange(len(keys))
    if most is not None and most < len(keys):
        kept = np.unique(np.linspace(0, len(keys) - 1, most).round().astype(int))
    shown = [keys[place] for place in kept.tolist()]
    return Chosen(np.array(positions, np.int64)[kept], np.array(places, np.int64)[kept], shown)


def filter_columns(dataset: DataSet, chosen: Chosen) -> dict[str, list[Any]]:
    """Return what the page filters by, a value a group: words of its first view, and the most telling number."""
    k, names = dataset.version.views_per_group, ["key", "prompt", "label", "positive_id", *_WORDS, *_NUMBERS]
    columns: dict[str, list[Any]] = {name: [] for name in names}
    for position, places in _by_shard(chosen):
        rows = dataset.rows([*names, "status"], shards=[position])
        rows = rows.filter(pc.equal(rows["status"], OK))
        first = rows.take(np.array(places) * k)
        for name in ("key", "prompt", "label", *_WORDS):
            columns[name] += first[name].to_pylist()
        columns["positive_id"] += [str(value) for value in first["positive_id"].to_pylist()]  # 63 bits
        for name in _NUMBERS:
            columns[name] += _largest(rows[name].to_pylist(), places, k)
    columns["label"] = [_label(dataset.version, value) for value in columns["label"]]
    return {name: values for name, values in columns.items() if any(value is not None for value in values)}


def _by_shard(chosen: Chosen) -> list[tuple[int, list[int]]]:
    pairs = zip(chosen.positions.tolist(), chosen.places.tolist(), strict=True)
    return [(position, [place for _, place in found]) for position, found in groupby(pairs, key=lambda pair: pair[0])]


def _largest(values: Sequence[float | None], places: Sequence[int], k: int) -> list[float | None]:
    """Return each group's largest number: an anchor's step is none, and its views' is what one looks for."""
    found = []
    for place in places:
        known = [value for value in values[place * k : (place + 1) * k] if value is not None and np.isfinite(value)]
        found.append(float(f"{max(known):.6g}") if known else None)
    return found


def _label(version: VersionDoc, value: int | None) -> str | None:
    if value is None:
        return None
    return version.label_names[value] if value < len(version.label_names) else str(value)


def row_texts(row: Row, version: VersionDoc) -> dict[str, str]:
    """Return what a row says, as texts; what it leaves open is left out."""
    told = {name: _text(name, value) for name, value in row.items() if value is not None}
    if row["label"] is not None:
        told["label"] = f"{row['label']}: {_label(version, row['label'])}"
    told["command"] = "rerender" if row["generator_sha256"] and version.kind in _RERENDERED else "show"
    return told


def _text(name: str, value: Any) -> str:
    if isinstance(value, list):
        more = f", … ({len(value)})" if len(value) > _MOST_LIST else ""
        return ", ".join(_text("", item) for item in value[:_MOST_LIST]) + more
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    unit = VIEW_SCHEMA.field(name).metadata[b"unit"].decode() if name in VIEW_SCHEMA.names else ""
    return f"{text} {unit}" if unit in ("px", "bytes") else text
