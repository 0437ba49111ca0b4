"""Idx files: read whole or refused, stored as PNGs whose bytes no library decides, made into a data set."""

import gzip
import hashlib
import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manifests.dataset import open_dataset
from manifests.errors import CorruptError, UserError
from trainer.evaluation.debian import folder_of
from trainer.evaluation.idx import FASHION, FASHION_LABELS, PACKAGES, build, pairs, plain_png, read_idx
from trainer.evaluation.lists import FOLDER, PERCENTS, file_name, labelled_few, share_of_classes
from trainer.evaluation.task import open_task

GOLDEN_PNG = "ca77f8f0a4e21520f3c676566d0b34afe9cdc2ad5131a0c577eece2f17030d6e"


def idx(path: Path, values: np.ndarray) -> Path:
    head = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    data = head + values.astype(np.uint8).tobytes()
    path.write_bytes(gzip.compress(data) if path.suffix == ".gz" else data)
    return path


def digits(folder: Path) -> Path:
    folder.mkdir()
    for prefix, count in (("train", 30), ("t10k", 10)):
        values = np.arange(count * 36).reshape(count, 6, 6) * 7 % 256
        idx(folder / f"{prefix}-images-idx3-ubyte.gz", values)
        idx(folder / f"{prefix}-labels-idx1-ubyte.gz", np.arange(count) % 3)
    return folder


@pytest.mark.parametrize("name", ["a-idx3-ubyte", "a-idx3-ubyte.gz"])
def test_values_come_back_as_they_were(name: str, tmp_path: Path) -> None:
    values = np.arange(2 * 5 * 4).reshape(2, 5, 4)
    assert (read_idx(idx(tmp_path / name, values)) == values).all()


@pytest.mark.parametrize("size", [(3, 5), (28, 28), (300, 301)])
def test_a_png_without_compression_is_read_by_others(size: tuple[int, int]) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, size, np.uint8)
    with Image.open(io.BytesIO(plain_png(pixels))) as image:
        assert (np.asarray(image) == pixels).all()


def test_the_bytes_of_a_png_follow_from_its_pixels_alone() -> None:
    data = plain_png(np.arange(28 * 28, dtype=np.uint16).reshape(28, 28).astype(np.uint8))
    assert hashlib.sha256(data).hexdigest() == GOLDEN_PNG


def test_what_is_cut_too_long_or_something_else_is_refused_by_name(tmp_path: Path) -> None:
    whole = idx(tmp_path / "whole", np.zeros((3, 4, 4))).read_bytes()
    for name, data, words in [
        ("cut", whole[:-1], "less than the 48 bytes"),
        ("long", whole + b"x", "more than the 48 bytes"),
        ("floats", b"\x00\x00\x0d" + whole[3:], "expected bytes in idx form"),
        ("huge", struct.pack(">HBB3I", 0, 8, 3, 1 << 31, 1 << 31, 9), "at most"),
        ("empty", b"", "is no idx file"),
        ("packed.gz", b"\x1f\x8bnonsense", "is no idx file"),
    ]:
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CorruptError, match=words):
            read_idx(tmp_path / name)


def test_a_folder_becomes_a_data_set_with_splits_and_labels(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    names = ["zero", "one", "two"]
    root = build(tmp_path / "set", digits(tmp_path / "idx"), scratch, name="digits", label_names=names, licence=None)
    dataset = open_dataset(tmp_path / "set")
    rows = dataset.rows().to_pylist()
    assert [row["split"] for row in rows] == ["train"] * 30 + ["test"] * 10
    assert [row["label"] for row in rows] == [*(n % 3 for n in range(30)), *(n % 3 for n in range(10))]
    assert dataset.image(rows[1])[0, 0].tolist() == [36 * 7 % 256] * 3
    assert (dataset.root, dataset.version.label_names) == (root, names)
    assert open_task(str(tmp_path / "set"), "test").parts[0].test.tolist() == list(range(30, 40))


def test_images_without_labels_and_folders_without_images_are_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no idx images"):
        list(pairs(tmp_path))
    idx(tmp_path / "train-images-idx3-ubyte", np.zeros((1, 2, 2)))
    with pytest.raises(UserError, match=r"train-labels-idx1-ubyte is absent"):
        list(pairs(tmp_path))


@pytest.mark.slow
def test_debians_fashion_mnist_is_whole_with_ten_equal_classes(tmp_path: Path) -> None:
    (tmp_path / "packages").mkdir()
    source, names = folder_of(PACKAGES, FASHION, tmp_path / "packages"), FASHION_LABELS.split(",")
    build(tmp_path / "set", source, tmp_path / "scratch", name="fashion-mnist", label_names=names, licence="MIT")
    task = open_task(str(tmp_path / "set"), "test")
    pool = task.pool
    for split, each in (("train", 6_000), ("test", 1_000)):
        assert np.bincount(pool.labels[pool.splits == split]).tolist() == [each] * 10
    assert pool.images([0])[0].shape == (28, 28, 3)
    assert task.tuned is not None
    known = task.tuned.learning
    keys, labels = [pool.keys[row] for row in known], pool.labels[known]
    for percent in PERCENTS:
        assert (FOLDER / file_name(pool.dataset.root, "test", percent)).is_file()
        published = labelled_few(pool.dataset.root, "test", keys, labels, percent)
        assert published.tolist() == share_of_classes(keys, labels, percent).tolist()
        assert len(published) == 600 * percent
