"""Write the golden data set of format 1: `python tests/golden/make_format1.py FOLDER`.

It was made once and is never made again: later versions of ViewMill must open what lies in format1/. Pixels are
integers, so the generator is no part of what is tested.
"""

import io
import sys
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from manifests.commit import Group, View, commit_shard
from manifests.documents import VersionDoc, VersionShard
from manifests.images import pixel_hash
from manifests.seeds import group_seed, view_seed
from manifests.store import Store
from manifests.version import CardFacts, publish

STREAM = "f0" * 32
EXTRA = {"x_note": pa.string(), "x_weights": pa.list_(pa.float32())}


def pixels(group: int, view: int) -> np.ndarray:
    y, x, c = np.mgrid[:8, :8, :3]
    return ((x * 29 + y * 13 + c * 83 + group * 37 + view * 11) % 256).astype(np.uint8)


def make_view(group: int, view: int) -> View:
    image, file = pixels(group, view), io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    is_blank = (group, view) == (4, 1)
    row = {
        "group_seed": group_seed(1, group),
        "view_seed": view_seed(1, group, view, 2 if is_blank else 0),
        "attempts": 3 if is_blank else 1,
        "reason": "blank image" if is_blank else None,
        "generator": "integers",
        "latent": [group / 4, -view / 8] if group % 2 else None,
        "latent_space": "z" if group % 2 else None,
        "sigma": 0.25,
        "pixel_hash": pixel_hash(image),
        "width": 8,
        "height": 8,
        "codec": "png",
        "split": "test" if group > 3 else "train",
    }
    return View(row, None if is_blank else file.getvalue(), "png")


def make_group(number: int) -> Group:
    extra = {"x_note": f"n{number}" if number else None, "x_weights": [1.5, number]}
    views = [make_view(number, view) for view in range(3)]
    return Group(number, views, prompt=["ein Füchslein", "猫", "a red fox"][number % 3], label=number % 2, extra=extra)


def main(folder: Path) -> None:
    store = Store.open(folder, create=True)
    shards = []
    with tempfile.TemporaryDirectory() as scratch:
        for index in range(2):
            groups = [make_group(number) for number in range(3 * index, 3 * index + 3)]
            record = commit_shard(
                store,
                stream_id=STREAM,
                index=index,
                first_group=3 * index,
                groups=groups,
                numerics={"processor": "any"},
                extra_types=EXTRA,
                scratch=Path(scratch),
            )
            shards.append(VersionShard.of(record))
    facts = {"views_per_group": 3, "extension": "png", "label_names": ["even", "odd"], "name": "format 1, golden"}
    version = VersionDoc(kind="rendered", shards=shards, licence="CC0-1.0", **facts)
    print(publish(store, version, card=CardFacts(summary="Six groups of integers.")))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
