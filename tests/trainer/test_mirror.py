"""A run in a bucket, over HTTP to a real server: killed on one machine, taken up on another, to the same bits."""

import json
import os
import shutil
import signal
import time

import fsspec
import pytest
import torch

from learning.checkpoint import load_newest
from tests.trainer.data import make_dataset
from tests.trainer.processes import pretrain_words, run, start
from trainer.mirror import Mirror

IMAGES = 160
OPTIONS = {"images": IMAGES, "checkpoint_images": 32, "log_images": 16, "ema_half_life_images": 64}
VOLATILE = {"images_per_s", "data_wait_fraction", "memory_peak_bytes", "seconds", "unreadable_groups"}


def words_of(data, bucket):
    words = pretrain_words(data, "unused", **OPTIONS)
    words[words.index("--out") + 1] = bucket
    return words


def kill_after(words, bucket, checkpoint):
    """SIGKILL the run once a checkpoint's weights are in the bucket: about when its DONE is put."""
    command, files = start(words), fsspec.filesystem("s3", use_listings_cache=False, skip_instance_cache=True)
    limit = time.monotonic() + 90
    while time.monotonic() < limit and command.process.is_alive():
        if files.exists(f"{bucket}/checkpoints/{checkpoint}/tensors.safetensors"):
            os.kill(command.process.pid, signal.SIGKILL)
            break
        time.sleep(0.002)
    return command.wait()[0]


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [tensor for item in items for tensor in tensors(item)]


def lines(folder):
    found = [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{key: line[key] for key in line.keys() - VOLATILE} for line in found]


def test_a_run_killed_on_one_machine_goes_on_bit_for_bit_on_another(tmp_path, monkeypatch, s3_url):
    data = make_dataset(tmp_path / "set", groups=24, views=2)
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "one machine"))
    code, said = run(words_of(data, f"{s3_url}/whole"))
    assert code == 0, said
    whole = Mirror(f"{s3_url}/whole").folder

    assert kill_after(words_of(data, f"{s3_url}/killed"), f"{s3_url}/killed", "ckpt-000000000064") == -signal.SIGKILL
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "another machine"))
    code, said = run(words_of(data, f"{s3_url}/killed"))
    assert code == 0, said
    there = Mirror(f"{s3_url}/killed").folder
    assert there != whole

    (seen, first), (seen_too, second) = (load_newest(folder / "checkpoints") for folder in (whole, there))
    assert seen == seen_too == IMAGES
    pairs = list(zip(tensors(first), tensors(second), strict=True))
    assert all(torch.equal(one, other) for one, other in pairs)
    weights = [(folder / "encoder" / "model.safetensors").read_bytes() for folder in (whole, there)]
    assert weights[0] == weights[1]
    assert lines(whole) == lines(there)  # the lines of the first machine have come along

    shutil.rmtree(there)  # a third machine needs nothing but the bucket
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "third machine"))
    code, said = run(words_of(data, f"{s3_url}/killed"))
    assert code == 0, said
    assert (Mirror(f"{s3_url}/killed").folder / "encoder" / "model.safetensors").read_bytes() == weights[0]


def checkpoint(folder, number, metrics):
    name = f"ckpt-{number:012d}"
    (folder / "checkpoints" / name).mkdir(parents=True)
    for file in ("state.json", "tensors.safetensors", "DONE"):
        (folder / "checkpoints" / name / file).write_text(f"{file} {number}")
    (folder / "metrics.jsonl").write_text(metrics)
    (folder / "config.json").write_text("{}")
    return name


def on(tmp_path, monkeypatch, machine, bucket):
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / machine))
    mirror = Mirror(bucket)
    mirror.folder.mkdir(parents=True, exist_ok=True)
    return mirror


@pytest.fixture
def bucket(tmp_path):
    return f"file://{tmp_path}/bucket"


def test_what_is_not_done_in_the_bucket_does_not_count(tmp_path, monkeypatch, bucket):
    mine = on(tmp_path, monkeypatch, "a", bucket)
    checkpoint(mine.folder, 16, "16\n")
    mine.push()
    newer = checkpoint(mine.folder, 32, "16\n32\n")
    mine.push()
    (tmp_path / "bucket" / "checkpoints" / newer / "DONE").unlink()  # killed just before
    other = on(tmp_path, monkeypatch, "b", bucket)
    other.pull()
    assert [path.name for path in (other.folder / "checkpoints").iterdir()] == ["ckpt-000000000016"]
    assert (other.folder / "metrics.jsonl").read_text() == "16\n"


def test_a_machine_that_had_the_run_earlier_takes_the_newer_metrics_too(tmp_path, monkeypatch, bucket):
    mine = on(tmp_path, monkeypatch, "a", bucket)
    checkpoint(mine.folder, 16, "16 here\n24 here\n")
    mine.push()
    other = on(tmp_path, monkeypatch, "b", bucket)
    other.pull()
    checkpoint(other.folder, 32, "16 here\n24 there\n32 there\n")
    other.push()
    again = on(tmp_path, monkeypatch, "a", bucket)
    again.pull()
    assert (again.folder / "metrics.jsonl").read_text() == "16 here\n24 there\n32 there\n"
    assert (again.folder / "checkpoints" / "ckpt-000000000032" / "DONE").is_file()


def test_a_machine_whose_checkpoint_is_the_newest_keeps_its_own_lines(tmp_path, monkeypatch, bucket):
    mine = on(tmp_path, monkeypatch, "a", bucket)
    checkpoint(mine.folder, 16, "16\n")
    mine.push()
    (mine.folder / "metrics.jsonl").write_text("16\n24\n")
    mine.pull()
    assert (mine.folder / "metrics.jsonl").read_text() == "16\n24\n"


def test_checkpoints_that_were_dropped_here_are_dropped_there(tmp_path, monkeypatch, bucket):
    mine = on(tmp_path, monkeypatch, "a", bucket)
    first = checkpoint(mine.folder, 16, "16\n")
    mine.push()
    shutil.rmtree(mine.folder / "checkpoints" / first)
    checkpoint(mine.folder, 32, "32\n")
    mine.push()
    kept = {str(path.relative_to(tmp_path / "bucket")) for path in (tmp_path / "bucket").rglob("*") if path.is_file()}
    assert not any("016" in name for name in kept)
    assert "metrics/ckpt-000000000032.jsonl" in kept
