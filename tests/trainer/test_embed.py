"""Side-cars of embeddings: where they lie, what they are named after, and that the numbers are the encoder's."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from manifests.dataset import open_dataset
from manifests.embeddings import find_embeddings, read_embeddings
from tests.trainer.data import make_dataset
from trainer.__main__ import app
from trainer.embed import embed_dataset, embed_images, open_extractor
from trainer.encoders import Encoder, Preprocessing, load_encoder
from trainer.export import timm_config


def make_encoder(folder: Path, seed: int = 0, size_px: int = 32) -> Path:
    folder.mkdir(parents=True)
    torch.manual_seed(seed)
    half = (0.5, 0.5, 0.5)
    arguments = {"img_size": size_px, "patch_size": 8, "depth": 1, "embed_dim": 16, "num_heads": 2}
    encoder = Encoder("vit_tiny_patch16_224", arguments, Preprocessing(size_px, half, half))
    save_file(encoder.backbone.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(timm_config(encoder)))
    return folder


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_dataset(tmp_path_factory.mktemp("data") / "set", groups=10, views=2))


def test_a_side_car_lies_in_the_data_set_and_is_made_once(url: str, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder")
    done = CliRunner().invoke(app, ["embed", str(folder), url], catch_exceptions=False)
    assert done.exit_code == 0
    assert done.stdout.startswith("20 images -> ")
    _, extractor = open_extractor(folder)
    data = open_dataset(url)
    path = Path(url) / f"embeddings/vit_tiny_patch16_224-{extractor.sha256[:12]}-{data.root[:12]}.parquet"
    before = path.stat()
    assert embed_dataset(folder, url) == (20, str(path))
    assert path.stat() == before
    found = find_embeddings(data, f"vit_tiny_patch16_224-{extractor.sha256[:6]}")
    assert (found.extractor, found.root) == (extractor, data.root)
    rows = data.rows(ok_only=True).to_pylist()
    expected = embed_images(load_encoder(folder)[0], [data.image(row) for row in rows])
    np.testing.assert_allclose(found.features, expected, atol=1e-5)
    assert found.named(3) == f"{rows[3]['key']}.v01"


def test_the_hash_tells_weights_and_preprocessing_apart_and_folders_not(tmp_path: Path) -> None:
    first = open_extractor(make_encoder(tmp_path / "a"))[1]
    assert open_extractor(make_encoder(tmp_path / "b"))[1] == first
    assert open_extractor(make_encoder(tmp_path / "c", seed=1))[1].sha256 != first.sha256
    assert open_extractor(make_encoder(tmp_path / "d", size_px=40))[1].sha256 != first.sha256


def test_a_file_elsewhere_says_the_same_of_itself(url: str, tmp_path: Path) -> None:
    folder = make_encoder(tmp_path / "encoder", seed=2)
    out = tmp_path / "features.parquet"
    assert embed_dataset(folder, url, out) == (20, str(out))
    found = read_embeddings(out, str(out))
    assert found.extractor == open_extractor(folder)[1]
    assert found.rows.column_names == ["key", "group", "view", "label"]


def test_the_network_that_anyone_has_needs_no_folder(url: str) -> None:
    done = CliRunner().invoke(app, ["embed", "efficientnet-lite0", url], catch_exceptions=False)
    assert done.exit_code == 0
    assert find_embeddings(open_dataset(url), "efficientnet-lite0").features.shape == (20, 1280)
