import json

import pytest
import timm
import torch
from safetensors.torch import save_file

from manifests.errors import CorruptError, UserError
from trainer.config import EncoderConfig
from trainer.encoders import build_encoder, load_encoder
from trainer.export import timm_config

SLIM = {"backbone": "resnet10t", "arguments": {"channels": (8, 16, 24, 32), "stem_width": 8}, "size_px": 32}


def save(folder, encoder):
    folder.mkdir()
    save_file(encoder.backbone.state_dict(), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(timm_config(encoder)))
    return folder


def test_one_seed_gives_one_set_of_weights():
    torch.manual_seed(4)
    one = build_encoder(EncoderConfig(**SLIM))
    torch.manual_seed(4)
    two = build_encoder(EncoderConfig(**SLIM))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))


def test_building_an_encoder_leaves_its_running_statistics_alone():
    encoder = build_encoder(EncoderConfig(**SLIM))
    assert encoder.training
    assert all((b == 0).all() for name, b in encoder.named_buffers() if name.endswith("running_mean"))


def test_normalizing_is_the_recorded_preprocessing():
    encoder = build_encoder(EncoderConfig(**SLIM, mean=(0.1, 0.2, 0.3), std=(0.5, 1.0, 2.0)))
    normalized = encoder.normalize(torch.ones(1, 3, 2, 2))
    assert torch.allclose(normalized[0, :, 0, 0], torch.tensor([1.8, 0.8, 0.35]))


@pytest.mark.parametrize("split", [None, "lab", "hsv"])
def test_patches_are_normalized_as_each_would_be_alone(split):
    encoder = build_encoder(EncoderConfig(**SLIM, split=split))
    patches = torch.rand(2, 4, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    found = encoder.normalize(patches)
    assert found.shape == patches.shape
    assert torch.allclose(found[1, 2], encoder.normalize(patches[1, 2:3])[0], atol=1e-6)


def test_a_saved_encoder_loads_with_its_preprocessing_and_in_timm_itself(tmp_path):
    encoder = build_encoder(EncoderConfig(**SLIM, mean=(0.1, 0.2, 0.3))).eval()
    folder = save(tmp_path / "encoder", encoder)
    loaded, preprocessing = load_encoder(folder)
    by_timm = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images = torch.rand(2, 3, 32, 32)
    assert torch.equal(loaded(images), encoder(images))
    assert torch.equal(by_timm(images), encoder(images))
    assert (preprocessing.size_px, preprocessing.mean) == (32, (0.1, 0.2, 0.3))
    assert by_timm.pretrained_cfg["mean"] == (0.1, 0.2, 0.3) or by_timm.pretrained_cfg["mean"] == [0.1, 0.2, 0.3]


def test_the_random_baseline_has_the_same_shape_and_other_weights(tmp_path):
    folder = save(tmp_path / "encoder", build_encoder(EncoderConfig(**SLIM)))
    trained, _ = load_encoder(folder)
    fresh, _ = load_encoder(folder, trained=False)
    assert [p.shape for p in trained.parameters()] == [p.shape for p in fresh.parameters()]
    assert not torch.equal(trained.backbone.layer1[0].conv1.weight, fresh.backbone.layer1[0].conv1.weight)


def test_vision_transformers_take_their_size_from_arguments():
    arguments = {"img_size": 32, "patch_size": 8, "depth": 1, "embed_dim": 24, "num_heads": 2}
    encoder = build_encoder(EncoderConfig(backbone="vit_tiny_patch16_224", arguments=arguments, size_px=32))
    assert encoder.dimensions == 24


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"backbone": "resnet81"}, "timm has no backbone 'resnet81'; did you mean resnet"),
        (
            {"backbone": "vit_tiny_patch16_224", "size_px": 32},
            "cannot take 32 px images: .*encoder.arguments.img_size=32",
        ),
        ({"backbone": "resnet10t", "arguments": {"colour": 3}}, "refuses encoder.arguments {'colour': 3}"),
    ],
)
def test_an_impossible_encoder_is_one_clear_line(options, words):
    with pytest.raises(UserError, match=words) as error:
        build_encoder(EncoderConfig(**options))
    assert "\n" not in str(error.value)


def test_a_folder_without_an_encoder_says_what_is_missing(tmp_path):
    with pytest.raises(UserError, match=r"holds no encoder: expected model.safetensors"):
        load_encoder(tmp_path)
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match="is an unfinished run"):
        load_encoder(tmp_path)


def test_weights_that_do_not_fit_are_named(tmp_path):
    folder = save(tmp_path / "encoder", build_encoder(EncoderConfig(**SLIM)))
    save_file({"other": torch.zeros(1)}, folder / "model.safetensors")
    with pytest.raises(CorruptError, match=r"model.safetensors does not fit its config.json"):
        load_encoder(folder)
    (folder / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(CorruptError, match=r"model.safetensors does not fit its config.json"):
        load_encoder(folder)
    (folder / "config.json").write_text("{}")
    with pytest.raises(CorruptError, match="is no timm config"):
        load_encoder(folder)
