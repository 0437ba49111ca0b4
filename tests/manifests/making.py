"""Small data sets for the tests of manifests: pixels and bytes are made of integers only."""

import io
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from manifests.commit import CommitRecord, Group, View, commit_shard
from manifests.documents import VersionDoc, VersionShard
from manifests.images import pixel_hash
from manifests.store import Store
from manifests.version import CardFacts, publish

STREAM = "5a" * 32
GROUPS_PER_SHARD = 6


def pixels(group: int, view: int, side_px: int = 8) -> np.ndarray:
    y, x, c = np.mgrid[:side_px, :side_px, :3]
    return ((x * 31 + y * 17 + c * 101 + group * 13 + view * 57) % 256).astype(np.uint8)


def encode(image: np.ndarray, kind: str = "PNG") -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).save(file, kind)
    return file.getvalue()


def make_group(number: int, views: int = 2, broken: Iterable[tuple[int, int]] = (), extra: dict | None = None) -> Group:
    made = []
    for view in range(views):
        image = pixels(number, view)
        facts = {"width": 8, "height": 8, "codec": "png", "view_seed": 2**64 - 1 - view, "generator": "integers"}
        is_broken = (number, view) in broken
        row = {**facts, "pixel_hash": pixel_hash(image), "reason": "blank image" if is_broken else None}
        made.append(View(row, None if is_broken else encode(image), "png"))
    return Group(number, made, prompt=f"thing {number % 5}", label=number % 3, extra=extra or {})


def commit(store: Store, index: int, scratch: Path, groups: list[Group] | None = None, **options) -> CommitRecord:
    first = index * GROUPS_PER_SHARD
    groups = groups or [make_group(first + place) for place in range(GROUPS_PER_SHARD)]
    options = {"stream_id": STREAM, "numerics": {"pillow": "any"}, **options}
    return commit_shard(store, index=index, first_group=first, groups=groups, scratch=scratch, **options)


def finish(store: Store, records: list[CommitRecord], **fields) -> str:
    shards = [VersionShard.of(record) for record in records]
    views = sum(records[0].views.values()) // records[0].groups
    options = {
        "kind": "rendered",
        "views_per_group": views,
        "extension": "png",
        "label_names": ["a", "b", "c"],
        **fields,
    }
    return publish(store, VersionDoc(shards=shards, **options), card=CardFacts(summary="Integers as images."))


def make_dataset(url: str | Path, scratch: Path, *, shards: int = 2, broken: Iterable[tuple[int, int]] = ()) -> str:
    """Write a finished data set and return its root."""
    store = Store.open(url, create=True)
    numbers = [range(i * GROUPS_PER_SHARD, (i + 1) * GROUPS_PER_SHARD) for i in range(shards)]
    groups = [[make_group(number, broken=broken) for number in part] for part in numbers]
    return finish(store, [commit(store, index, scratch, part) for index, part in enumerate(groups)])


def leave_orphans(folder: Path) -> list[str]:
    """Lay a well-formed tar and row file, which no version names, beside those that count."""
    names = []
    for kind, suffix in (("shards", ".tar"), ("views", ".parquet")):
        source = sorted((folder / kind).iterdir())[0]
        orphan = source.with_name(f"shard-000000-000000000000{suffix}")
        orphan.write_bytes(source.read_bytes())
        names.append(f"{kind}/{orphan.name}")
    return names
