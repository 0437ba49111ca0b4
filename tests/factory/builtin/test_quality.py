"""The numbers of the quality report on features whose right answers are known."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from factory.builtin import folder, quality
from factory.builtin.cli import app
from factory.builtin.emoji_data import Drawing
from factory.builtin.images import ImageSet, load


def _set(labels: list[str], styles: list[str]) -> ImageSet:
    rows = [
        Drawing(label, 0, label, style, "objects", "tool", "", "train")
        for label, style in zip(labels, styles, strict=True)
    ]
    return ImageSet(rows, np.zeros((len(rows), 64, 64, 3), np.uint8), "root")


def test_an_identity_is_as_near_as_its_nearest_drawing() -> None:
    real = np.array([[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]])
    labels = ["a", "a", "b", "c"]
    assert quality.identity_rank(np.array([0.5, 0.9]), "b", real, labels) == 0
    assert quality.identity_rank(np.array([0.5, 0.9]), "a", real, labels) == 1
    assert quality.identity_rank(np.array([0.5, 0.9]), "c", real, labels) == 2


def test_many_drawings_of_one_identity_take_one_place_only() -> None:
    real = np.array([[1.0, 0.0]] * 30 + [[0.0, 1.0]])
    assert quality.identity_rank(np.array([1.0, 0.1]), "b", real, ["a"] * 30 + ["b"]) == 1


def test_the_best_sample_counts_and_its_rate_is_never_below_one_samples() -> None:
    count = 30
    drawings = _set([f"thing {number:02}" for number in range(count)], ["noto"] * count)
    real = np.eye(count)
    elsewhere = real[10:].sum(0)
    samples = np.stack([[real[0], elsewhere], [elsewhere, elsewhere]])  # one right of two; none right
    rates = quality.recognised(samples, ["thing 00", "thing 01"], real, drawings)
    assert rates == {"one_sample": 0.25, "best_of_samples": 0.5, "first_place_one_sample": 0.25}


def test_the_ceiling_compares_no_drawing_with_one_by_the_same_hand() -> None:
    others = [f"thing {number}" for number in range(quality.NEAREST)]
    labels, styles = ["a", "a", *others], ["fluent-emoji", "fluent-emoji-flat", *["noto"] * len(others)]
    real = np.vstack([np.eye(2, 4), np.tile([0, 0, 1.0, 0], (len(others), 1))])
    with pytest.warns(RuntimeWarning, match="empty slice"):
        with_one_hand = quality.ceiling(["a"], real, _set(labels, styles))
    assert np.isnan(with_one_hand["one_drawing"]), "a drawing by the only hand has nothing to be compared with"
    other_hand = _set([*labels, "a"], [*styles, "twemoji"])
    rates = quality.ceiling(["a"], np.vstack([real, [1.0, 0, 0, 0]]), other_hand)
    assert rates["best_of_styles"] == 1.0


def test_prompts_are_training_identities_spread_over_the_groups(drawings: Path) -> None:
    loaded = load(drawings)
    prompts = quality.training_prompts(loaded, 8, seed=0)
    known = {row.caption: row.x_group for row in loaded.part("train").rows}
    assert len(set(prompts)) == 8
    assert len({known[prompt] for prompt in prompts}) == len(set(known.values()))
    assert prompts == quality.training_prompts(loaded, 8, seed=0)


@pytest.mark.parametrize("count", [1, 10, 11])
def test_the_contact_sheet_has_a_tile_for_every_prompt(count: int) -> None:
    samples = np.zeros((count, 8, 64, 64, 3), np.uint8)
    sheet = quality.contact_sheet(samples, ["a long prompt that is cut somewhere"] * count)
    rows = -(-count // 10)
    assert sheet.height % rows == 0
    assert sheet.width // 10 >= 2 * 64


@pytest.mark.slow
def test_the_evaluation_writes_its_speed_and_two_threads_draw_four_images_a_second(
    drawings: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    request.addfinalizer(functools.partial(torch.set_num_threads, torch.get_num_threads()))
    few = quality.Sizes(prompts=9, samples=8, groups=9, views=2)
    monkeypatch.setattr(quality, "evaluate", functools.partial(quality.evaluate, sizes=few))
    words = ["evaluate", str(folder("emoji-diffusion")), str(drawings), str(tmp_path), "--threads", "2"]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    numbers = json.loads((tmp_path / "quality.json").read_text())
    assert numbers["images_per_s"] >= 4
