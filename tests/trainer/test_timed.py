"""An encoder that is told the time: what it reads, how it is copied, trained, exported and loaded."""

import copy

import pytest
import torch

from learning.ema import Ema
from manifests.errors import UserError
from tests.trainer.data import make_dataset
from tests.trainer.objectives.tiny import VIT
from tests.trainer.processes import pretrain_words, run
from tests.trainer.tiny_presets import TINY_PRESETS
from trainer.config import EncoderConfig, load_config
from trainer.encoders import build_encoder, load_encoder
from trainer.objectives import build_objective
from trainer.timed import TimedBackbone

BACKBONES = {
    "resnet": {"backbone": "resnet10t", "arguments": {"channels": [8, 8, 16, 16]}, "size_px": 32},
    "vision transformer": VIT,
}


def encoder_of(name, *, is_moved):
    torch.manual_seed(0)
    encoder = build_encoder(EncoderConfig(**BACKBONES[name], timed=True)).eval()
    if is_moved:
        for layer in encoder.backbone.changes:
            torch.nn.init.normal_(layer.weight, std=0.3)
    return encoder


def images_of(encoder):
    side = encoder.preprocessing.size_px
    return torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", BACKBONES)
def test_an_untrained_encoder_is_the_same_at_all_times_and_a_trained_one_is_not(name):
    times = torch.tensor([0.0, 0.3, 1.0])
    for is_moved in (False, True):
        encoder = encoder_of(name, is_moved=is_moved)
        images = images_of(encoder)
        plain = encoder.backbone.model
        assert torch.allclose(encoder(images, times), encoder(images, times.flip(0)), atol=1e-6) is not is_moved
        assert torch.equal(encoder(images), encoder(images, torch.full((3,), 0.5)))
        assert plain.num_features == encoder.dimensions


@pytest.mark.parametrize("name", BACKBONES)
def test_an_image_is_told_its_own_time_alone(name):
    encoder = encoder_of(name, is_moved=True)
    images, times = images_of(encoder), torch.tensor([0.1, 0.5, 0.9])
    alone = torch.cat([encoder(images[i : i + 1], times[i : i + 1]) for i in range(3)])
    assert torch.allclose(encoder(images, times), alone, atol=1e-5)


def test_features_have_a_gradient_in_the_time():
    encoder = encoder_of("resnet", is_moved=True)
    time = torch.tensor(0.4, requires_grad=True)
    encoder(images_of(encoder), time.expand(3)).sum().backward()
    assert time.grad.abs() > 0


def test_a_copy_is_changed_by_its_own_layers():
    encoder = encoder_of("resnet", is_moved=False)
    images, times = images_of(encoder), torch.rand(3)
    before = encoder(images, times)
    for copied in (copy.deepcopy(encoder), Ema(encoder).module):
        torch.nn.init.normal_(copied.backbone.changes[0].weight)
        assert not torch.allclose(copied(images, times), before)
        assert torch.equal(encoder(images, times), before)


def test_a_timed_run_is_exported_and_loads_to_the_same_features_at_every_time(tmp_path):
    url = make_dataset(tmp_path / "set", groups=24, views=2)
    code, said = run(pretrain_words(url, tmp_path / "run", "drl", images=64, **TINY_PRESETS["drl"]))
    assert code == 0, said
    encoder, pixels = load_encoder(tmp_path / "run")
    assert encoder.timed
    images = torch.rand(2, 3, pixels.size_px, pixels.size_px)
    early, late = (encoder(encoder.normalize(images), torch.full((2,), time)) for time in (0.05, 0.95))
    assert not torch.equal(early, late)
    again, _ = load_encoder(tmp_path / "run" / "encoder")
    assert torch.equal(again(encoder.normalize(images), torch.full((2,), 0.05)), early)
    code, said = run(["embed", str(tmp_path / "run"), url, str(tmp_path / "features.parquet")])
    assert code == 0, said


def test_refusals_name_the_setting():
    with pytest.raises(UserError, match="timed and split are two kinds of backbone"):
        load_config("drl", ["encoder.split=lab"])
    with pytest.raises(UserError, match=r"encoder.timed: timm names no stages of a Linear; take a ResNet"):
        TimedBackbone(torch.nn.Linear(3, 3))
    config = load_config("drl", ["objective.mixup=true", "cache_groups=4", "batch_images=16"])
    with pytest.raises(UserError, match=r"objective.mixup mixes images of a part .*; leave cache_groups out"):
        build_objective(config)
    with pytest.raises(UserError, match=r"halve it 3 times: expected a multiple of 8"):
        build_objective(load_config("drl", ["encoder.size_px=36"]))
