"""StyleGAN2's generator: what its rows depend on, what truncation and noise do, and that it can be trained."""

import pytest
import torch

from factory.generators.networks.protocol import LatentNetwork
from factory.generators.networks.resampling import doubled, halved, low_pass
from factory.generators.networks.stylegan2 import Generator

SMALL = {"resolution": 16, "z_dim": 8, "w_dim": 12, "channel_base": 128, "channel_max": 16, "mapping_layers": 2}


def network(**changes: object) -> Generator:
    torch.manual_seed(7)
    built = Generator(**(SMALL | changes)).eval().requires_grad_(False)  # type: ignore[arg-type]
    built.mapping.w_avg.normal_()
    for block in built.blocks:
        for layer in block.convolutions:
            if layer.noise_strength is not None:
                layer.noise_strength.fill_(0.3)
    return built


def latents(n: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))


def draw(
    built: LatentNetwork, z: torch.Tensor, class_ids: torch.Tensor | None = None, psi: float = 1.0
) -> torch.Tensor:
    psis = torch.full((len(z),), psi)
    return built.synthesize(built.map(z, class_ids, psis), class_ids, psis, built.constant_noise())


def test_images_have_the_size_it_names_and_are_float32() -> None:
    built = network()
    images = draw(built, latents(2))
    assert images.shape == (2, 3, *built.image_size) == (2, 3, 16, 16)
    assert images.dtype == torch.float32
    assert built.num_layers == 6
    assert built.noise_shapes == ((4, 4), (8, 8), (8, 8), (16, 16), (16, 16))


def test_a_row_depends_on_that_row_alone() -> None:
    built = network(num_classes=3)
    z, classes = latents(4), torch.tensor([0, 1, 2, 0])
    other = torch.cat([z[:1], latents(3, seed=5)])
    assert torch.equal(draw(built, z, classes)[0], draw(built, other, classes)[0])


def test_psi_truncates_row_by_row_and_only_before_the_cutoff() -> None:
    built = network()
    z, psi = latents(3), torch.tensor([1.0, 0.5, 0.0])
    whole = built.map(z, None, torch.ones(3))
    some = built.map(z, None, psi, 2)
    mean = built.mapping.w_avg
    assert torch.equal(some[0], whole[0])
    torch.testing.assert_close(some[1, :2], (whole[1, :2] + mean) / 2)
    assert torch.equal(some[2, :2], mean.expand(2, -1))
    assert torch.equal(some[:, 2:], whole[:, 2:])


def test_classes_change_the_image_only_of_a_conditional_network() -> None:
    built = network(num_classes=3)
    z = latents(1)
    assert not torch.equal(draw(built, z, torch.tensor([0])), draw(built, z, torch.tensor([2])))


def test_noise_is_what_the_caller_gives_per_row_or_none() -> None:
    built = network()
    z, psi = latents(2), torch.ones(2)
    ws = built.map(z, None, psi)
    noise = [torch.randn(2, 1, h, w) for h, w in built.noise_shapes]
    images = built.synthesize(ws, None, psi, noise)
    one = built.synthesize(ws[1:], None, psi[1:], [rows[1:] for rows in noise])
    torch.testing.assert_close(images[1:], one, atol=1e-5, rtol=1e-5)
    silent = built.synthesize(ws, None, psi, None)
    assert torch.equal(silent, built.synthesize(ws, None, psi, [torch.zeros_like(rows) for rows in noise]))
    assert (images - silent).abs().max() > 1e-3


def test_a_network_without_noise_has_no_noise_to_give() -> None:
    built = network(use_noise=False)
    assert built.noise_shapes == ()
    assert built.constant_noise() is None


def test_style_mixing_takes_coarse_layers_from_one_and_fine_ones_from_another() -> None:
    built = network()
    psi = torch.ones(1)
    first, second = (built.map(latents(1, seed), None, psi) for seed in (1, 2))
    mixed = torch.cat([first[:, :5], second[:, 5:]], dim=1)
    images = [built.synthesize(ws, None, psi) for ws in (first, mixed, second)]
    assert (images[0] - images[1]).abs().max() > 1e-4
    assert (images[1] - images[2]).abs().max() > 1e-4


def test_rows_may_be_cropped() -> None:
    whole, cropped = network(), network(crop_rows=(2, 14))
    assert cropped.image_size == (12, 16)
    assert torch.equal(draw(cropped, latents(1)), draw(whole, latents(1))[:, :, 2:14])


def test_clamping_bounds_what_the_colours_add() -> None:
    assert draw(network(conv_clamp=0.01), latents(1)).abs().max() <= 0.01 * 3 + 1e-6


def test_images_can_be_differentiated_twice_in_z() -> None:
    built = network()
    z = latents(2).requires_grad_()
    images = draw(built, z)
    (first,) = torch.autograd.grad(images.square().sum(), z, create_graph=True)
    (second,) = torch.autograd.grad(first.square().sum(), z)
    assert second.abs().max() > 0
    assert torch.isfinite(second).all()


def test_resampling_keeps_a_constant_away_from_the_border_and_its_mean() -> None:
    kernel = low_pass([1, 3, 3, 1])
    ones = torch.ones(1, 2, 8, 8)
    torch.testing.assert_close(doubled(ones, kernel)[:, :, 1:-1, 1:-1], torch.ones(1, 2, 14, 14))
    torch.testing.assert_close(halved(ones, kernel)[:, :, 1:-1, 1:-1], torch.ones(1, 2, 2, 2))


@pytest.mark.parametrize("resolution", [0, 3, 48])
def test_other_resolutions_than_powers_of_two_are_refused(resolution: int) -> None:
    with pytest.raises(ValueError, match=f"resolution {resolution}: expected a power of two"):
        network(resolution=resolution)


@pytest.mark.parametrize("rows", [(8, 4), (-1, 4), (0, 17)])
def test_rows_outside_of_the_image_are_refused(rows: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="crop_rows"):
        network(crop_rows=rows)


@pytest.mark.parametrize("taps", [[1], [1, 2, 1], [1, 2, 3, 4], [1, -1, -1, 1]])
def test_filters_that_would_shift_the_image_are_refused(taps: list[int]) -> None:
    with pytest.raises(ValueError, match="resample_filter"):
        network(resample_filter=taps)
