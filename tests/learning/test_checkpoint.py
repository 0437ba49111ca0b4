"""A checkpoint is whole or absent, whatever kills the writer, and comes back bit for bit."""

from __future__ import annotations

import contextlib
import errno
import itertools
import json
import logging
import random
import resource
import signal
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from learning.checkpoint import CheckpointError, load, load_newest, save
from learning.optim import parameter_groups
from tests.distributed.harness import PROCESSES


def small_state(value: int) -> dict[str, Any]:
    return {"model": {"w": torch.full((4,), value)}, "images": value}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_same(mine: Any, expected: Any) -> None:
    assert type(mine) is type(expected)
    if isinstance(expected, torch.Tensor):
        assert mine.dtype == expected.dtype
        assert mine.shape == expected.shape
        assert torch.equal(
            mine.contiguous().view(-1).view(torch.uint8), expected.contiguous().view(-1).view(torch.uint8)
        )
    elif isinstance(expected, dict):
        assert list(mine) == list(expected)
        for key in expected:
            assert_same(mine[key], expected[key])
    elif isinstance(expected, list | tuple):
        assert len(mine) == len(expected)
        for a, b in zip(mine, expected, strict=True):
            assert_same(a, b)
    else:
        assert repr(mine) == repr(expected)


def test_every_kind_of_value_comes_back_bit_for_bit(tmp_path: Path) -> None:
    bits = torch.randint(0, 256, (64,), dtype=torch.uint8)
    state = {
        "bf16": bits.view(torch.bfloat16),
        "nan_payload": bits.view(torch.float32),
        "int64": torch.tensor([2**63 - 1, -(2**63)]),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "empty": torch.empty(0, 3),
        "view": torch.arange(12).reshape(3, 4).T[1:],
        "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
        "int_keys": {0: {"step": torch.tensor(1.0)}, 1: [1, (2.5, None, True)]},
        "floats": [0.1, float("inf"), 5e-324, -0.0, 2**70],
        "text": "ΔÅ\n{}",
        "tensor": {"tensor": "a name, not a tensor"},
    }
    save(tmp_path, state, images_seen=12800)
    assert names(tmp_path) == ["ckpt-000000012800"]
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded[0] == 12800
    assert_same(loaded[1], state)


def test_training_goes_on_bit_for_bit_from_a_loaded_optimizer(tmp_path: Path) -> None:
    def fresh() -> tuple[nn.Module, torch.optim.Optimizer]:
        torch.manual_seed(0)
        model = nn.Sequential(nn.Linear(5, 7), nn.BatchNorm1d(7), nn.Linear(7, 2))
        groups: list[Any] = list(parameter_groups(model, weight_decay=0.1))
        return model, torch.optim.AdamW(groups, lr=1e-2, fused=True)

    def train(model: nn.Module, optimizer: torch.optim.Optimizer, steps: range) -> None:
        for step in steps:
            inputs = torch.randn(8, 5, generator=torch.Generator().manual_seed(step))
            optimizer.zero_grad()
            model(inputs).square().sum().backward()
            optimizer.step()

    model, optimizer = fresh()
    train(model, optimizer, range(3))
    save(tmp_path, {"model": model.state_dict(), "optimizer": optimizer.state_dict()}, images_seen=24)
    train(model, optimizer, range(3, 6))
    resumed, resumed_optimizer = fresh()
    loaded = load_newest(tmp_path)
    assert loaded is not None
    resumed.load_state_dict(loaded[1]["model"])
    resumed_optimizer.load_state_dict(loaded[1]["optimizer"])
    train(resumed, resumed_optimizer, range(3, 6))
    assert_same(dict(resumed.state_dict()), dict(model.state_dict()))


def test_tied_weights_are_stored_once(tmp_path: Path) -> None:
    weight = torch.randn(1000)
    path = save(tmp_path, {"a": weight, "b": weight}, images_seen=0)
    assert (path / "tensors.safetensors").stat().st_size < 5000
    assert torch.equal(load(path)["b"], weight)


def test_the_newest_and_the_round_ones_are_kept(tmp_path: Path) -> None:
    for images in range(0, 100, 10):
        save(tmp_path, small_state(images), images_seen=images, keep_last=2, keep_every_images=40)
    assert names(tmp_path) == [f"ckpt-{images:012d}" for images in (40, 80, 90)]


def test_the_first_after_a_multiple_is_kept_where_no_batch_ends_on_one(tmp_path: Path) -> None:
    for images in range(7, 100, 7):
        save(tmp_path, small_state(images), images_seen=images, keep_last=1, keep_every_images=30)
    assert names(tmp_path) == [f"ckpt-{images:012d}" for images in (35, 63, 91, 98)]


@pytest.mark.parametrize(
    "damage", ["no_done", "flipped_byte", "cut", "no_tensors", "bad_json", "no_text", "list", "no_hashes"]
)
def test_a_broken_newest_one_is_skipped_and_named(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(tmp_path, small_state(1), images_seen=1)
    newest = save(tmp_path, small_state(2), images_seen=2)
    tensors = newest / "tensors.safetensors"
    data = tensors.read_bytes()
    if damage == "no_done":
        (newest / "DONE").unlink()
    elif damage == "no_tensors":
        tensors.unlink()
    elif damage in (contents := {"bad_json": b"{", "no_text": b"\xff", "list": b"[]", "no_hashes": b"{}"}):
        (newest / "DONE").write_bytes(contents[damage])
    else:
        tensors.write_bytes(data[:-1] + bytes([data[-1] ^ 1]) if damage == "flipped_byte" else data[:-8])
    with caplog.at_level(logging.WARNING):
        loaded = load_newest(tmp_path)
    assert loaded is not None
    assert_same(loaded, (1, small_state(1)))
    assert "ckpt-000000000002" in caplog.text


def test_saving_over_a_broken_one_replaces_it(tmp_path: Path) -> None:
    (save(tmp_path, small_state(1), images_seen=7) / "DONE").unlink()
    save(tmp_path, small_state(2), images_seen=7)
    assert load_newest(tmp_path) is not None
    assert names(tmp_path) == ["ckpt-000000000007"]


def test_a_broken_later_one_does_not_push_out_the_one_just_saved(tmp_path: Path) -> None:
    save(tmp_path, small_state(1), images_seen=1, keep_last=1)
    (save(tmp_path, small_state(3), images_seen=3, keep_last=2) / "DONE").unlink()
    save(tmp_path, small_state(2), images_seen=2, keep_last=1)
    assert_same(load_newest(tmp_path), (2, small_state(2)))


def test_nothing_to_load_is_none(tmp_path: Path) -> None:
    assert load_newest(tmp_path / "absent") is None
    (tmp_path / "ckpt-best").mkdir()
    (tmp_path / "ckpt-000000000005").mkdir()
    assert load_newest(tmp_path) is None


def test_where_all_finished_ones_are_broken_nothing_begins_anew(tmp_path: Path) -> None:
    for images in (1, 2):
        (save(tmp_path, small_state(images), images_seen=images) / "state.json").write_text("{}")
    (tmp_path / "ckpt-000000000003").mkdir()  # not finished: counts for nothing
    with pytest.raises(CheckpointError, match=r"none of the 2 checkpoints in .* is whole; restore one, or remove them"):
        load_newest(tmp_path)


def test_an_object_that_would_need_pickle_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match=r"holds a \w*Path"):
        save(tmp_path, {"path": tmp_path}, images_seen=1)
    assert load_newest(tmp_path) is None


def save_where_files_stay_small(folder: Path, state: dict[str, Any], out: Connection) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))
    try:
        save(folder, state, images_seen=2, keep_last=1)
    except OSError as error:
        out.send((error.errno, error.filename))


@pytest.mark.parametrize("too_large", ["tensors", "skeleton"])
def test_a_full_disk_is_an_error_with_its_number_and_keeps_the_old_one(tmp_path: Path, too_large: str) -> None:
    save(tmp_path, small_state(1), images_seen=1, keep_last=1)
    receiver, sender = PROCESSES.Pipe(duplex=False)
    state = {"w": torch.zeros(10_000)} if too_large == "tensors" else {"names": ["n" * 100] * 200}
    process = PROCESSES.Process(target=save_where_files_stay_small, args=(tmp_path, state, sender))
    process.start()
    sender.close()
    number, file = receiver.recv()
    process.join()
    assert number == errno.EFBIG
    assert too_large == "skeleton" or file.endswith("tensors.safetensors")
    loaded = load_newest(tmp_path)
    assert loaded is not None
    assert loaded[0] == 1
    assert names(tmp_path) == ["ckpt-000000000001"]


def test_the_same_images_again_are_left_as_they_are(tmp_path: Path) -> None:
    save(tmp_path, small_state(1), images_seen=1)
    save(tmp_path, small_state(2), images_seen=1)
    assert_same(load_newest(tmp_path), (1, small_state(1)))


def test_an_unfinished_folder_cannot_be_loaded_by_name(tmp_path: Path) -> None:
    path = save(tmp_path, small_state(1), images_seen=1)
    (path / "DONE").unlink()
    with pytest.raises(CheckpointError, match="no DONE file"):
        load(path)


def save_for_ever(folder: Path, start: int, out: Connection) -> None:
    for images in itertools.count(start):
        state = {"model": {f"w{i}": torch.full((100_000,), images) for i in range(4)}, "images": images}
        out.send(("saving", images))
        save(folder, state, images_seen=images, keep_last=2)
        out.send(("saved", images))


def killed_in_the_middle(folder: Path, start: int, delay_s: float) -> tuple[int, bool]:
    """Kill a saver -9 after its second save began; return its last finished save and whether it died inside one."""
    receiver, sender = PROCESSES.Pipe(duplex=False)
    process = PROCESSES.Process(target=save_for_ever, args=(folder, start, sender))
    process.start()
    sender.close()
    said = [receiver.recv() for _ in range(3)]
    time.sleep(delay_s)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    with contextlib.suppress(EOFError):
        while True:
            said.append(receiver.recv())
    what, images = said[-1]
    return images - (what == "saving"), what == "saving"


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_sigkill_during_a_save_leaves_a_whole_one(tmp_path: Path, kills: int) -> None:
    chance, inside, start = random.Random(kills), 0, 1
    for _ in range(kills):
        finished, was_inside = killed_in_the_middle(tmp_path, start, chance.uniform(0.0, 0.05))
        inside += was_inside
        loaded = load_newest(tmp_path)
        assert loaded is not None
        images, state = loaded
        assert images in (finished, finished + 1)  # the rename may be done and not yet told
        assert state["images"] == images
        assert all((weight == images).all() for weight in state["model"].values())
        start = images + 1
    assert inside  # some fell inside a save


def test_leftovers_of_a_killed_save_are_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / ".tmp-ckpt-dead").mkdir()
    (tmp_path / ".tmp-ckpt-dead" / "tensors.safetensors").write_bytes(b"half")
    save(tmp_path, small_state(1), images_seen=1)
    assert names(tmp_path) == ["ckpt-000000000001"]


def test_the_done_file_names_both_hashes(tmp_path: Path) -> None:
    path = save(tmp_path, small_state(1), images_seen=1)
    assert sorted(json.loads((path / "DONE").read_text())) == ["state.json", "tensors.safetensors"]
