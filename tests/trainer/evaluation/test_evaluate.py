"""`evaluate` and `compare`: what they print is what they write, and what they write is what was measured."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from typer.testing import CliRunner

from manifests.adopt import adopt
from trainer.__main__ import app
from trainer.config import EncoderConfig
from trainer.encoders import build_encoder
from trainer.evaluation import evaluate as evaluation
from trainer.evaluation import protocol


@pytest.fixture(autouse=True)
def colours(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """A labelled set of red, green and blue noise, which pixels tell apart at once, in place of the cliparts."""
    where = tmp_path_factory.mktemp("colours")
    draw, rows = np.random.default_rng(0), []
    (where / "images").mkdir()
    for number in range(80):
        pixels = draw.integers(0, 120, (32, 32, 3), np.uint8)
        pixels[..., number % 3] += 60
        Image.fromarray(pixels).save(where / f"images/{number}.png")
        split = "dev" if number < 60 else "test"
        rows.append({"file": f"{number}.png", "label": number % 3, "split": split, "x_component": number})
    (where / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    adopt(where / "images", where / "set", table=where / "table.jsonl", label_names=["red", "green", "blue"])
    monkeypatch.setattr(evaluation, "folder", lambda name: where / "set")
    monkeypatch.setattr(protocol, "PENALTIES", protocol.PENALTIES[::11])


def exported(folder: Path, seed: int = 0) -> Path:
    torch.manual_seed(seed)
    encoder = build_encoder(EncoderConfig(backbone="resnet10t", size_px=32))
    folder.mkdir()
    half = [0.5, 0.5, 0.5]
    pixels = {"input_size": [3, 32, 32], "mean": half, "std": half}
    (folder / "config.json").write_text(json.dumps({"architecture": "resnet10t", "pretrained_cfg": pixels}))
    save_file(encoder.backbone.state_dict(), folder / "model.safetensors")
    return folder


def run(*words: object) -> str:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_table_the_json_and_the_file_say_the_same(tmp_path: Path) -> None:
    checkpoint, out = exported(tmp_path / "encoder"), tmp_path / "deep" / "evaluation.json"
    printed = json.loads(run("evaluate", checkpoint, "--json", "--out", out))
    assert printed == json.loads(out.read_text())
    assert list(printed["results"]) == ["encoder", "random", "pixels", "imagenet"]
    table = run("evaluate", checkpoint, "--no-baselines")
    assert f"{100 * printed['results']['encoder']['linear']['mean']:.1f} [" in table
    assert "pixels" not in table


def test_a_score_has_its_interval_and_the_number_of_groups(tmp_path: Path) -> None:
    found = evaluation.evaluate(exported(tmp_path / "encoder"))
    for scores in found.results.values():
        for score in scores.values():
            assert 0 <= score.low <= score.mean <= score.high <= 1
            assert score.n == 60
    assert found.results["pixels"]["linear"].mean == 1
    assert (found.set, found.split) == ("clipart26", "dev")


def test_the_same_encoder_is_scored_the_same_twice_and_another_split_is_other_images(tmp_path: Path) -> None:
    checkpoint = exported(tmp_path / "encoder")
    once, twice, other = (
        evaluation.evaluate(checkpoint, with_baselines=False, split=split) for split in ("dev", "dev", "test")
    )
    assert once == twice
    assert other.results["encoder"]["knn"].n == 20


def test_one_run_is_never_evidence_and_several_are_compared_seed_by_seed(tmp_path: Path) -> None:
    paths = [exported(tmp_path / f"{seed}", seed) for seed in range(3)]
    alone = evaluation.evaluate(paths[0]).differences
    assert not any(difference.is_evidence for found in alone.values() for difference in found.values())
    compared = evaluation.compare(paths, split="dev")
    assert compared.seeds == [0, 1, 2]
    against_pixels = compared.differences["pixels"]["linear"]
    assert against_pixels.seeds == 3
    assert against_pixels.mean == pytest.approx(
        compared.results["encoder"]["linear"].mean - compared.results["pixels"]["linear"].mean
    )


def test_a_folder_without_an_encoder_is_one_clear_line(tmp_path: Path) -> None:
    result = CliRunner().invoke(app, ["evaluate", str(tmp_path)])
    assert result.exit_code != 0
    assert "holds no encoder" in str(result.exception)
