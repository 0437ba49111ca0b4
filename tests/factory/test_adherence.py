"""Prompt adherence: its scores against a reference that goes image by image, and a whole run on a tiny CLIP."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import CLIPConfig, CLIPModel
from typer.testing import CliRunner

from factory.__main__ import app
from factory.adherence import TextImageModel, scores
from manifests.adopt import adopt
from manifests.errors import UserError
from tests.factory.tiny import clip_config, text_tokenizer


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    vision = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    config = CLIPConfig(
        text_config=clip_config(16).to_dict(),
        vision_config={**vision, "image_size": 16, "patch_size": 8},
        projection_dim=8,
    )
    torch.manual_seed(0)
    CLIPModel(config).save_pretrained(folder)
    text_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def captioned(tmp_path_factory: pytest.TempPathFactory) -> str:
    source = tmp_path_factory.mktemp("captioned") / "images"
    source.mkdir()
    rows = []
    for number in range(6):
        pixels = np.full((20 + number, 24, 3), 40 * number, np.uint8)
        Image.fromarray(pixels).save(source / f"{number}.png")
        rows.append({"file": f"{number}.png", "caption": f"thing {number % 3}"})
    table = source / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    adopt(source, source.parent / "data", table=table)
    return str(source.parent / "data")


def test_scores_are_means_over_images() -> None:
    cosines = np.array([[0.9, 0.1, 0.2], [0.5, 0.4, 0.3], [0.0, 0.1, 0.2], [0.3, 0.2, 0.3]])
    found = scores(cosines, np.array([0, 1, 2, 0]), seed=0)
    assert found["cosine"] == pytest.approx((0.9 + 0.4 + 0.2 + 0.3) / 4)
    assert found["recognised"]["mean"] == 0.5, "a tie is not recognised"
    assert found["recognised"]["low"] < 0.5 < found["recognised"]["high"]
    assert (found["other_prompts"], found["images"]) == (2, 4)


def test_a_perfect_model_recognises_everything() -> None:
    assert scores(np.eye(5), np.arange(5), seed=0)["recognised"] == {"mean": 1.0, "low": 1.0, "high": 1.0}


def test_the_command_reads_a_local_model_and_prints_numbers(clip: Path, captioned: str) -> None:
    done = CliRunner().invoke(app, ["adherence", captioned, "--model", str(clip), "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert (found["images"], found["other_prompts"]) == (6, 2)
    model = TextImageModel(clip)
    image = np.full((20, 24, 3), 0, np.uint8)
    vectors = model.of_images([image]), model.of_prompts(["thing 0", "thing 1"])
    assert all(torch.allclose(each.norm(dim=1), torch.ones(len(each), dtype=torch.float64)) for each in vectors)
    assert abs(found["cosine"]) <= 1
    assert found["model_sha256"] == hashlib.sha256((clip / "model.safetensors").read_bytes()).hexdigest()


def test_a_folder_without_a_model_and_a_data_set_without_prompts_are_refused(clip: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="expected a folder with a CLIP model"):
        TextImageModel(tmp_path)
    for number in range(2):
        Image.fromarray(np.full((8, 8, 3), number, np.uint8)).save(tmp_path / f"{number}.png")
    adopt(tmp_path, tmp_path / "data")
    done = CliRunner().invoke(app, ["adherence", str(tmp_path / "data"), "--model", str(clip)])
    assert isinstance(done.exception, UserError)
    assert "no image has a prompt" in str(done.exception)
