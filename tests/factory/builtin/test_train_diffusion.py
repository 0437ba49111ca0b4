"""A tiny run from drawings to a loaded pipeline: resume, export, speed of nothing but the plumbing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from factory.builtin import pipeline
from factory.builtin.emoji_sources import STYLES
from factory.builtin.export import export
from factory.builtin.train_diffusion import Plan, Run, Widths
from learning import checkpoint
from learning.loop import Schedule
from manifests.errors import UserError

TINY = Widths(autoencoder=(8, 8, 8, 8), latent_channels=4, text=16, unet=(16, 24))
SHORT = Schedule(12, 4, 1e-3, warmup_images=4, cooldown_images=4, checkpoint_images=8)


def _run(data: Path, out: Path, denoiser: Schedule = SHORT) -> None:
    plan = Plan(autoencoder=SHORT, text=SHORT, denoiser=denoiser, decoder=SHORT)
    Run(data, out, lambda stage, line: None, plan=plan, widths=TINY).go()


@pytest.fixture(scope="session")
def finished_run(drawings: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    _run(drawings, out)
    return out


@pytest.fixture(scope="session")
def exported(finished_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("exports") / "model"
    export(finished_run, out, widths=TINY, commit="abc")
    return out


def test_a_resumed_run_equals_an_uninterrupted_one_bit_for_bit(
    drawings: Path, finished_run: Path, tmp_path: Path
) -> None:
    unfinished = tmp_path / "denoiser" / "checkpoints"
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(unfinished / "ckpt-000000000012")  # as if killed before the last step
    _run(drawings, tmp_path)
    _, resumed = checkpoint.load_newest(unfinished) or pytest.fail("no checkpoint")
    _, straight = checkpoint.load_newest(finished_run / "denoiser" / "checkpoints") or pytest.fail("no checkpoint")
    for name, value in straight["learner"]["average"].items():
        assert torch.equal(resumed["learner"]["average"][name], value), name


def test_the_end_of_a_run_can_be_moved_on_resume(drawings: Path, finished_run: Path, tmp_path: Path) -> None:
    shutil.copytree(finished_run, tmp_path, dirs_exist_ok=True)
    _run(drawings, tmp_path, replace(SHORT, images=20))
    images_seen, _ = checkpoint.load_newest(tmp_path / "denoiser" / "checkpoints") or pytest.fail("no checkpoint")
    assert images_seen == 20


def test_the_rate_warms_up_stays_and_cools_down_to_nothing() -> None:
    schedule = Schedule(100, 10, 0.5, warmup_images=20, cooldown_images=40, checkpoint_images=50)
    rates = [schedule.rate(seen) for seen in range(0, 101, 10)]
    assert rates == pytest.approx([0.25, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.375, 0.25, 0.125, 0])


def test_the_export_is_an_ordinary_diffusers_folder_in_half_precision(exported: Path) -> None:
    from diffusers import StableDiffusionPipeline
    from safetensors.torch import load_file

    weights = load_file(exported / "unet" / "diffusion_pytorch_model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.float16}
    loaded = StableDiffusionPipeline.from_pretrained(exported)
    loaded.set_progress_bar_config(disable=True)
    images = loaded(["pizza", "an owl"], num_inference_steps=2, output_type="np").images
    assert images.shape == (2, 64, 64, 3)
    assert np.isfinite(images).all()


def test_the_export_says_where_it_came_from(exported: Path) -> None:
    note = json.loads((exported / "viewmill.json").read_text())
    assert note["commit"] == "abc"
    assert note["training_images"] == 18
    assert note["denoiser_images_seen"] == 12
    assert set(note["defaults"]) == {"steps", "guidance_scale", "width", "height"}
    card = (exported / "README.md").read_text()
    assert "license: cc-by-4.0" in card
    assert all(package.name in card for package in STYLES.values())


def test_equal_seeds_give_equal_pictures_and_others_do_not(exported: Path) -> None:
    loaded, _ = pipeline.load(exported)
    first, again, other = (
        pipeline.sample(loaded, ["pizza", "owl"], steps=2, guidance=2.0, seed=seed) for seed in (1, 1, 7)
    )
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_exporting_a_run_without_a_denoiser_is_a_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no denoiser checkpoint"):
        export(tmp_path, tmp_path / "out")
