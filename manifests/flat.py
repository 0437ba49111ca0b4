"""Layout `flat`: one image a sample (.jpg, .txt, .json), for readers such as open_clip that know one picture a text.

Not a data set of format 1: tars, their list and a card. Its samples name the group and root that they came from.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from manifests.canonical import canonical_json
from manifests.card import escaped
from manifests.dataset import DataSet
from manifests.errors import ConflictError
from manifests.shard import file_sha256, write_tar
from manifests.store import Store
from manifests.takedown import check_not_taken_down


def write_flat(dataset: DataSet, out: str | Path, *, groups_per_shard: int | None = None, dry_run: bool = False) -> int:
    """Write every image that a data set shows as a sample of its own; returns how many.

    With `dry_run` nothing is written.
    Raises: ConflictError if `out` holds something else, or groups were taken down since.
    """
    check_not_taken_down(dataset)
    store = Store.open(out, create=True, dry_run=dry_run)
    names = [name for name, _ in store.list()]
    if names and "flat.json" not in names:
        raise ConflictError(f"{store.url} holds something else ({names[0]}): choose an empty folder")
    if dry_run:
        return sum(len(rows) for rows in _shards(dataset, groups_per_shard))
    tars: list[tuple[str, int]] = []
    for index, rows in enumerate(_shards(dataset, groups_per_shard)):
        with tempfile.TemporaryDirectory() as folder:
            tar = Path(folder, "tar")
            write_tar(tar, _members(dataset, rows))
            name = f"shards/flat-{index:06d}-{file_sha256(tar)[:12]}.tar"
            store.put_file(tar, name)
            tars.append((name, len(rows)))
    store.replace_bytes("".join(f"{name}\n" for name, _ in tars).encode(), "shards.txt")
    store.replace_bytes(_card(dataset, tars).encode(), "README.md")
    store.put_bytes(canonical_json({"root": dataset.root, "shards": [list(tar) for tar in tars]}), "flat.json")
    return sum(count for _, count in tars)


def _shards(dataset: DataSet, groups_per_shard: int | None) -> Iterator[list[dict[str, Any]]]:
    waiting: list[dict[str, Any]] = []
    size = (groups_per_shard or 0) * dataset.version.views_per_group
    for position in range(len(dataset.version.shards)):
        waiting += dataset.rows(shards=[position], ok_only=True).to_pylist()
        while waiting and (not size or len(waiting) >= size):
            yield waiting[: size or len(waiting)]
            waiting = waiting[size:] if size else []
    if waiting:
        yield waiting


def _members(dataset: DataSet, rows: list[dict[str, Any]]) -> Iterator[tuple[str, bytes]]:
    names = dataset.version.label_names
    for row in rows:
        stem, text = f"{row['key']}-v{row['view']:02d}", row["prompt"] or _label(names, row["label"])
        facts = {
            "key": row["key"],
            "view": row["view"],
            "positive_id": row["positive_id"],
            "label": -1 if row["label"] is None else row["label"],
            "prompt": row["prompt"] or "",
            "generator": row["generator"] or "",
            "root": dataset.root,
        }
        yield f"{stem}.{dataset.version.extension}", dataset.peek(row)
        yield f"{stem}.json", json.dumps(facts, sort_keys=True, ensure_ascii=False).encode()
        yield f"{stem}.txt", text.encode()


def _label(names: list[str], label: int | None) -> str:
    return names[label] if label is not None and label < len(names) else ""


def _card(dataset: DataSet, tars: list[tuple[str, int]]) -> str:
    name = escaped(dataset.version.name) or "A data set"
    count = sum(samples for _, samples in tars)
    return (
        f"# {name}, one image a sample\n\n{count:,} samples in {len(tars)} tars, made with ViewMill from version "
        f"`{dataset.root}`; licence {escaped(dataset.version.licence or 'unknown')}.\n\nA sample is an image, its text "
        "(.txt) and what is known of it (.json). Views of one group have one positive_id.\n"
    )
