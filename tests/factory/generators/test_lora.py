"""Low-rank changes of the weights: loaded from safetensors, hashed, scaled, and refused where they do not fit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline, StableDiffusionPipeline
from diffusers.utils import convert_state_dict_to_diffusers
from peft import LoraConfig, get_peft_model_state_dict

from factory.generators import open_generator
from factory.generators.diffusion_config import DiffusionSource
from factory.generators.weights import file_sha256, fingerprint, inventory
from manifests.errors import UserError
from tests.factory import tiny


def save_lora(unet: Any, folder: Path, seed: int = 0) -> Path:
    """Save a random LoRA of a network with diffusers' own function."""
    torch.manual_seed(seed)
    unet.add_adapter(LoraConfig(r=2, lora_alpha=2, target_modules=["to_q", "to_k", "to_v", "to_out.0"]))
    for name, parameter in unet.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter, std=0.5)
    state = convert_state_dict_to_diffusers(get_peft_model_state_dict(unet))
    StableDiffusionPipeline.save_lora_weights(folder, unet_lora_layers=state)
    return folder / "pytorch_lora_weights.safetensors"


@pytest.fixture(scope="module")
def lora(tmp_path_factory: pytest.TempPathFactory) -> Path:
    unet = DiffusionPipeline.from_pretrained(tiny.folder("sd15")).unet
    return save_lora(unet, tmp_path_factory.mktemp("lora"))


def with_lora(path: Path, scale: float = 1.0) -> dict[str, Any]:
    return tiny.source("sd15", lora=[{"path": str(path), "scale": scale}])


def sha256(source: dict[str, Any]) -> str:
    return fingerprint(inventory(DiffusionSource.model_validate(source)))["sha256"]


def test_a_lora_changes_the_image_as_it_does_in_diffusers(lora: Path, open_tiny: Any, views: Any) -> None:
    batch = views(2)
    ours = open_generator(with_lora(lora, 0.7)).render(batch, 2).pixels
    reference = open_generator(tiny.source("sd15"))
    reference._pipe.load_lora_weights(lora.parent, weight_name=lora.name, adapter_name="plain")
    reference._pipe.set_adapters(["plain"], [0.7])
    theirs = reference.render(batch, 2).pixels
    assert np.abs(ours.astype(int) - theirs).max() <= 2
    assert np.abs(ours.astype(int) - open_tiny("sd15").render(batch, 2).pixels).max() > 2


def test_a_loras_bytes_and_scale_count_in_the_fingerprint_and_its_path_does_not(lora: Path, tmp_path: Path) -> None:
    moved = tmp_path / "moved.safetensors"
    moved.write_bytes(lora.read_bytes())
    own = {sha256(tiny.source("sd15")), sha256(with_lora(lora)), sha256(with_lora(lora, 0.5))}
    assert len(own) == 3
    assert sha256(with_lora(moved)) == sha256(with_lora(lora))
    moved.write_bytes(lora.read_bytes() + b" ")
    assert sha256(with_lora(moved)) not in own


def test_two_loras_add_up_and_zero_scale_changes_nothing(lora: Path, open_tiny: Any, views: Any) -> None:
    def rendered(*scales: float) -> np.ndarray:
        source = tiny.source("sd15", lora=[{"path": str(lora), "scale": scale} for scale in scales])
        pixels: np.ndarray = open_generator(source).render(views(2), 2).pixels.astype(int)
        return pixels

    assert np.abs(rendered(0.3, 0.4) - rendered(0.7)).max() <= 2
    assert np.array_equal(rendered(0.0), open_tiny("sd15").render(views(2), 2).pixels)


def test_a_lora_of_another_shape_is_refused(tmp_path: Path) -> None:
    other = save_lora(tiny.unet(block_out_channels=(16, 32)), tmp_path)
    with pytest.raises(UserError, match="does not fit") as caught:
        open_generator(with_lora(other))
    assert "\n" not in str(caught.value)


def test_a_lora_of_another_family_is_refused(lora: Path) -> None:
    with pytest.raises(UserError, match=r"pytorch_lora_weights\.safetensors"):
        open_generator(tiny.source("sd3", lora=[{"path": str(lora)}]))


@pytest.mark.parametrize(
    ("name", "said"), [("a.bin", "pickled"), ("a.safetensors", "expected the path"), ("a", "expected")]
)
def test_a_lora_that_is_no_safetensors_file_is_refused(name: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=said):
        open_generator(with_lora(tmp_path / name))


def test_a_lora_by_url_draws_what_the_local_one_draws(
    lora: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, views: Any
) -> None:
    monkeypatch.setenv("VIEWMILL_CACHE", str(tmp_path / "cache"))
    (lora.parent / "SHA256SUMS").write_text(f"{file_sha256(lora)}  ./{lora.name}\n")
    remote = tiny.source("sd15", lora=[{"path": f"file://{lora}"}])
    pixels = [open_generator(source).render(views(2), 2).pixels for source in (with_lora(lora), remote)]
    assert np.array_equal(*pixels)
