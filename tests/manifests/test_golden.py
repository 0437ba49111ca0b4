"""A data set that an earlier version wrote opens, verifies and holds the same pixels, seeds and rows."""

import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

from manifests import open_dataset, verify
from manifests.documents import VersionDoc
from manifests.seeds import group_seed, prompt_positive_id, view_seed

FOLDER = Path(__file__).parents[1] / "golden" / "format1"
ROOT = "6d47bf343e0726e867c7c2b6cf9a46f398a6aa041e9ea83cc3a2d8e7bf15fbbb"


def pixels(group: int, view: int) -> np.ndarray:
    y, x, c = np.mgrid[:8, :8, :3]
    return ((x * 29 + y * 13 + c * 83 + group * 37 + view * 11) % 256).astype(np.uint8)


def test_it_is_clean_to_the_last_pixel():
    report = verify(FOLDER, deep=True)
    assert (report.problems, report.root) == ([], ROOT)
    assert (report.shards, report.groups, report.views) == (2, 5, 15)


def test_the_images_and_rows_say_what_they_said():
    data = open_dataset(FOLDER)
    rows = data.rows().to_pylist()
    assert len(rows) == 18
    for row in rows:
        group, view = row["group"], row["view"]
        is_blank = (group, view) == (4, 1)
        assert row["group_seed"] == group_seed(1, group)
        assert row["view_seed"] == view_seed(1, group, view, 2 if is_blank else 0)
        assert row["latent"] == ([group / 4, -view / 8] if group % 2 else None)
        assert row["x_note"] == (f"n{group}" if group else None)
        assert row["x_weights"] == [1.5, group]
        assert row["positive_id"] == prompt_positive_id(["ein Füchslein", "猫", "a red fox"][group % 3])
        if row["status"] == "ok":
            np.testing.assert_array_equal(data.image(row), pixels(group, view))
    assert [row["status"] for row in rows if row["group"] == 4] == ["dropped", "quarantined", "dropped"]
    assert data.groups().split.tolist() == ["train"] * 4 + ["test"]
    assert data.version.label_names == ["even", "odd"]


def test_its_root_is_computed_as_it_was():
    stored = (FOLDER / "versions" / f"{ROOT}.json").read_bytes()
    version = VersionDoc.model_validate_json(stored)
    assert version.root() == ROOT
    assert version.to_bytes() == stored == (FOLDER / "dataset.json").read_bytes()


def test_a_reader_written_from_the_page_alone_finds_the_newest_version_and_its_images():
    def canonical(value: object) -> bytes:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()

    def root_of(document: dict) -> str:
        shards = [{key: value for key, value in shard.items() if key != "rows"} for shard in document["shards"]]
        kept = {key: value for key, value in document.items() if key not in ("name", "licence")}
        return hashlib.sha256(canonical({**kept, "shards": shards})).hexdigest()

    def checked(file: dict) -> bytes:
        data = (FOLDER / file["name"]).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (file["size"], file["sha256"])
        return data

    found = {path.stem: json.loads(path.read_bytes()) for path in (FOLDER / "versions").iterdir()}
    root, version = min(found.items(), key=lambda item: (-item[1]["generation"], item[0]))
    assert (root, root) == (ROOT, root_of(version))
    images = 0
    for shard in version["shards"]:
        tar = checked(shard["shard"])
        for row in pq.read_table(io.BytesIO(checked(shard["rows"]))).to_pylist():
            if row["status"] == "ok" and row["key"] not in version["tombstones"]:
                data = tar[row["offset"] : row["offset"] + row["size"]]
                image = np.asarray(Image.open(io.BytesIO(data)))
                np.testing.assert_array_equal(image, pixels(row["group"], row["view"]))
                hashed = b'["uint8",8,8,3]' + image.tobytes()
                assert row["pixel_hash"] == hashlib.sha256(hashed).hexdigest()
                images += 1
    assert images == sum(shard["views_ok"] for shard in version["shards"]) == 15
