"""The experiment on vision-aided training: its arms, its few images, its claims; and a run of seconds."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from experiments.plot import Curve, curves_plot
from experiments.seeds import paired
from experiments.vision_aided import (
    FIRST,
    LAST,
    PLAIN,
    Lengths,
    few_images,
    main,
    outcome,
    table,
)
from factory.gan.config import load_config
from manifests import open_dataset
from manifests.errors import UserError
from tests.factory.gan import tiny
from tests.factory.gan.conftest import make, picture
from tests.factory.gan.test_bank import exported

LENGTHS = Lengths(24_000, 6_000, 2_000, "/judge")


@pytest.mark.parametrize(("choice", "most"), [("progressive", 1), ("fixed", 1), ("progressive", 3)])
def test_the_arms_are_configs_that_the_trainer_takes(choice: str, most: int) -> None:
    config = load_config("emoji-32", [*LENGTHS.changes(2), LENGTHS.bank(["random@64", "vgg16"], choice, most)])
    assert (config.images, config.seed, config.bank is not None) == (24_000, 2, True)
    assert config.bank is not None
    assert (config.bank.choice, config.bank.additions) == (choice, min(most, 2))
    assert config.quality is not None
    assert config.quality.extractor == "/judge"


def test_paired_differences_have_students_interval() -> None:
    found = paired([3.0, 4.0, 5.0], [1.0, 1.0, 3.0])
    assert found["mean"] == pytest.approx(7 / 3)
    assert found["low"] == pytest.approx(7 / 3 - 4.303 * (1 / 3) ** 0.5 / 3**0.5)
    assert (found["agree"], found["verdict"]) == (3, "evidence")
    assert paired([1.0, 2.0], [2.0, 1.0])["verdict"] == "no evidence"
    alone = paired([5.0], [1.0])
    assert (alone["low"], alone["high"], alone["verdict"]) == (None, None, "no evidence")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows: list[dict[str, object]] = [
        {"file": f"{number:02}.png", "label": "discs", "split": "train" if number < 34 else "test"}
        for number in range(40)
    ]
    return str(make(tmp_path_factory.mktemp("shapes"), rows, [picture(number) for number in range(40)]))


def test_few_images_are_drawn_from_the_training_split_and_always_the_same(data: str, tmp_path: Path) -> None:
    first, again = (open_dataset(few_images(data, tmp_path / name, 20)) for name in ("a", "b"))
    rows = first.rows(["group", "split"], ok_only=True).to_pylist()
    assert len(rows) == 20
    assert {row["split"] for row in rows} == {"train"}
    assert [row["group"] for row in rows] == [row["group"] for row in again.rows(["group"], ok_only=True).to_pylist()]
    with pytest.raises(UserError, match="34 images to train on, expected 50"):
        few_images(data, tmp_path / "c", 50)


def test_a_claim_holds_where_the_distance_is_smaller(tmp_path: Path) -> None:
    phase = tmp_path / "training" / "phase-1"
    phase.mkdir(parents=True)
    (phase / "phase.json").write_text(json.dumps({"ranking": [{"model": "a"}, {"model": "b"}]}))
    numbers = dict.fromkeys(("kernel", "precision", "recall", "density", "coverage", "authenticity"), 0.5)
    measured = {
        name: [{"frechet": level + seed, **numbers} for seed in range(3)]
        for name, level in ((PLAIN, 9.0), (FIRST, 5.0), (LAST, 5.0))
    }
    result = outcome(measured, {name: [tmp_path] * 3 for name in measured})
    assert result["claims"]["the first choice helps"]["verdict"] == "evidence"
    assert result["claims"]["separability chooses well"]["verdict"] == "no evidence"
    assert result["rankings"] == [["a", "b"]] * 3
    lines = table(result)
    assert any(line.startswith("| the first choice helps | +4 [+4, +4] | 3 of 3 | evidence") for line in lines)


def test_curves_are_drawn_with_their_names() -> None:
    drawn = curves_plot([Curve("plain", [(0, 100.0), (10, 10.0)]), Curve("none", [])], "images")
    assert drawn.count("<polyline") == 1
    assert "plain" in drawn


@pytest.mark.slow
def test_a_run_of_seconds_trains_measures_and_says_what_it_found(data: str, tmp_path: Path) -> None:
    arguments = {"img_size": 16, "patch_size": 8, "depth": 1, "num_heads": 2}
    models = [str(exported(tmp_path / f"w{w}", embed_dim=w, **arguments)) for w in (8, 16, 24)]
    settings = dict(change.split("=", 1) for change in tiny.changes())
    nested: dict = {"preset": "emoji-32", "generator": {}, "discriminator": {}}
    for key, value in settings.items():
        section, _, name = key.rpartition(".")
        (nested[section] if section else nested)[name] = yaml.safe_load(value)
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(nested))
    main(
        data=data,
        judge=models[2],
        out=tmp_path / "out",
        config=str(tmp_path / "tiny.yaml"),
        training_images=24,
        images=40,
        warmup_images=20,
        every_images=10,
        samples=16,
        seeds=1,
        members=models[:2],
        smoke=False,
    )
    result = json.loads((tmp_path / "out" / "results.json").read_text())
    assert list(result["arms"]) == [PLAIN, FIRST, LAST]
    assert {run["images_seen"] for runs in result["arms"].values() for run in runs} == {40}
    assert set(result["rankings"][0]) == set(models[:2])
    assert (tmp_path / "out" / "samples.png").stat().st_size > 0
    assert (tmp_path / "out" / "curves.svg").read_text().count("<polyline") == 3
