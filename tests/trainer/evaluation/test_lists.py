"""The labelled few: fixed for ever, a share of each class, and held to the rule that made them."""

import hashlib

import numpy as np
import pytest

from trainer.evaluation import lists
from trainer.evaluation.lists import FOLDER, PERCENTS, file_name, labelled_few, share_of_classes
from trainer.evaluation.task import open_task

# Never changed once published: another list is another protocol version.
PUBLISHED = {
    "2d5aa048b32f-dev-1.txt": "59825cf8404af1468c8bf243f9180d58732170dd0fa5af62173f06c1db51a1a2",
    "2d5aa048b32f-dev-10.txt": "f6007d1f7d7f6067215a5ac1cf6a1e7b9bddd89c18952fe80deac30c8f75d705",
    "2d5aa048b32f-test-1.txt": "57ad1c8ea4414cba5c248b8be9b90f26c0785bc6325e5841a619c60aad3b0fcd",
    "2d5aa048b32f-test-10.txt": "4886a99d20219c420729b4ac70cf7a13564382ed5e52d3f253101bf4ef1b698a",
    "d2e0ca656fba-dev-1.txt": "8a64f9995ee12e765b294c047493d3c56243f7a2d995b8f3fdd58db18a938aaa",
    "d2e0ca656fba-dev-10.txt": "505f44c0c62eb4c03a1f9c10dd08159466434c95f7378a96091e6f69b7807652",
    "d2e0ca656fba-test-1.txt": "fb229534024462d5af7f02370a80ef41a5d68503719ee6b7c77455cf1d4211b3",
    "d2e0ca656fba-test-10.txt": "181495a30e38ebf4c91c55cdeb40440e0f517d75fc62322881d1b6f789b358c1",
    "fc322093fc10-test-1.txt": "416025d60ed9f280f9306926d68eed194361f0ec0cc98c33278db661bb1c2e40",
    "fc322093fc10-test-10.txt": "92be535def8b1de4413cb07576c389a98b117b2ce0099cacf139282adf096031",
}


def test_a_share_of_each_class_is_taken_and_one_image_at_least() -> None:
    labels = np.array([0] * 500 + [1] * 100 + [2] * 7)
    keys = [f"key {index}" for index in range(len(labels))]
    few, more = (share_of_classes(keys, labels, percent) for percent in PERCENTS)
    assert np.bincount(labels[few]).tolist() == [5, 1, 1]
    assert np.bincount(labels[more]).tolist() == [50, 10, 1]
    assert set(few.tolist()) <= set(more.tolist())


def test_a_list_does_not_depend_on_the_order_of_the_images() -> None:
    labels = np.arange(200) % 4
    keys = [f"key {index}" for index in range(200)]
    turned = np.roll(np.arange(200), 57)
    found = share_of_classes(keys, labels, 10)
    again = share_of_classes([keys[i] for i in turned], labels[turned], 10)
    assert {keys[i] for i in found} == {keys[turned[i]] for i in again}


def test_the_published_lists_are_these_and_no_others() -> None:
    found = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.glob("*.txt")}
    assert found == PUBLISHED


@pytest.mark.parametrize("name", ["clipart26", "emoji"])
@pytest.mark.parametrize("split", ["dev", "test"])
def test_published_lists_follow_the_rule(name: str, split: str) -> None:
    task = open_task(name, split)
    assert task.tuned is not None
    known, keys = task.tuned.learning, task.pool.keys
    mine, labels, root = [keys[row] for row in known], task.pool.labels[known], task.pool.dataset.root
    for percent in PERCENTS:
        assert (FOLDER / file_name(root, split, percent)).is_file()
        published = labelled_few(root, split, mine, labels, percent)
        assert published.tolist() == share_of_classes(mine, labels, percent).tolist()


def test_a_published_list_is_read_and_not_drawn_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(lists, "FOLDER", tmp_path)
    (tmp_path / file_name("ab" * 32, "dev", 1)).write_text("c\na\n")
    assert labelled_few("ab" * 32, "dev", ["a", "b", "c"], np.array([0, 0, 1]), 1).tolist() == [0, 2]
