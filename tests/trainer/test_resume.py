"""Real kills of real processes: what is left must go on as if nothing had happened."""

import json
import os
import shutil
import signal
import time

import pytest
import torch

from learning.checkpoint import load_newest
from tests.trainer.data import make_dataset, stripe_latents
from tests.trainer.processes import pretrain_words, run, start
from tests.trainer.tiny_presets import TINY_PRESETS

IMAGES = 160  # ten steps of 16
VOLATILE = {"images_per_s", "data_wait_fraction", "memory_peak_bytes", "seconds", "unreadable_groups"}
VARIANTS = {
    "stablerep in bfloat16 with an average": {
        "preset": "stablerep",
        "precision": "bfloat16",
        "ema_half_life_images": 64,
        "encoder__arguments": "{channels: [8, 8, 16, 16], stem_width: 8, drop_path_rate: 0.5}",
    },
    "simclr, one view of a group with another corrupt one": {"preset": "simclr", "data__views": 1},
    "vdrl, told the time": {"preset": "vdrl", **TINY_PRESETS["vdrl"], "ema_half_life_images": 64},
    "an inverter with classes": {"preset": "invert", **TINY_PRESETS["invert"], "objective__conditional": True},
}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    broken, latents = {(3, 0): b"no image"}, stripe_latents(24, 3)
    return make_dataset(tmp_path_factory.mktemp("data") / "set", groups=24, views=3, images=broken, latents=latents)


def lines(folder):
    return [json.loads(text) for text in (folder / "metrics.jsonl").read_text().splitlines()]


def signal_after(words, folder, images_seen, number):
    """Send a signal once the metrics name that many images; return the exit code."""
    command = start(words)
    limit = time.monotonic() + 90
    while time.monotonic() < limit and command.process.is_alive():
        if (folder / "metrics.jsonl").exists() and f'"images_seen": {images_seen},' in (
            folder / "metrics.jsonl"
        ).read_text():
            os.kill(command.process.pid, number)
            break
        time.sleep(0.002)
    return command.wait()[0]


def tensors(value):
    if isinstance(value, torch.Tensor):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else []
    return [tensor for item in items for tensor in tensors(item)]


def assert_same_state(one, other):
    (seen, first), (seen_too, second) = load_newest(one / "checkpoints"), load_newest(other / "checkpoints")
    assert seen == seen_too == IMAGES
    pairs = list(zip(tensors(first), tensors(second), strict=True))
    assert len(pairs) > 30
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", VARIANTS)
def test_ten_steps_are_five_a_sigkill_and_five_bit_for_bit(tmp_path, url, name):
    options = {"images": IMAGES, "checkpoint_images": 80, **VARIANTS[name]}
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    code, said = run(pretrain_words(url, whole, **options))
    assert code == 0, said
    words = pretrain_words(url, killed, **options)
    assert signal_after(words, killed, 112, signal.SIGKILL) == -signal.SIGKILL
    assert load_newest(killed / "checkpoints")[0] == 80
    assert not (killed / "encoder").exists()

    code, said = run(words)
    assert code == 0, said
    assert_same_state(whole, killed)
    weights = [(folder / "encoder" / "model.safetensors").read_bytes() for folder in (whole, killed)]
    assert weights[0] == weights[1]
    assert [line["images_seen"] for line in lines(killed)] == list(range(16, IMAGES + 1, 16))  # no window twice
    for a, b in zip(lines(whole), lines(killed), strict=True):
        assert {k: a[k] for k in a.keys() - VOLATILE} == {k: b[k] for k in b.keys() - VOLATILE}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_finishes_the_step_saves_and_exits_with_75(tmp_path, url, number):
    folder = tmp_path / "run"
    words = pretrain_words(url, folder, images=20_000, checkpoint_images=10_000)
    assert signal_after(words, folder, 32, number) == 75
    images_seen, _ = load_newest(folder / "checkpoints")
    assert 32 <= images_seen < 10_000
    assert lines(folder)[-1]["images_seen"] == images_seen
    assert not (folder / "encoder").exists()


def test_a_finished_run_is_left_alone_and_a_missing_export_is_made_up(tmp_path, url):
    words = pretrain_words(url, tmp_path / "run", images=32)
    assert run(words)[0] == 0
    weights = tmp_path / "run" / "encoder" / "model.safetensors"
    before, content = weights.stat().st_mtime_ns, weights.read_bytes()
    assert run(words)[0] == 0
    assert weights.stat().st_mtime_ns == before
    shutil.rmtree(weights.parent)  # killed between the last checkpoint and the export
    assert run(words)[0] == 0
    assert weights.read_bytes() == content
