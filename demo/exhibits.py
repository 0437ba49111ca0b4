"""Chooses what the page shows, by rule and never by hand, and reads it through `manifests` alone."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from demo.neighbours import Floats, draw_queries, nearest, raw_pixels
from demo.pictures import NeighbourRow, Picture, SampleGroup
from manifests import DataSet
from manifests.dataset import GroupIndex, decode_image
from manifests.errors import UserError

GROUPS_SHOWN = 16
VIEWS_SHOWN = 8  # more do not fit a row
QUERIES_SHOWN = 8
NEIGHBOURS_SHOWN = 6
MEDIA_TYPES = {"jpg": "image/jpeg", "jpeg": "image/jpeg", "png": "image/png", "webp": "image/webp"}


def sample_groups(dataset: DataSet) -> list[SampleGroup]:
    """Read groups spread evenly over the data set, with all their views."""
    groups, prompts = dataset.groups(), _column_by_key(dataset, "prompt")
    places = np.unique(np.linspace(0, len(groups) - 1, min(GROUPS_SHOWN, len(groups))).round().astype(np.intp))
    titles = [prompts[str(groups.key[place])] or str(groups.key[place]) for place in places]
    return [
        SampleGroup(title, _pictures(dataset, groups, place, title))
        for place, title in zip(places, titles, strict=True)
    ]


def neighbour_rows(dataset: DataSet, split: str, features_path: Path, seed: int) -> list[NeighbourRow]:
    """Find the nearest images of a labelled set's split, by the encoder's features and by raw pixels."""
    groups = dataset.groups()
    places = np.flatnonzero(np.asarray(groups.split) == split)
    labels = np.asarray(groups.label)[places].astype(np.int64)
    keys = [str(groups.key[place]) for place in places]
    component = _column_by_key(dataset, "x_component")
    components = np.array([component[key] for key in keys], np.int64)
    queries = draw_queries(labels, QUERIES_SHOWN, seed)
    pixels = raw_pixels([decode_image(_bytes(dataset, groups, place)) for place in places])
    found = [
        nearest(features, queries, components, NEIGHBOURS_SHOWN)
        for features in (read_features(features_path, keys), pixels)
    ]

    def show(index: np.int64) -> Picture:
        return _pictures(dataset, groups, places[index], class_name(dataset, int(labels[index])))[0]

    return [
        NeighbourRow(show(query), [show(index) for index in encoder], [show(index) for index in pixels])
        for query, encoder, pixels in zip(queries, *found, strict=True)
    ]


def read_features(path: Path, keys: list[str]) -> Floats:
    """Read a features file (columns key and features) in the order of `keys`.

    Shapes: -> [N, D]
    """
    table = pq.read_table(path, columns=["key", "features"])
    place = {key: index for index, key in enumerate(table["key"].to_pylist())}
    missing = [key for key in keys if key not in place]
    if missing:
        raise UserError(
            f"{path} lacks {len(missing)} of {len(keys)} images (first: {missing[0]}): delete it and run again"
        )
    values = np.stack(table["features"].to_numpy())
    return np.asarray(values[[place[key] for key in keys]], np.float32)


def class_name(dataset: DataSet, label: int) -> str:
    """Return a class's name as one would say it."""
    names = dataset.version.label_names
    return names[label].replace("_", " ") if label < len(names) else f"class {label}"


def read_metrics(path: Path) -> list[dict[str, float]]:
    """Read a run's metrics, one line a window; what was not finite there is NaN here."""
    lines = [json.loads(text) for text in path.read_text(encoding="utf-8").splitlines()]
    if not lines:
        raise UserError(f"{path} is empty: the run is shorter than one window of log_images; make it longer")
    return [{key: float("nan") if value is None else float(value) for key, value in line.items()} for line in lines]


def _pictures(dataset: DataSet, groups: GroupIndex, place: np.intp, label: str) -> list[Picture]:
    media_type = MEDIA_TYPES[dataset.version.extension]
    views = [_bytes(dataset, groups, place, view) for view in range(min(VIEWS_SHOWN, groups.offsets.shape[1]))]
    return [Picture(f"data:{media_type};base64,{base64.b64encode(data).decode()}", label) for data in views]


def _bytes(dataset: DataSet, groups: GroupIndex, place: np.intp, view: int = 0) -> bytes:
    return dataset.read(
        int(groups.shard_position[place]), int(groups.offsets[place, view]), int(groups.sizes[place, view])
    )


def _column_by_key(dataset: DataSet, column: str) -> dict[str, Any]:
    table = dataset.rows(["key", column])
    return dict(zip(table["key"].to_pylist(), table[column].to_pylist(), strict=True))
