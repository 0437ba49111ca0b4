"""Real kills of real processes: what is left must go on as if nothing had happened."""

import shutil
import signal
from dataclasses import replace

import pytest

from learning.checkpoint import load_newest, save
from manifests.errors import ConflictError, CorruptError
from tests.trainer.data import make_dataset, stripe_latents
from tests.trainer.killing import assert_same_state, lines, signal_after, steady_lines
from tests.trainer.processes import pretrain_words, run
from tests.trainer.tiny_presets import TINY_PRESETS
from trainer.config import load_config
from trainer.data_facts import DataFacts
from trainer.run import Run, newest_checkpoint

IMAGES = 160  # ten steps of 16
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
    assert "-000000003 is unreadable, another one stands in: " in said
    assert_same_state(whole, killed, IMAGES)
    assert [line["images_seen"] for line in lines(killed)] == list(range(16, IMAGES + 1, 16))  # no window twice
    assert steady_lines(whole) == steady_lines(killed)


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


def test_a_tokenizer_that_changed_under_its_name_is_another_run(tmp_path):
    mine = Run(tmp_path, load_config("clip"), [])
    facts = DataFacts(stored_images=8, vocabulary=49408, tokenizer="ab" * 32)
    mine.check(facts)  # nothing is pinned yet
    mine.pin(facts)
    mine.check(facts)
    with pytest.raises(ConflictError, match=r'data.tokenizer: "abab.*" there, "cdcd.*" here'):
        mine.check(replace(facts, tokenizer="cd" * 32))


def test_weights_to_begin_with_that_changed_under_their_name_are_another_run(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "model.safetensors").write_bytes(b"first")
    mine = Run(tmp_path / "run", load_config("simclr", [f"init={tmp_path}/source"]), [])
    mine.folder.mkdir()
    mine.pin(DataFacts())
    mine.check(DataFacts())
    (tmp_path / "source" / "model.safetensors").write_bytes(b"second")
    with pytest.raises(ConflictError, match=r"init_sha256: \"[0-9a-f]{64}\" there"):
        mine.check(DataFacts())
    save(mine.checkpoints, {"seen": 16}, images_seen=16)
    shutil.rmtree(tmp_path / "source")
    mine.check(DataFacts())  # it goes on from its own


def test_without_any_whole_checkpoint_no_run_begins_anew(tmp_path):
    assert newest_checkpoint(tmp_path) is None
    (save(tmp_path, {"seen": 16}, images_seen=16) / "state.json").write_text("{}")
    with pytest.raises(CorruptError, match=r"none of the 1 checkpoints in .* is whole; restore one, or remove them"):
        newest_checkpoint(tmp_path)
