"""A page that shows a data set's groups: files in a folder, for a browser without any server or network.

What the page needs at once lies in few files; pictures and full rows come as they are scrolled to. Text from the data
is only ever set as text, and the page's policy lets nothing run but its own script.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from manifests.dataset import DataSet
from manifests.errors import UserError
from manifests.gallery.index import Chosen, chosen_groups, filter_columns, row_texts
from manifests.gallery.landscape import landscape
from manifests.gallery.pictures import write_sprite
from manifests.target import replaced

__all__ = ["Options", "write_gallery"]

GROUPS_PER_FILE = 50  # of pictures and rows
GROUPS_PER_INDEX = 20_000
_ASSETS = ("index.html", "gallery.css", "gallery.js")
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """How much is shown; thumb_px is the side of the small pictures."""

    most_groups: int | None = None
    thumb_px: int = 96
    embeddings: tuple[Path, ...] = ()


def write_gallery(
    datasets: Sequence[DataSet], out: Path, options: Options | None = None, *, tell: Tell = lambda line: None
) -> int:
    """Write the page of one data set, or of two side by side; returns how many groups it shows.

    Raises: UserError for more than two data sets, none with a group, or embeddings that are not theirs.
    """
    options = options or Options()
    if not 1 <= len(datasets) <= 2 or len(options.embeddings) > len(datasets):
        raise UserError(f"{len(datasets)} data sets, {len(options.embeddings)} files of embeddings: one or two, each")
    (out / "data").mkdir(parents=True, exist_ok=True)
    (out / "pictures").mkdir(exist_ok=True)
    sets = []
    for number, dataset in enumerate(datasets):
        features = options.embeddings[number] if number < len(options.embeddings) else None
        sets.append(_write_set("ab"[number], dataset, out, options, features, tell))
    _put(out / "data" / "sets.js", "sets", sets)
    for name in _ASSETS:
        with replaced(out / name) as part:
            part.write_bytes(files("manifests.gallery").joinpath("assets", name).read_bytes())
    return sum(one["groups"] for one in sets)


def _write_set(
    letter: str, dataset: DataSet, out: Path, options: Options, embeddings: Path | None, tell: Tell
) -> dict[str, Any]:
    chosen = chosen_groups(dataset, options.most_groups)
    if not len(chosen):
        raise UserError(f"{dataset.url}: no group with images to show")
    columns = filter_columns(dataset, chosen)
    points = None if embeddings is None else landscape(embeddings, chosen.keys)
    for first in range(0, len(chosen), GROUPS_PER_INDEX):
        part = slice(first, first + GROUPS_PER_INDEX)
        values = {name: column[part] for name, column in columns.items()}
        if points is not None:
            values["point"] = np.round(points[part], 4).tolist()
        _put(out / "data" / f"{letter}-index-{first // GROUPS_PER_INDEX:05d}.js", f"{letter}-index-{first}", values)
    for number, first in enumerate(range(0, len(chosen), GROUPS_PER_FILE)):
        part = slice(first, first + GROUPS_PER_FILE)
        _write_groups(f"{letter}-{number:05d}", dataset, chosen.part(part), out, options.thumb_px)
        if (number + 1) % 100 == 0:
            tell(f"gallery: {first + GROUPS_PER_FILE} of {len(chosen)} groups")
    return _facts(dataset, chosen, options, points is not None)


def _write_groups(name: str, dataset: DataSet, chosen: Chosen, out: Path, thumb_px: int) -> None:
    groups = chosen.rows(dataset)
    write_sprite(dataset, groups, out / "pictures" / f"{name}.webp", thumb_px)
    _put(out / "data" / f"{name}.js", name, [[row_texts(row, dataset.version) for row in group] for group in groups])


def _facts(dataset: DataSet, chosen: Chosen, options: Options, has_map: bool) -> dict[str, Any]:
    version = dataset.version
    return {
        "name": version.name or dataset.url,
        "url": dataset.url,
        "root": dataset.root,
        "kind": version.kind,
        "licence": version.licence or "unknown",
        "labels": version.label_names,
        "views": version.views_per_group,
        "groups": len(chosen),
        "of": version.groups_ok,
        "thumb": options.thumb_px,
        "perFile": GROUPS_PER_FILE,
        "perIndex": GROUPS_PER_INDEX,
        "hasMap": has_map,
    }


def _put(path: Path, name: str, value: Any) -> None:
    """Write JSON as a script, since a page that lies on a disk may load no other kind of data."""
    text = json.dumps(value, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    with replaced(path) as part:
        part.write_text(f"viewmill.take({json.dumps(name)},{text});\n", encoding="ascii")
