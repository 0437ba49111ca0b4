"""NVIDIA's pickles become folders that draw the same images; what ours cannot draw is refused by name."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from factory.gan.discriminator import Discriminator
from factory.gan.importing.nvidia import import_pickle
from factory.generators.networks import build
from manifests.errors import UserError
from tests.factory.gan.importing import official_layout as layout
from tests.factory.gan.importing import official_networks as official


def loaded(folder: Path) -> Any:
    described = json.loads((folder / "generator.json").read_text())
    network = build(described["family"], described["arguments"])
    network.load_state_dict(load_file(folder / described["weights"]), strict=True)
    return network


@torch.no_grad()
def drawn(network: Any) -> torch.Tensor:
    z, psi = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)), torch.ones(3)
    classes = torch.tensor([0, 2, 1]) if network.num_classes else None
    return network.synthesize(network.map(z, classes, psi), classes, psi, network.constant_noise())


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_stylegan2_keeps_every_image(tmp_path: Path, protocol: int) -> None:
    network, pickled = official.stylegan2()
    with torch.no_grad():
        network.mapping.w_avg.normal_()
        network.blocks[0].convolutions[0].noise_strength.fill_(0.5)
    import_pickle(layout.write(tmp_path / "n.pkl", official.whole(pickled), protocol), tmp_path / "out")
    network.blocks[0].convolutions[0].conv_clamp = 256.0
    assert torch.equal(drawn(loaded(tmp_path / "out")), drawn(network))


def test_stylegan3_keeps_every_image(tmp_path: Path) -> None:
    network, pickled = official.stylegan3()
    import_pickle(layout.write(tmp_path / "n.pkl", official.whole(pickled)), tmp_path / "out")
    assert torch.equal(drawn(loaded(tmp_path / "out")), drawn(network))
    described = json.loads((tmp_path / "out" / "generator.json").read_text())
    assert described["family"] == "stylegan3"
    assert described["arguments"]["half_layers"] == 4
    assert described["arguments"]["conv_clamp"] == 256


def test_what_training_goes_on_with_comes_along(tmp_path: Path) -> None:
    (network, pickled), (judge, pickled_judge) = official.stylegan2(), official.discriminator()
    _, average = official.stylegan2(seed=9)
    data = official.whole(pickled, pickled_judge) | {"G_ema": average}
    import_pickle(layout.write(tmp_path / "n.pkl", data), tmp_path / "out")
    described = json.loads((tmp_path / "out" / "generator.json").read_text())
    assert described["arguments"]["half_layers"] == 1
    assert described["licence"].startswith("NVIDIA")
    again = Discriminator(**described["discriminator"])
    again.load_state_dict(load_file(tmp_path / "out" / "training" / "D.safetensors"), strict=True)
    images, classes = torch.randn(4, 3, 16, 16), torch.tensor([0, 1, 2, 0])
    assert torch.equal(again(images, classes), judge(images, classes))
    kept = load_file(tmp_path / "out" / "training" / "G.safetensors")
    assert all(torch.equal(kept[name], value) for name, value in network.state_dict().items())
    assert not torch.equal(
        load_file(tmp_path / "out" / "generator.safetensors")["mapping.embed.weight"], kept["mapping.embed.weight"]
    )


def test_the_average_alone_is_enough(tmp_path: Path) -> None:
    _, pickled = official.stylegan2()
    import_pickle(layout.write(tmp_path / "n.pkl", {"G_ema": pickled}), tmp_path / "out")
    assert not (tmp_path / "out" / "training").exists()


def refused(tmp_path: Path, pickled: Any, told: str) -> None:
    with pytest.raises(UserError, match=told) as error:
        import_pickle(layout.write(tmp_path / "n.pkl", pickled), tmp_path / "out")
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(str(tmp_path / "n.pkl"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"architecture": "orig"}, "architecture"),
        ({"img_channels": 1}, "img_channels of the generator: expected 3"),
        ({"attention": True}, "attention of the generator is not known"),
        ({"mapping_kwargs": {"num_layers": 2, "layer_features": 99}}, "layer_features of the mapping network"),
        ({"w_dim": 2**40}, "w_dim of the generator: expected a whole number"),
        ({"w_dim": 1000}, "has shape"),
        ({"img_resolution": 32}, "without synthesis.b32"),
        ({"img_resolution": 17}, "power of two"),
        ({"z_dim": True}, "z_dim"),
        ({"z_dim": "8"}, "z_dim"),
        ({"mapping_kwargs": [1]}, "mapping_kwargs"),
        ({"mapping_kwargs": {"num_layers": 3}}, "mapping.layers.2"),
        ({"resample_filter": [1, 1]}, "is not the filter"),
        ({"\x1b[31m": 1}, r"\\x1b"),
    ],
)
def test_a_generator_that_ours_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    refused(tmp_path, {"G_ema": official.stylegan2(**changes)[1]}, told)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"filter_size": 4096}, "filter_size"),
        ({"conv_kernel": 2**20}, "weights, expected at most"),
        ({"first_cutoff": 4.0}, "is not the filter|not those of its arguments|has shape"),
        ({"num_critical": 9}, "critical_layers"),
        ({"num_layers": 10**9}, "num_layers"),
        ({"first_stopband": float("nan")}, "first_stopband"),
    ],
)
def test_a_stylegan3_that_ours_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    refused(tmp_path, {"G_ema": official.stylegan3(**changes)[1]}, told)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"architecture": "skip"}, "architecture of the discriminator: expected resnet or orig"),
        ({"epilogue_kwargs": {"mbstd_group_size": 10**9}}, "mbstd_group_size"),
        ({"mapping_kwargs": {"num_layers": 10**6}}, "mapping_layers"),
        ({"cmap_dim": 5}, "has shape"),
    ],
)
def test_a_discriminator_that_ours_cannot_be_is_refused(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    refused(tmp_path, official.whole(official.stylegan2()[1], official.discriminator(**changes)[1]), told)


def test_tensors_that_share_their_numbers_do_not_multiply(tmp_path: Path) -> None:
    _, pickled = official.stylegan2(widths={"channel_base": 1024, "channel_max": 64})
    blocks = pickled.meta["state"]["_modules"]["synthesis"].meta["state"]["_modules"]
    layers = [layer for block in blocks.values() for layer in block.meta["state"]["_modules"].values()]
    parameters = [layer.meta["state"]["_parameters"] for layer in layers]
    wide = [table for table in parameters if table["weight"].shape[2:] == (3, 3)]
    for table in wide:
        table["weight"] = wide[0]["weight"]
    refused(tmp_path, {"G_ema": pickled}, "weigh more than the file: some share their numbers")


def test_other_files_are_told_from_network_pickles(tmp_path: Path) -> None:
    refused(tmp_path, {"weights": [1, 2]}, "holds no network G_ema")
    refused(tmp_path, [1, 2], "holds no network G_ema")
    refused(tmp_path, {"G_ema": np.float64(1)}, "holds no network G_ema")
    refused(tmp_path, {"G_ema": layout.Persistent("Other", {})}, "Other without synthesis")
    with pytest.raises(UserError, match="no such file"):
        import_pickle(tmp_path / "absent.pkl", tmp_path / "out")


def test_a_folder_that_holds_something_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="already there"):
        import_pickle(official.snapshot(tmp_path / "n.pkl"), tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["thesis.txt"]
