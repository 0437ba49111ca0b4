"""`factory probe`: the ranking, what it is fed, and the probe that a recipe's judge goes by."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from factory.__main__ import app
from factory.gan.bank import embed, open_model
from factory.gan.probing import pictures
from factory.judge import Probe
from factory.realism import open_scorer
from manifests.adopt import adopt
from manifests.errors import UserError
from tests.factory import tiny_latent
from tests.factory.gan.test_bank import exported

CPU = torch.device("cpu")


def make_set(folder: Path, *, is_red: bool, side_px: int, count: int = 40) -> str:
    """Adopt noise that is red or blue on the whole."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(is_red)
    for number in range(count):
        pixels = rng.integers(0, 90, (side_px, side_px + number % 2, 3))
        pixels[:, :, 0 if is_red else 2] += 120
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{number:02}.png")
    adopt(folder, folder / "data")
    return str(folder / "data")


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    root = tmp_path_factory.mktemp("sets")
    return make_set(root / "real", is_red=True, side_px=24), make_set(root / "fake", is_red=False, side_px=16)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("models")
    arguments = {"img_size": 16, "patch_size": 8, "depth": 1, "num_heads": 2}
    return [str(exported(folder / f"w{w}", embed_dim=w, **arguments)) for w in (8, 16)]


def run(*words: str) -> str:
    done = CliRunner().invoke(app, ["probe", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_the_ranking_is_printed_with_intervals_and_as_json(sets: tuple[str, str], models: list[str]) -> None:
    words = [word for model in models for word in ("--model", model)]
    found = json.loads(run(*sets, *words, "--json"))
    assert {one["model"] for one in found} == set(models)
    assert found[0]["accuracy"] >= found[1]["accuracy"] > 0.8
    assert all(one["low"] <= one["accuracy"] <= one["high"] for one in found)
    lines = run(*sets, *words).splitlines()
    assert [line.split()[0] for line in lines] == [one["model"] for one in found]
    assert "of 80 images" in lines[0]


def test_both_kinds_are_brought_to_one_size(sets: tuple[str, str]) -> None:
    real, fake = pictures(sets, 20, 0, CPU)
    assert real.shape == fake.shape == (20, 16, 16, 3)
    again, other = pictures(sets, 20, 0, CPU)[0], pictures(sets, 20, 1, CPU)[0]
    np.testing.assert_array_equal(real, again)
    assert (real != other).any(), "another seed draws other images"


def test_a_generators_folder_is_drawn_from(sets: tuple[str, str]) -> None:
    folder = tiny_latent.folder("dcgan")
    real, fake = pictures((sets[0], str(folder)), 10, 0, CPU)
    assert real.shape == fake.shape
    assert fake.std() > 1


def test_what_is_neither_is_refused(sets: tuple[str, str], tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no finished version"):
        pictures((sets[0], str(tmp_path)), 10, 0, CPU)


@pytest.fixture(scope="module")
def probe(sets: tuple[str, str], models: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("probe") / "probe.json"
    run(*sets, "--model", models[0], "--save", str(path))
    return path


def test_a_saved_probe_scores_real_images_high_and_generated_ones_low(sets: tuple[str, str], probe: Path) -> None:
    scorer = open_scorer(Probe.model_validate_json(probe.read_text()), "cpu")
    real, fake = pictures(sets, 40, 0, CPU)
    assert scorer(real).min() > 0.5 > scorer(fake).max()
    assert scorer(real).dtype == np.float32


def test_a_score_is_the_logistic_of_the_saved_line(sets: tuple[str, str], probe: Path, models: list[str]) -> None:
    saved = json.loads(probe.read_text())
    weights = np.frombuffer(base64.b64decode(saved["weights"]), np.float32).astype(np.float64)
    features = embed(open_model(models[0]), pictures(sets, 5, 0, CPU)[0]).astype(np.float64)
    expected = 1 / (1 + np.exp(-(features @ weights + saved["bias"])))
    found = open_scorer(Probe.model_validate(saved), "cpu")(pictures(sets, 5, 0, CPU)[0])
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_another_model_under_the_probes_name_is_refused(probe: Path, models: list[str]) -> None:
    saved = Probe.model_validate_json(probe.read_text())
    with pytest.raises(UserError, match="the probe was fitted to"):
        open_scorer(saved.model_copy(update={"model": models[1]}), "cpu")
    cut = base64.b64encode(base64.b64decode(saved.weights)[:8]).decode()
    with pytest.raises(UserError, match="2 weights"):
        open_scorer(saved.model_copy(update={"weights": cut}), "cpu")
    with pytest.raises(UserError, match="no base64"):
        open_scorer(saved.model_copy(update={"weights": "ä"}), "cpu")
