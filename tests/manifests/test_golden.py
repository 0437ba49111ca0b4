"""A data set that an earlier version wrote opens, verifies and holds the same pixels, seeds and rows."""

from pathlib import Path

import numpy as np

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
