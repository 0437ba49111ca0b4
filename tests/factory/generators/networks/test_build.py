"""Networks from other people's JSON: what is built, and what is refused before it costs anything."""

import time
from typing import Any

import pytest
import torch

from factory.generators.networks import FAMILIES, build
from manifests.errors import UserError

LAYERS = [{"channels": 8, "stride": 1, "padding": 0}, {"channels": 3, "norm": "none", "activation": "tanh"}]
BIGGAN = {"num_classes": 3, "layers": [[True, 2, 1], [False, 1, 1]], "channel_width": 8, "attention_layer_position": 1}
TINY: dict[str, dict[str, Any]] = {
    "stylegan2": {"resolution": 16, "channel_max": 8, "z_dim": 8, "w_dim": 8},
    "stylegan3": {"resolution": 16, "channel_max": 8, "z_dim": 8, "w_dim": 8},
    "biggan": {**BIGGAN, "z_dim": 8},
    "bigbigan": {"z_dim": 12, "channel_width": 8, "multiples": [2, 1, 1], "attention_px": 8},
    "dcgan": {"layers": LAYERS, "z_dim": 5},
}


def refusal(family: str, **arguments: Any) -> str:
    with pytest.raises(UserError) as caught:
        build(family, arguments, "model/generator.json")
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_built_from_plain_json_and_draws_its_size(family: str) -> None:
    network = build(family, TINY[family])
    ids = torch.zeros(2, dtype=torch.int64) if network.num_classes else None
    ws = network.map(torch.zeros(2, network.z_dim), ids, torch.ones(2))
    images = network.synthesize(ws, ids, torch.ones(2))
    assert ws.shape == (2, network.num_layers, network.w_dim)
    assert images.shape == (2, 3, *network.image_size)
    assert images.dtype == torch.float32


def test_an_unknown_family_is_refused_with_the_nearest() -> None:
    assert refusal("bigan") == "model/generator.json: family 'bigan' is unknown; did you mean biggan?"


def test_an_unknown_argument_is_refused_with_the_nearest() -> None:
    assert refusal("biggan", **BIGGAN, zdim=8) == (
        "model/generator.json: arguments of biggan: zdim: unknown key; did you mean z_dim?"
    )


def test_a_missing_argument_is_named() -> None:
    assert "arguments of biggan: num_classes: missing" in refusal("biggan", layers=BIGGAN["layers"])


def test_an_argument_of_another_type_is_named_with_what_was_given() -> None:
    assert "z_dim: got 'wide', expected a valid integer" in refusal("dcgan", layers=LAYERS, z_dim="wide")


@pytest.mark.parametrize(
    ("family", "arguments", "told"),
    [
        ("dcgan", {"layers": LAYERS, "z_dim": 10**12}, "z_dim: got 1000000000000, expected a number of at most"),
        ("dcgan", {"layers": LAYERS * 200}, "layers: 400 entries, expected at most 256"),
        ("dcgan", {"layers": [{"channels": 8192, "kernel": 64}] * 2 + [{"channels": 3}]}, "weights, expected at most"),
        ("dcgan", {"layers": [{"channels": 3, "stride": 16}] * 5}, "px, expected at most 4096 a side"),
        ("biggan", {**BIGGAN, "channel_width": 4096, "layers": [[True, 64, 64]] * 2}, "weights, expected at most"),
        ("bigbigan", {"channel_width": 4096, "multiples": [64, 64, 64, 64, 64, 1]}, "weights, expected at most"),
        ("stylegan2", {"resolution": 2**20, "channel_base": 2**20, "channel_max": 8}, "expected"),
        ("stylegan2", {"resolution": 16, "mapping_layers": float("inf")}, "expected a number of at most"),
        ("stylegan2", {"resolution": 16, "w_dim": 2**16, "mapping_layers": 1000}, "expected"),
    ],
)
def test_sizes_beyond_reason_are_refused_at_once(family: str, arguments: dict[str, Any], told: str) -> None:
    start_s = time.perf_counter()
    assert told in refusal(family, **arguments)
    assert time.perf_counter() - start_s < 10


@pytest.mark.parametrize(
    ("family", "arguments", "told"),
    [
        ("biggan", {**BIGGAN, "layers": [[True, 2, 2], [False, 1, 1]]}, "layer 1 takes 1 multiples of channels"),
        ("biggan", {**BIGGAN, "layers": [[True, 1, 2]]}, "attention_layer_position 1 is none of the 1 layers"),
        ("biggan", {**BIGGAN, "channel_width": 2}, "leaves no channels"),
        ("bigbigan", {"z_dim": 100}, "z_dim 100 cannot be cut into 6 equal chunks"),
        ("bigbigan", {"attention_px": 63}, "attention_px 63 is no size on the way"),
        ("dcgan", {"layers": [{"channels": 1}]}, "the last layer gives 1 channels, expected 3"),
        ("dcgan", {"layers": [{"channels": 3, "kernel": 2, "padding": 1}]}, "layer 0 leaves 0 px"),
    ],
)
def test_parts_that_do_not_fit_each_other_are_refused(family: str, arguments: dict[str, Any], told: str) -> None:
    assert told in refusal(family, **arguments)
