"""The shipped sets: whole, as stated, and without leaks; and a planted leak is found."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manifests.adopt import adopt
from manifests.errors import CorruptError, UserError
from manifests.verify import verify
from trainer.evaluation.emoji import build, capped
from trainer.evaluation.partition import straddling
from trainer.evaluation.protocol import FOLDS, folds
from trainer.evaluation.sets import SETS, SPLITS, folder, load

STATED = {
    "clipart26": (
        "d2e0ca656fbae9dafbb660ccc1697624f159f707496f98347fc264d0fbeb314f",
        26,
        {"dev": (1012, 740), "test": (1011, 741)},
    ),
    "emoji": (
        "2d5aa048b32fd1c3b53703afc7de3ed74c228aa4745ddfe9f621dade70eb2be9",
        8,
        {"dev": (763, 124), "test": (771, 127)},
    ),
}


@pytest.mark.parametrize("name", SETS)
def test_a_shipped_set_is_whole_and_small(name: str) -> None:
    report = verify(str(folder(name)), deep=True)
    assert report.problems == []
    assert sum(path.stat().st_size for path in folder(name).rglob("*") if path.is_file()) < 10_000_000


@pytest.mark.parametrize("name", SETS)
def test_a_shipped_set_has_the_stated_root_classes_and_counts(name: str) -> None:
    root, classes, counts = STATED[name]
    for split in SPLITS:
        examples = load(folder(name), split)
        assert examples.root == root
        assert len(examples.label_names) == classes == len(set(examples.labels.tolist()))
        assert (len(examples.labels), len(set(examples.components.tolist()))) == counts[split]
        assert examples.images.shape == (len(examples.labels), 64, 64, 3)


@pytest.mark.parametrize("name", SETS)
def test_no_group_of_near_duplicates_straddles_folds_and_every_class_is_in_every_training_part(name: str) -> None:
    examples = load(folder(name), "dev")
    fold_of = folds(examples.labels, examples.components)
    assert len(straddling(examples.components, fold_of)) == 0
    everything = set(examples.labels.tolist())
    assert all(set(examples.labels[(fold_of != f) & (fold_of != (f + 1) % FOLDS)]) == everything for f in range(FOLDS))


def plain_folder(where: Path, rows: list[dict[str, object]]) -> Path:
    """A folder of pictures of random blocks with a table, adopted as a data set."""
    (where / "images").mkdir(parents=True)
    for number, row in enumerate(rows):
        row["file"] = f"{number}.png"
        blocks = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
        Image.fromarray(blocks.repeat(8, 0).repeat(8, 1)).save(where / "images" / f"{number}.png")
    (where / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    adopt(where / "images", where / "set", table=where / "table.jsonl")
    return where / "set"


def test_a_planted_leak_is_refused_by_name(tmp_path: Path) -> None:
    rows = [{"label": 0, "split": split, "x_component": c} for split, c in [("dev", 4), ("test", 5), ("test", 4)]]
    with pytest.raises(CorruptError, match=r"x_component \[4\]"):
        load(plain_folder(tmp_path, rows), "dev")


def test_other_sets_and_splits_are_refused_by_name() -> None:
    with pytest.raises(UserError, match="imagenet"):
        folder("imagenet")
    with pytest.raises(UserError, match="'train'"):
        load(folder("clipart26"), "train")


def test_emoji_identities_are_the_held_out_ones_with_variants_on_one_side(tmp_path: Path) -> None:
    people = ["man cook", "woman cook", "cook", "man judge", "judge", "harp", "drum", "bell"]
    rows: list[dict[str, object]] = [
        {"caption": name, "label": 0, "split": split, "x_emoji": f"{split}{name}", "x_style": style}
        | {"x_group": "objects", "x_subgroup": "music"}
        for split in ("train", "test")
        for name in people
        for style in ("noto", "twemoji")
    ]
    source = plain_folder(tmp_path / "source", rows)
    build(str(source), tmp_path / "out", tmp_path / "scratch")
    parts = [load(tmp_path / "out", split) for split in SPLITS]
    assert sum(len(part.labels) for part in parts) == 2 * len(people)
    assert sum(len(set(part.components.tolist())) for part in parts) == 5
    assert parts[0].label_names == ["objects"]


def test_a_component_holds_no_more_than_its_cap() -> None:
    components = np.array([0] * 30 + [1] * 5)
    kept = capped(components, [str(i) for i in range(35)])
    assert np.bincount(components[kept]).tolist() == [18, 5]
    assert kept.tolist() == sorted(kept.tolist())
