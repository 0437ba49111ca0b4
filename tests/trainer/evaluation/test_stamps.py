"""Stamps: subjects from folders, captions from the text beside them, mirrored versions on one side of the split."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manifests.verify import verify
from trainer.evaluation.debian import folder_of
from trainer.evaluation.stamps import LABEL_NAMES, PACKAGES, STAMPS, build, caption
from trainer.evaluation.task import open_task


def collection(folder: Path) -> Path:
    for number in range(24):
        subject = LABEL_NAMES[number % 2]
        path = folder / subject / "kind" / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        blocks = np.random.default_rng(number).integers(0, 200, (6, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
        Image.fromarray(blocks).save(path)
        path.with_suffix(".txt").write_text(f"Stamp {number}.\nde.utf8=Stempel.\n")
        if number == 3:
            turned = np.random.default_rng(99).integers(0, 200, (6, 6, 3), np.uint8).repeat(8, 0).repeat(8, 1)
            Image.fromarray(turned).save(path.with_name("3_mirror.png"))
    Image.new("RGB", (8, 8), "white").save(folder / "food" / "blank.png")
    (folder / "space").mkdir()
    Image.new("RGB", (8, 8), "black").save(folder / "space" / "night.png")
    return folder


def test_a_collection_becomes_a_set_with_captions_subjects_and_families(tmp_path: Path) -> None:
    build(tmp_path / "set", collection(tmp_path / "stamps"), tmp_path / "scratch")
    pool = open_task(str(tmp_path / "set"), "dev").pool
    rows = pool.dataset.rows(["prompt", "label", "split", "x_path", "x_component"]).to_pylist()
    assert len(rows) == 25
    assert all(row["x_path"].split("/")[0] == LABEL_NAMES[row["label"]] for row in rows)
    assert {row["prompt"] for row in rows} == {f"Stamp {number}." for number in range(24)}
    assert len({(row["x_component"], row["split"]) for row in rows if "/3" in row["x_path"]}) == 1


def test_a_picture_without_text_has_no_caption(tmp_path: Path) -> None:
    assert caption(tmp_path / "a.png") == ""


@pytest.mark.slow
def test_debians_stamps_are_whole_and_every_subject_is_on_both_sides(tmp_path: Path) -> None:
    build(tmp_path / "set", folder_of(PACKAGES, STAMPS, tmp_path), tmp_path / "scratch")
    assert verify(str(tmp_path / "set"), deep=True).problems == []
    pool = open_task(str(tmp_path / "set"), "dev").pool
    assert 680 < len(pool) <= 713
    assert all(len(set(pool.labels[pool.splits == split].tolist())) == 8 for split in ("dev", "test"))
