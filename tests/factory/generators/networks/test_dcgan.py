"""DCGAN against a transposed convolution written out in float64, and its rows' independence."""

import itertools

import numpy as np
import pytest
import torch

from factory.generators.networks.dcgan import Generator, Layer
from manifests import seeds

LAYERS = [
    Layer(channels=6, kernel=3, stride=1, padding=0, activation="leaky_relu"),
    Layer(channels=4, kernel=4, stride=2, padding=1, activation="relu"),
    Layer(channels=3, kernel=5, stride=3, padding=2, bias=True, norm="none", activation="tanh"),
]


@pytest.fixture
def network() -> Generator:
    """Two classes, z of 5, 16 px, with every weight drawn."""
    network = Generator(layers=LAYERS, z_dim=5, num_classes=2)
    state = network.state_dict()
    for name, tensor in state.items():
        tensor.copy_(torch.from_numpy(seeds.normal(1, name, tuple(tensor.shape))))
        if name.endswith("running_var"):
            tensor.abs_().add_(0.1)
    return network.requires_grad_(False)


def spread(x: np.ndarray, weight: np.ndarray, stride: int, padding: int) -> np.ndarray:
    """Add up, for each pixel of x [C, h, w], its value times the kernels [C, D, k, k]; then cut the padding off."""
    kernel, (_, height, width) = weight.shape[-1], x.shape
    out = np.zeros((weight.shape[1], (height - 1) * stride + kernel, (width - 1) * stride + kernel))
    for row, column in itertools.product(range(height), range(width)):
        stamp = np.tensordot(x[:, row, column], weight, axes=1)  # [D, k, k]
        out[:, row * stride : row * stride + kernel, column * stride : column * stride + kernel] += stamp
    return out[:, padding : out.shape[1] - padding, padding : out.shape[2] - padding]


def written_out(state: dict[str, np.ndarray], told: np.ndarray) -> np.ndarray:
    activations = (lambda x: np.where(x > 0, x, 0.2 * x), lambda x: np.maximum(x, 0), np.tanh)
    x = told[:, None, None]
    for i, (stride, padding) in enumerate(((1, 0), (2, 1), (3, 2))):
        x = spread(x, state[f"layers.{i}.conv.weight"], stride, padding)
        if i == 2:
            x += state["layers.2.conv.bias"][:, None, None]
        else:
            mean, var, gain, offset = (
                state[f"layers.{i}.norm.{name}"][:, None, None]
                for name in ("running_mean", "running_var", "weight", "bias")
            )
            x = (x - mean) / np.sqrt(var + 1e-5) * gain + offset
        x = activations[i](x)
    return x


def test_it_draws_what_the_layers_say(network: Generator) -> None:
    z, ids, psi = seeds.normal(2, "z", (2, 5)), np.array([1, 0]), torch.ones(2)
    images = network.synthesize(network.map(torch.from_numpy(z), None, psi), torch.from_numpy(ids), psi)
    state = {name: tensor.double().numpy() for name, tensor in network.state_dict().items()}
    expected = [written_out(state, np.concatenate([z[i], np.eye(2)[ids[i]]])) for i in range(2)]
    assert network.image_size == (16, 16)
    np.testing.assert_allclose(images.numpy(), np.stack(expected), atol=1e-5)


def test_a_row_never_sees_its_neighbours_even_in_training_mode(network: Generator) -> None:
    network.train()
    z = torch.from_numpy(seeds.normal(3, "z", (3, 5)))
    one = network.synthesize(z[:, None], torch.tensor([0, 1, 1]), torch.ones(3))[1]
    other = network.synthesize(z.flip(0)[:, None] * 7 - z[1] * 6, torch.tensor([1, 1, 0]), torch.ones(3))[1]
    torch.testing.assert_close(one, other)


def test_a_class_that_is_not_told_is_an_error(network: Generator) -> None:
    with pytest.raises(ValueError, match="class_ids is None"):
        network.synthesize(torch.zeros(1, 1, 5), None, torch.ones(1))
