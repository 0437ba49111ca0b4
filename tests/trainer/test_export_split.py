"""An encoder of two backbones, CMC's, is exported and loaded like any."""

import torch

from tests.trainer.data import make_dataset
from tests.trainer.processes import pretrain_words, run
from trainer.encoders import load_encoder


def test_a_split_encoder_is_exported_and_loads_to_the_same_features(tmp_path):
    url = make_dataset(tmp_path / "set", groups=24, views=2)
    code, said = run(pretrain_words(url, tmp_path / "run", "cmc", images=32))
    assert code == 0, said
    encoder, pixels = load_encoder(tmp_path / "run")
    assert encoder.split == "lab"
    assert encoder(encoder.normalize(torch.rand(2, 3, pixels.size_px, pixels.size_px))).shape == (2, 2 * 16)
    code, said = run(["embed", str(tmp_path / "run"), url, str(tmp_path / "features.parquet")])
    assert code == 0, said
    code, said = run(["export", str(tmp_path / "run"), str(tmp_path / "out"), "--onnx"])
    assert code == 0, said
    assert "in onnxruntime" in said
    assert (tmp_path / "out" / "encoder.onnx").is_file()
