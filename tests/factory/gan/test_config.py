from __future__ import annotations

from pathlib import Path

import pytest

from factory.gan.config import GanConfig, load_config, presets
from manifests.errors import UserError
from tests.factory.gan import tiny


@pytest.mark.parametrize("name", presets())
def test_every_preset_is_a_config(name: str) -> None:
    assert load_config(name).name == name


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ("generator.chanel_max=9", "generator.chanel_max: unknown key; did you mean channel_max?"),
        ("batch_images=6", "batch_images: got 6, expected a multiple of 4"),
        ("augment=[colour,blur]", "augment.1: got 'blur', expected 'colour', 'translation' or 'cutout'"),
        ("discriminator.penalty_every_images=8", "penalty_every_images of at least batch_images (16)"),
        ("quality.every_images=15000", "multiple of checkpoint_images (10000)"),
        ("generator.resolution=48", "generator.resolution: got 48, expected a power of two"),
        ("style_mixing=2", "style_mixing: got 2, expected less than or equal to 1"),
    ],
)
def test_a_mistake_is_named_with_what_was_expected(change: str, told: str) -> None:
    with pytest.raises(UserError) as caught:
        load_config("emoji-stylegan2", [change])
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_may_build_on_a_preset(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("preset: emoji-stylegan2\nname: mine\ngenerator: {channel_max: 32}\n")
    mine, preset = load_config(str(path)), load_config("emoji-stylegan2")
    assert (mine.name, mine.generator.channel_max) == ("mine", 32)
    assert mine.generator.z_dim == preset.generator.z_dim


@pytest.mark.parametrize("source", ["emoji-stylegan", "nothing.yaml"])
def test_an_unknown_config_is_named(source: str) -> None:
    with pytest.raises(UserError, match=source):
        load_config(source)


def test_only_what_no_weight_depends_on_may_differ_on_resume() -> None:
    before = tiny.config()
    assert before.identity() == tiny.config(images=80, checkpoint_images=10, licence="MIT").identity()
    for change in ({"seed": 2}, {"batch_images": 8}, {"discriminator__gamma": 1.0}, {"augment": "[]"}):
        assert before.identity() != tiny.config(**change).identity()


def test_lengths_are_images_whatever_the_batch() -> None:
    small, large = (tiny.config(batch_images=batch) for batch in (4, 16))
    assert (small.penalty_interval, large.penalty_interval) == (4, 1)
    assert isinstance(small, GanConfig)
    assert small.schedule.images == large.schedule.images == 40
