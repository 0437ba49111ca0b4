"""The bank's models: what they see, that nothing is fetched or trained, and what is said of missing ones."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from factory.builtin import features
from factory.gan import bank
from factory.gan.bank import PUBLISHED, VisionModel, embed, open_model
from factory.gan.trunks import TimmTrunk, thirds
from manifests.errors import UserError

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), np.uint8)


def exported(folder: Path, name: str = "vit_tiny_patch16_224", **arguments: object) -> Path:
    """Write an encoder as the trainer exports it."""
    folder.mkdir(parents=True)
    torch.manual_seed(1)
    net = timm.create_model(name, num_classes=0, **arguments)
    save_file(net.state_dict(), folder / "model.safetensors")
    side_px = arguments.get("img_size", 32)
    pixels = {"input_size": [3, side_px, side_px], "mean": [0.4, 0.5, 0.6], "std": [0.2, 0.3, 0.4], "num_classes": 0}
    pixels |= {"fixed_input_size": "img_size" in arguments, "first_conv": None, "classifier": None}
    config = {"architecture": name, "num_classes": 0, "model_args": arguments, "pretrained_cfg": pixels}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture(scope="module")
def vit(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arguments = {"img_size": 32, "patch_size": 8, "depth": 6, "embed_dim": 16, "num_heads": 2}
    return exported(tmp_path_factory.mktemp("vit") / "encoder", **arguments)


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from transformers import ViTConfig, ViTModel

    folder = tmp_path_factory.mktemp("transformers")
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 3, "num_attention_heads": 2}
    torch.manual_seed(0)
    ViTModel(ViTConfig(**sizes, image_size=16, patch_size=4)).save_pretrained(folder)
    return folder


def images_of(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def test_an_exported_encoder_sees_what_timm_makes_of_it(vit: Path) -> None:
    model = open_model(str(vit))
    square = np.random.default_rng(1).integers(0, 256, (3, 32, 32, 3), np.uint8)
    net = timm.create_model(f"local-dir:{vit}", pretrained=True).eval()
    normalised = (square / 255 - [0.4, 0.5, 0.6]) / [0.2, 0.3, 0.4]
    expected = net(torch.from_numpy(normalised).permute(0, 3, 1, 2).float())
    np.testing.assert_allclose(embed(model, square), expected.detach().numpy(), atol=1e-4)
    assert (model.facts.size_px, len(model.facts.sha256)) == (32, 64)
    assert [tuple(level.shape) for level in model(images_of(square)).levels] == [(3, 16, 4, 4)] * 3
    assert model.widths() == ([16, 16, 16], 16)


def test_a_transformers_folder_sees_too(seeing: Path) -> None:
    from transformers import ViTModel

    model = open_model(str(seeing))
    seen = model(images_of(PIXELS[:, :16, :16]))
    net = ViTModel.from_pretrained(seeing).eval()
    found = net(pixel_values=images_of(PIXELS[:, :16, :16]), output_hidden_states=True)
    torch.testing.assert_close(seen.pooled, found.pooler_output, atol=1e-5, rtol=0)
    expected = found.hidden_states[2][:, 1:].transpose(1, 2).reshape(3, 16, 4, 4)
    torch.testing.assert_close(seen.levels[1], expected, atol=1e-5, rtol=0)


def test_the_packaged_network_is_the_one_that_quality_is_measured_with() -> None:
    model = open_model("efficientnet-lite0@64")
    assert model.facts.licence == "Apache-2.0"
    expected = features.embed(features.backbone(), PIXELS, size_px=64)
    np.testing.assert_allclose(embed(model, PIXELS), expected, atol=2e-3, rtol=1e-3)
    assert [level.shape[2] for level in model(images_of(PIXELS)).levels] == [8, 4, 2], "from shallow to deep"


@pytest.mark.parametrize("number", [1, 2])
def test_the_other_packaged_networks_load_whole(number: int) -> None:
    assert embed(open_model(f"efficientnet-lite{number}@32"), PIXELS).shape == (3, 1280)


def test_a_random_network_is_always_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(5)
    first = open_model("random@32")
    torch.manual_seed(6)
    np.testing.assert_array_equal(embed(first, PIXELS), embed(open_model("random@32"), PIXELS))


def test_gradients_reach_the_images_and_nothing_is_trained(vit: Path) -> None:
    model = open_model(str(vit)).train()
    assert not any(module.training for module in model.modules())
    images = images_of(PIXELS).requires_grad_()
    model(images).pooled[:, 0].sum().backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
    assert not [p for p in model.parameters() if p.requires_grad or p.grad is not None]


def test_what_augmentation_drove_out_of_the_range_has_a_gradient_and_what_resizing_overshot_is_cut_off(
    vit: Path,
) -> None:
    model = open_model(str(vit))
    bright = torch.full((1, 3, 16, 16), 1.5).requires_grad_()
    model(bright).pooled[:, 0].sum().backward()
    assert bright.grad is not None
    assert bright.grad.abs().sum() > 0
    edge = np.zeros((1, 16, 16, 3), np.uint8)
    edge[:, :, 8:] = 255  # bicubic resizing overshoots beside it
    larger = open_model(f"{vit}@32")
    seen = larger(images_of(edge)), larger(images_of(edge), is_clipped=True)
    assert not torch.equal(seen[0].pooled, seen[1].pooled)
    np.testing.assert_array_equal(embed(larger, edge), seen[1].pooled.detach().numpy())


def test_clip_has_the_activation_that_it_was_trained_with() -> None:
    with torch.device("meta"):
        net = timm.create_model(PUBLISHED["clip-vit-b32"][0], num_classes=0)
    assert type(net.blocks[0].mlp.act).__name__ == "QuickGELU"


def test_another_size_is_fed_where_the_model_bears_it(vit: Path, seeing: Path) -> None:
    assert open_model(f"{vit}@64")(images_of(PIXELS)).levels[0].shape == (3, 16, 8, 8)
    with pytest.raises(UserError, match="this model sees 16 px"):
        open_model(f"{seeing}@32")


@pytest.mark.parametrize("word", [*PUBLISHED, "timm:resnet18.a1_in1k", "transformers:facebook/dinov2-small"])
def test_missing_weights_say_how_to_get_them_and_nothing_is_fetched(
    word: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a connection was made"))
    with pytest.raises(UserError, match=r"not on this machine.*hf download [\w/.-]+") as caught:
        open_model(word)
    assert "\n" not in str(caught.value)


def test_published_weights_are_taken_from_the_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    net = timm.create_model("vgg11", num_classes=1000)
    save_file(net.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(bank, "_in_cache", lambda *_: tmp_path / "model.safetensors")
    model = open_model("timm:vgg11.tv_in1k@32")
    assert model.facts.licence == "bsd-3-clause"
    torch.testing.assert_close(model.trunk.net.features[0].weight, net.features[0].weight)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("word", "levels", "pooled"),
    [
        ("clip-vit-b32", [(768, 2), (768, 2), (768, 2)], 768),
        ("dino-vit-b16", [(768, 4), (768, 4), (768, 4)], 768),
        ("vgg16", [(512, 8), (512, 4), (512, 2)], 4096),
        ("swin-t", [(192, 8), (384, 4), (768, 2)], 768),
    ],
)
def test_the_published_architectures_have_three_levels_and_pass_gradients_on(
    word: str, levels: list[tuple[int, int]], pooled: int
) -> None:
    """Without their weights, which nobody fetches here: what is held is how the bank looks through each of them."""
    sized = {} if word == "vgg16" else {"img_size": 64}
    trunk = TimmTrunk(timm.create_model(PUBLISHED[word][0], num_classes=0, **sized)).eval()
    images = torch.rand(1, 3, 64, 64).requires_grad_()
    found, vector = trunk(images)
    assert [(level.shape[1], level.shape[2]) for level in found] == levels
    assert vector.shape == (1, pooled)
    (vector.sum() + sum(level.sum() for level in found)).backward()
    assert images.grad is not None
    assert images.grad.abs().sum() > 0


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("nothing", "expected one of clip-vit-b32"),
        ("timm:nothing_at_all", "timm .* has no model 'nothing_at_all'"),
        ("efficientnet-lite0@4", "at least 8 px"),
    ],
)
def test_what_is_no_model_is_refused(spec: str, told: str) -> None:
    with pytest.raises(UserError, match=told):
        open_model(spec)


def test_a_folder_that_holds_a_pickle_or_nothing_is_refused(tmp_path: Path, vit: Path) -> None:
    with pytest.raises(UserError, match="expected a model's folder"):
        open_model(str(tmp_path))
    (tmp_path / "config.json").write_bytes((vit / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(UserError, match="a pickle is not read"):
        open_model(str(tmp_path))


def test_levels_lie_at_thirds_of_the_depth() -> None:
    assert [thirds(depth) for depth in (12, 6, 3, 2, 1)] == [[3, 7, 11], [1, 3, 5], [0, 1, 2], [0, 1], [0]]


def test_every_model_is_a_module_that_a_device_may_take(vit: Path) -> None:
    assert isinstance(open_model(str(vit)).to("cpu"), VisionModel)
