"""BigGAN-deep and BigBiGAN: the published layouts, converted, draw what their own code draws from the same numbers.

expected.json holds every third of an 8x8 grid of pixels, as pytorch-pretrained-biggan 0.1.1 and the public BigBiGAN
conversion drew them from the weights of published.py.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from factory.gan.importing.bigbigan import import_bigbigan
from factory.gan.importing.biggan import imagenet_names, import_biggan
from factory.generators.networks import build
from factory.generators.networks.tensors import load_into
from manifests.errors import UserError
from tests.factory.generators.networks.published import bigbigan_state, biggan_config, biggan_state, drawn

EXPECTED = json.loads((Path(__file__).parent / "expected.json").read_text())
IDS = torch.tensor([1, 7, 4])
PSI = torch.tensor([1.0, 0.4, 0.5])


def published(folder: Path, config: dict[str, Any]) -> Path:
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config))
    torch.save(biggan_state(config), folder / "pytorch_model.bin")
    return folder


def opened(folder: Path) -> Any:
    described = json.loads((folder / "generator.json").read_text())
    network: Any = build(described["family"], described["arguments"])
    load_into(network, load_file(folder / described["weights"]), str(folder))
    return network.requires_grad_(False)


@pytest.fixture(scope="module")
def biggan(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A narrow BigGAN-deep of 128 px, converted."""
    folder = tmp_path_factory.mktemp("biggan")
    import_biggan(published(folder / "in", biggan_config(128)), folder / "out")
    return opened(folder / "out")


@pytest.fixture(scope="module")
def bigbigan(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A narrow BigBiGAN, converted."""
    folder = tmp_path_factory.mktemp("bigbigan")
    torch.save(bigbigan_state(), folder / "in.pth")
    import_bigbigan(folder / "in.pth", folder / "out")
    return opened(folder / "out")


def draw(network: Any, z: torch.Tensor, ids: torch.Tensor | None, psi: torch.Tensor) -> torch.Tensor:
    images: torch.Tensor = network.synthesize(network.map(z, ids, psi), ids, psi)
    return images


def sampled(images: torch.Tensor) -> torch.Tensor:
    step = images.shape[-1] // 8
    return images[:, :, step // 2 + 1 :: step, step // 2 :: step].flatten(1)[:, ::3]


@pytest.mark.parametrize("size_px", [128, 256, 512])
def test_biggan_draws_what_the_published_code_draws(tmp_path: Path, size_px: int) -> None:
    import_biggan(published(tmp_path / "in", biggan_config(size_px)), tmp_path / "out")
    network = opened(tmp_path / "out")
    images = draw(network, drawn("z", 3, 16), IDS, PSI)
    assert network.image_size == (size_px, size_px)
    torch.testing.assert_close(sampled(images), torch.tensor(EXPECTED["biggan"][str(size_px)]), atol=1e-4, rtol=0)


def test_bigbigan_draws_what_the_public_conversion_draws(bigbigan: Any) -> None:
    images = draw(bigbigan, drawn("z", 2, 120), None, torch.ones(2))
    assert (bigbigan.image_size, bigbigan.z_dim, bigbigan.num_classes) == ((128, 128), 120, 0)
    torch.testing.assert_close(sampled(images), torch.tensor(EXPECTED["bigbigan"]), atol=1e-4, rtol=0)


def test_a_row_is_the_same_bits_beside_other_classes_truncations_and_latents(biggan: Any) -> None:
    z = drawn("z", 3, 16)
    one = draw(biggan, z, IDS, PSI)[1]
    changed = draw(biggan, torch.stack([z[2], z[1], z[0]]), torch.tensor([9, 7, 0]), torch.tensor([0.1, 0.4, 0.9]))
    assert torch.equal(one, changed[1])


def test_truncation_moves_the_image_and_moves_it_smoothly(biggan: Any) -> None:
    psi = torch.tensor([0.4, 0.4001, 0.42, 0.9])
    images = draw(biggan, drawn("z", 1, 16).expand(4, -1), torch.ones(4, dtype=torch.int64), psi)
    tiny, step, far = [(images[i] - images[0]).abs().max().item() for i in (1, 2, 3)]
    assert tiny < step / 50
    assert step < far


def test_statistics_lie_on_the_line_between_two_recorded_truncations(biggan: Any) -> None:
    table = biggan.norm.statistics.means
    found = biggan.norm.statistics._at(table, torch.tensor([0.0, 0.4, 0.407, 1.0, 1.5, -1.0]))
    expected = [table[0], table[20], table[20].lerp(table[21], 0.35), table[50], table[50], table[0]]
    torch.testing.assert_close(found, torch.stack(expected), atol=1e-6, rtol=1e-5)


def test_a_gradient_reaches_the_latents(biggan: Any, bigbigan: Any) -> None:
    for network, ids in ((biggan, IDS[:1]), (bigbigan, None)):
        z = drawn("z", 1, network.z_dim).requires_grad_()
        draw(network, z, ids, torch.ones(1)).square().mean().backward()
        assert z.grad is not None
        assert bool((z.grad != 0).all())


def test_half_precision_is_for_gpus_alone(bigbigan: Any) -> None:
    half: Any = build("bigbigan", {"channel_width": 8, "half_layers": 5})
    load_into(half, bigbigan.state_dict(), "itself")
    z = drawn("z", 2, 120)
    assert torch.equal(draw(half, z, None, torch.ones(2)), draw(bigbigan, z, None, torch.ones(2)))


def test_the_thousand_classes_of_imagenet_get_their_names() -> None:
    names = imagenet_names(1000)
    assert names is not None
    assert (len(set(names)), names[0], names[207], names[999]) == (1000, "tench", "golden retriever", "toilet tissue")
    assert imagenet_names(10) is None


def test_given_class_names_stand_in_the_folder(tmp_path: Path) -> None:
    names = [f"thing {i}" for i in range(10)]
    import_biggan(published(tmp_path / "in", biggan_config(128)), tmp_path / "out", names)
    assert json.loads((tmp_path / "out" / "generator.json").read_text())["class_names"] == names


def refusal(tmp_path: Path, folder: Path, names: list[str] | None = None) -> str:
    with pytest.raises(UserError) as caught:
        import_biggan(folder, tmp_path / "out", names)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()
    return str(caught.value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"layers": [[True, 16, 16]]}, "attention_layer_position 8 is none of the 1 layers"),
        ({"channel_width": 10**9}, "expected a number of at most"),
        ({"layers": 7}, "arguments of biggan: layers"),
        ({"attention_layer_position": "8x"}, "attention_layer_position"),
        ({"class_embed_dim": 4}, "class_embed_dim 4, expected z_dim, 16"),
        ({"colour": 1}, "unknown keys colour"),
        ({"num_classes": 11}, "embedding.weight has shape (10, 16), expected (11, 16)"),
    ],
)
def test_a_config_that_does_not_fit_is_refused_in_one_line(tmp_path: Path, change: dict[str, Any], told: str) -> None:
    folder = published(tmp_path / "in", biggan_config(128))
    (folder / "config.json").write_text(json.dumps(biggan_config(128) | change))
    assert told in refusal(tmp_path, folder)


def test_lost_singular_vectors_are_refused(tmp_path: Path) -> None:
    folder, state = published(tmp_path / "in", biggan_config(128)), biggan_state(biggan_config(128))
    del state["generator.gen_z.weight_v"]
    torch.save(state, folder / "pytorch_model.bin")
    assert "generator.gen_z lacks the singular vectors" in refusal(tmp_path, folder)


def test_too_few_class_names_and_a_folder_that_is_taken_are_refused(tmp_path: Path) -> None:
    folder = published(tmp_path / "in", biggan_config(128))
    assert "2 class names, expected 10" in refusal(tmp_path, folder, ["a", "b"])
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="already there"):
        import_biggan(folder, tmp_path / "taken")


def test_a_conditional_generator_is_no_bigbigan(tmp_path: Path) -> None:
    torch.save(bigbigan_state() | {"shared.weight": drawn("other", 10, 128)}, tmp_path / "in.pth")
    with pytest.raises(UserError, match="its classes differ, so it is a conditional BigGAN"):
        import_bigbigan(tmp_path / "in.pth", tmp_path / "out")


def test_any_other_table_is_no_bigbigan(tmp_path: Path) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2)}, tmp_path / "in.pth")
    with pytest.raises(UserError, match="no BigBiGAN generator in the known PyTorch layout"):
        import_bigbigan(tmp_path / "in.pth", tmp_path / "out")
