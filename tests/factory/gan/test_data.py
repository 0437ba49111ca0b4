from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from factory.gan import data
from factory.gan.data import Pictures, open_pictures, square
from manifests.errors import UserError
from tests.factory.gan.conftest import CLASSES, make, picture


def opened(url: Path, *, is_conditional: bool = True, held_out: str | None = "test") -> tuple[Pictures, Pictures]:
    return open_pictures(str(url), size_px=16, is_conditional=is_conditional, held_out=held_out)


def test_pictures_and_classes_are_the_data_sets_and_the_held_out_ones_are_apart(shapes: Path) -> None:
    training, unseen = opened(shapes)
    assert (len(training), len(unseen)) == (24, 6)
    np.testing.assert_array_equal(training.batch([5, 0]), [picture(5), picture(0)])
    np.testing.assert_array_equal(unseen.batch([1]), [picture(25)])
    names = [training.class_names[class_id] for class_id in training.class_ids]
    assert set(names[0::2]) == {"discs"}
    assert set(names[1::2]) == {"bars"}


def test_without_a_held_out_split_everything_is_trained_on(shapes: Path) -> None:
    training, unseen = opened(shapes, held_out=None)
    assert (len(training), len(unseen)) == (30, 0)


def test_a_picture_is_the_same_with_and_without_room_to_remember_it(
    shapes: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    remembered = opened(shapes)[0].batch([3, 3, 4])
    monkeypatch.setattr(data, "MEMORY_BYTES", 0)
    np.testing.assert_array_equal(opened(shapes)[0].batch([3, 3, 4]), remembered)


def test_a_rectangle_loses_its_ends_and_a_large_picture_shrinks() -> None:
    wide = np.zeros((8, 24, 3), np.uint8)
    wide[:, 8:16] = 200
    assert (square(wide, 8) == 200).all()
    assert (square(wide, 4) == 200).all()
    assert square(wide.transpose(1, 0, 2), 16).shape == (16, 16, 3)


@pytest.fixture(scope="module")
def unlabelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows: list[dict[str, object]] = [
        {"file": "a.png", "label": CLASSES[0], "split": "test"},
        {"file": "b.png", "label": None, "split": "test"},
    ]
    return make(tmp_path_factory.mktemp("unlabelled"), rows, [picture(0), picture(1)])


def test_an_image_without_a_label_is_a_mistake_only_where_classes_are_wanted(unlabelled: Path) -> None:
    with pytest.raises(UserError, match="has no label: set conditional=false"):
        opened(unlabelled, held_out=None)
    training, _ = opened(unlabelled, is_conditional=False, held_out=None)
    assert (len(training), training.class_names) == (2, [])


def test_nothing_to_train_on_is_a_mistake(unlabelled: Path) -> None:
    with pytest.raises(UserError, match="all 2 images are in the split 'test'"):
        opened(unlabelled)
