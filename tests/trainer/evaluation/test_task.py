"""Which images predict which: every split's rules, no leak between them, and dev that has never seen test."""

from pathlib import Path

import numpy as np
import pytest

from manifests.errors import CorruptError, UserError
from tests.trainer.data import make_dataset
from tests.trainer.evaluation.test_sets import plain_folder
from trainer.evaluation.protocol import fold_parts
from trainer.evaluation.sets import folder, load
from trainer.evaluation.task import Task, open_task


def made(where: Path, *splits: str, each: int = 20) -> str:
    rows = [
        {"label": number % 2, "split": split, "x_component": 1000 * place + number // 2}
        for place, split in enumerate(splits)
        for number in range(each)
    ]
    return str(plain_folder(where, rows))


def check_whole(task: Task) -> None:
    """No component lies on two sides, and nothing is predicted twice."""
    tested = np.concatenate([part.test for part in task.parts])
    assert len(set(tested.tolist())) == len(tested)
    for part in (*task.parts, task.tuned):
        assert part is not None
        sides = [set(task.pool.components[rows].tolist()) for rows in (part.train, part.validation, part.test)]
        assert all(sides)
        assert not sides[0] & sides[1]
        assert not (sides[0] | sides[1]) & sides[2]


@pytest.mark.parametrize("split", ["dev", "test"])
def test_a_small_set_is_predicted_in_the_folds_that_evaluate_uses(split: str) -> None:
    task, examples = open_task("clipart26", split), load(folder("clipart26"), split)
    check_whole(task)
    places = {row: place for place, row in enumerate(task.scored.tolist())}
    for part, expected in zip(task.parts, fold_parts(examples.labels, examples.components), strict=True):
        assert [places[row] for row in part.test.tolist()] == expected.test.tolist()
        assert [places[row] for row in part.train.tolist()] == expected.train.tolist()


def test_whole_encoders_learn_from_dev_to_predict_test_and_on_dev_see_nothing_of_test() -> None:
    dev, test = (open_task("emoji", split) for split in ("dev", "test"))
    assert dev.tuned is not None
    assert test.tuned is not None
    assert set(dev.pool.splits[np.concatenate([dev.tuned.learning, dev.tuned.test])].tolist()) == {"dev"}
    assert set(test.pool.splits[test.tuned.learning].tolist()) == {"dev"}
    assert test.tuned.test.tolist() == np.flatnonzero(test.pool.splits == "test").tolist()


def test_train_predicts_test_and_on_dev_test_is_not_touched(tmp_path: Path) -> None:
    url = made(tmp_path, "train", "test")
    test, dev = open_task(url, "test"), open_task(url, "dev")
    for task in (test, dev):
        check_whole(task)
        assert len(task.parts) == 1
    assert set(test.pool.splits[test.parts[0].learning].tolist()) == {"train"}
    assert set(test.pool.splits[test.parts[0].test].tolist()) == {"test"}
    used = np.concatenate([dev.scored, *(np.concatenate([p.learning, p.test]) for p in dev.parts)])
    assert set(dev.pool.splits[used].tolist()) == {"train"}
    assert test.partition != dev.partition


def test_a_validation_split_is_what_settings_are_picked_on_and_what_dev_predicts(tmp_path: Path) -> None:
    url = made(tmp_path, "train", "validation", "test")
    test, dev = open_task(url, "test"), open_task(url, "dev")
    check_whole(test)
    check_whole(dev)
    assert set(test.pool.splits[test.parts[0].validation].tolist()) == {"validation"}
    assert set(dev.pool.splits[dev.parts[0].test].tolist()) == {"validation"}


def test_a_generated_set_without_splits_is_predicted_in_folds_of_whole_groups(tmp_path: Path) -> None:
    task = open_task(make_dataset(tmp_path / "set", groups=24, views=2), "dev")
    check_whole(task)
    assert (task.split, len(task.parts), len(task.scored)) == ("all", 5, 48)
    assert (task.pool.components.reshape(-1, 2)[:, 0] == task.pool.components.reshape(-1, 2)[:, 1]).all()


def test_a_set_without_labels_has_no_parts_but_images_to_look_at(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"x_component": number} for number in range(8)]
    task = open_task(str(plain_folder(tmp_path, rows)), "dev")
    assert (task.parts, task.tuned, len(task.scored)) == ((), None, 8)


def test_other_splits_are_refused_and_so_are_leaks(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"splits \['a', 'b'\]; expected train and test, dev and test, or none"):
        open_task(made(tmp_path / "other", "a", "b"), "dev")
    leaking = [{"label": 0, "split": split, "x_component": 7} for split in ("train", "test")]
    with pytest.raises(CorruptError, match=r"x_component \[7\]"):
        open_task(str(plain_folder(tmp_path / "leaking", leaking)), "test")
    with pytest.raises(UserError, match="no split 'train'"):
        open_task("clipart26", "train")
