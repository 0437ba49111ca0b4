"""Twenty steps of training, as they were: float32 losses of integer-made images, within what processors differ by."""

import json
from pathlib import Path

import pytest

from tests.trainer.data import make_dataset, stripe_latents
from tests.trainer.processes import pretrain_words, run
from tests.trainer.tiny_presets import TINY_PRESETS
from trainer.config import preset_names

CURVES = json.loads(Path(__file__).with_name("golden_curves.json").read_text())
PROMPTS = [f"prompt {group}" for group in range(24)]
OFTEN = ("simclr", "stablerep", "moco", "clip", "synclr", "byol")  # the others, which share their parts, are slow


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    latents = stripe_latents(24, 2)
    return make_dataset(tmp_path_factory.mktemp("data") / "set", groups=24, views=2, prompts=PROMPTS, latents=latents)


def curve(url, folder, preset):
    code, said = run(pretrain_words(url, folder, preset, images=320, **TINY_PRESETS[preset]))
    assert code == 0, said
    return [json.loads(text)["loss"] for text in (folder / "metrics.jsonl").read_text().splitlines()]


def test_every_preset_has_a_curve():
    assert sorted(CURVES) == sorted(TINY_PRESETS) == preset_names()


@pytest.mark.parametrize(
    "preset", [name if name in OFTEN else pytest.param(name, marks=pytest.mark.slow) for name in CURVES]
)
def test_twenty_steps_give_the_losses_they_gave(tmp_path, url, preset):
    assert curve(url, tmp_path / "run", preset) == pytest.approx(CURVES[preset], rel=1e-3)
