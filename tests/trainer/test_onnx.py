"""The encoder in another runtime: the same features, what made it in its metadata, nothing of this machine."""

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import trainer.onnx
from manifests.errors import UserError
from tests.trainer.objectives.tiny import config_of, objective_of
from trainer.encoders import load_encoder
from trainer.export import export
from trainer.onnx import check_installed, export_onnx

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")
PROVENANCE = {"config": {"seed": 3}, "roots": ["ab" * 32], "images_seen": 48}


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    folder = tmp_path_factory.mktemp("export") / "encoder"
    export(objective_of(config_of("stablerep")).float(), folder, PROVENANCE)
    export_onnx(folder)
    return folder


def test_another_runtime_gives_the_same_features_for_any_number_of_images(exported):
    model = timm.create_model(f"local-dir:{exported}", pretrained=True).eval()
    session = onnxruntime.InferenceSession(str(exported / "encoder.onnx"), providers=["CPUExecutionProvider"])
    for count in (1, 5):
        images = np.random.default_rng(count).standard_normal((count, 3, 16, 16), dtype=np.float32)
        (found,) = session.run(["features"], {"images": images})
        with torch.no_grad():
            assert np.abs(found - model(torch.from_numpy(images)).numpy()).max() < 1e-5


def test_the_file_says_what_made_it_and_how_its_images_are_prepared(exported):
    model = onnx.load(exported / "encoder.onnx")
    onnx.checker.check_model(model)
    said = {entry.key: json.loads(entry.value) for entry in model.metadata_props}
    assert said["viewmill"] == PROVENANCE
    assert said["config"] == json.loads((exported / "config.json").read_text())


def test_the_same_weights_give_the_same_bytes_without_a_path_of_this_machine(exported):
    before = (exported / "encoder.onnx").read_bytes()
    assert b"site-packages" not in before
    assert str(Path(timm.__file__).parents[1]).encode() not in before
    assert export_onnx(exported) < 1e-5
    assert (exported / "encoder.onnx").read_bytes() == before


def test_a_file_that_is_another_network_is_refused_and_leaves_nothing(exported, monkeypatch):
    names = sorted(path.name for path in exported.iterdir())
    before, (encoder, pixels) = (exported / "encoder.onnx").read_bytes(), load_encoder(exported)
    with torch.no_grad():
        encoder.backbone.norm.weight.mul_(1.01)
    monkeypatch.setattr(trainer.onnx, "load_encoder", lambda folder: (encoder, pixels))
    monkeypatch.setattr(trainer.onnx, "_write", lambda encoder, images, path, metadata: path.write_bytes(before))
    with pytest.raises(RuntimeError, match=r"features differ by .* after reloading, above 0.0001"):
        export_onnx(exported)
    assert sorted(path.name for path in exported.iterdir()) == names


class Branching(torch.nn.Module):
    """A backbone whose path depends on what it sees, which no graph holds."""

    def forward(self, images):
        return images.flatten(1)[:, :4] * (2 if images.sum() > 0 else 1)


def test_an_architecture_that_torch_cannot_write_is_one_line_and_leaves_what_there_was(exported, monkeypatch):
    names = sorted(path.name for path in exported.iterdir())
    encoder, pixels = load_encoder(exported)
    encoder.backbone = Branching().eval()
    monkeypatch.setattr(trainer.onnx, "load_encoder", lambda folder: (encoder, pixels))
    with pytest.raises(
        UserError, match=r"--onnx: torch cannot write vit_tiny_patch16_224: .*; leave --onnx out"
    ) as told:
        export_onnx(exported)
    assert "\n" not in str(told.value)
    assert sorted(path.name for path in exported.iterdir()) == names


def test_without_the_packages_one_line_names_the_extra(monkeypatch):
    monkeypatch.setattr(trainer.onnx.importlib.util, "find_spec", lambda name: None if name == "onnxscript" else "")
    with pytest.raises(UserError, match=r"^--onnx needs onnxscript: pip install 'viewmill\[onnx\]'$"):
        check_installed()
