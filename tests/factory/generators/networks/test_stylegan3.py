"""StyleGAN3's generator: its filters, its equivariance to shifts and turns, and what its rows depend on."""

import numpy as np
import pytest
import torch

from factory.generators.networks.alias_free import filtered_lrelu, low_pass, radial_low_pass
from factory.generators.networks.bands import plan_bands
from factory.generators.networks.stylegan3 import Generator, transform_matrix

SMALL = {"resolution": 32, "z_dim": 8, "w_dim": 12, "channel_base": 256, "channel_max": 16, "layers": 6}
TURNING = {"conv_kernel": 1, "use_radial_filters": True}


def network(**changes: object) -> Generator:
    torch.manual_seed(7)
    return Generator(**(SMALL | changes)).eval().requires_grad_(False)  # type: ignore[arg-type]


def latents(n: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, 8, generator=torch.Generator().manual_seed(seed))


def draw(built: Generator, z: torch.Tensor, class_ids: torch.Tensor | None = None, **move: float) -> torch.Tensor:
    psi = torch.ones(len(z))
    transforms = transform_matrix(**move).expand(len(z), 3, 3) if move else None
    return built.synthesize(built.map(z, class_ids, psi), class_ids, psi, transforms=transforms)


def test_images_have_the_size_it_names_and_are_float32() -> None:
    built = network()
    images = draw(built, latents(2))
    assert images.shape == (2, 3, *built.image_size) == (2, 3, 32, 32)
    assert images.dtype == torch.float32
    assert built.num_layers == 8
    assert built.noise_shapes == ()
    assert built.constant_noise() is None


@pytest.mark.parametrize("kind", [{}, TURNING])
def test_a_row_depends_on_that_row_alone(kind: dict[str, object]) -> None:
    built = network(num_classes=3, **kind)
    z, classes = latents(4), torch.tensor([0, 1, 2, 0])
    other = torch.cat([z[:1], 5 * latents(3, seed=5)])
    assert torch.equal(draw(built, z, classes)[0], draw(built, other, classes)[0])


def test_classes_change_the_image_of_a_conditional_network() -> None:
    built = network(num_classes=3)
    assert not torch.equal(draw(built, latents(1), torch.tensor([0])), draw(built, latents(1), torch.tensor([2])))


def test_a_shift_moves_the_image_right_and_down() -> None:
    built = network()
    still, moved = draw(built, latents(1)), draw(built, latents(1), right=4 / 32, down=2 / 32)
    inner = slice(8, 24)
    error = (moved[:, :, inner, inner] - still[:, :, 6:22, 4:20]).square().mean()
    assert error < 1e-3 * still.var()


def test_the_turning_network_turns_clockwise() -> None:
    built = network(**TURNING)
    still, turned = draw(built, latents(1)), draw(built, latents(1), clockwise_degrees=90)
    torch.testing.assert_close(turned, still.rot90(-1, dims=(2, 3)), atol=1e-4 * float(still.abs().max()), rtol=0)


def test_without_a_transform_the_stored_one_holds() -> None:
    built = network()
    expected = draw(built, latents(1), right=0.1)
    built.input.transform.copy_(transform_matrix(right=0.1))
    assert torch.equal(draw(built, latents(1)), expected)


def test_images_can_be_differentiated_in_z() -> None:
    built = network()
    z = latents(2).requires_grad_()
    (slope,) = torch.autograd.grad(draw(built, z).square().sum(), z)
    assert torch.isfinite(slope).all()
    assert slope.abs().max() > 0


@pytest.mark.parametrize(("taps", "cutoff", "transition", "rate"), [(12, 4.0, 5.0, 64), (24, 2.0, 9.3, 64)])
def test_the_separable_filter_is_kaisers(taps: int, cutoff: float, transition: float, rate: int) -> None:
    signal = pytest.importorskip("scipy.signal")
    expected = signal.firwin(taps, cutoff, width=transition, fs=rate)
    ours = low_pass(taps, cutoff=cutoff, transition=transition, rate=rate)
    np.testing.assert_allclose(ours.numpy(), expected, atol=1e-7)


def test_the_radial_filter_is_a_windowed_jinc() -> None:
    special, signal = pytest.importorskip("scipy.special"), pytest.importorskip("scipy.signal")
    at = (np.arange(12) - 5.5) / 64
    radius = np.sqrt(at[:, None] ** 2 + at[None] ** 2)
    window = np.kaiser(12, signal.kaiser_beta(signal.kaiser_atten(12, 12.0 / 32)))
    assert window.min() < 0.5
    expected = special.j1(2 * np.pi * 4 * radius) / radius * window[:, None] * window[None]
    ours = radial_low_pass(12, cutoff=4.0, transition=12.0, rate=64)
    np.testing.assert_allclose(ours.numpy(), expected / expected.sum(), atol=1e-7)


def reference(
    x: np.ndarray, up: np.ndarray, down: np.ndarray, factors: tuple[int, int], pad: tuple[int, int]
) -> np.ndarray:
    """Zeros between samples, zeros around, filter, curve, filter, every so many: one channel, in float64."""
    wide = np.zeros([size * factors[0] for size in x.shape])
    wide[:: factors[0], :: factors[0]] = x
    wide = np.pad(wide, [[max(p, 0) for p in pad]] * 2)
    wide = wide[tuple(slice(max(-pad[0], 0), size - max(-pad[1], 0)) for size in wide.shape)]
    for axis in (0, 1):
        wide = np.apply_along_axis(np.convolve, axis, wide, up * factors[0], "valid")
    wide = np.clip(np.sqrt(2) * np.where(wide > 0, wide, 0.2 * wide), -1.5, 1.5)
    for axis in (0, 1):
        wide = np.apply_along_axis(np.convolve, axis, wide, down, "valid")
    return wide[:: factors[1], :: factors[1]]


@pytest.mark.parametrize("factors", [(2, 2), (4, 2), (2, 1)])
@pytest.mark.parametrize("padding", [(9, 8), (14, 15), (-3, -2), (9, -4), (-3, 12)])
def test_the_filtered_curve_is_what_its_definition_says(factors: tuple[int, int], padding: tuple[int, int]) -> None:
    rng = np.random.default_rng(3)
    x, up, down = rng.normal(size=(2, 13, 13)), rng.normal(size=6 * factors[0]), rng.normal(size=4)
    up, down = up + up[::-1], down + down[::-1]
    expected = np.stack([reference(one, up, down, factors, padding) for one in x])
    filters = (torch.from_numpy(up).double(), torch.from_numpy(down).double())
    ours = filtered_lrelu(torch.from_numpy(x)[None], *filters, factors=factors, padding=padding, limit=1.5)
    np.testing.assert_allclose(ours[0].numpy(), expected, atol=1e-9)
    square = filtered_lrelu(
        torch.from_numpy(x)[None],
        filters[0],
        filters[1].outer(filters[1]),
        factors=factors,
        padding=padding,
        limit=1.5,
    )
    np.testing.assert_allclose(square[0].numpy(), expected, atol=1e-9)


def test_bands_grow_geometrically_up_to_the_critical_layers() -> None:
    bands = plan_bands(256, 14, 2, 2.0, (2**2.1, 2**0.3), 10, (32768, 512))
    cutoffs = [band.cutoff for band in bands]
    assert cutoffs[0] == 2
    assert cutoffs[-3:] == [128, 128, 128]
    np.testing.assert_allclose(np.diff(np.log(cutoffs[:13])), np.log(64) / 12)
    assert [band.rate for band in bands] == [16] * 3 + [32] * 2 + [64] * 2 + [128] * 3 + [256] * 5
    assert [band.size for band in bands][-3:] == [276, 256, 256]
    assert bands[-1].channels == 3


@pytest.mark.parametrize(
    "changes", [{"resolution": 48}, {"critical_layers": 6}, {"filter_size": 0}, {"filter_size": 999}, {"layers": 99}]
)
def test_layouts_that_cannot_be_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="expected"):
        network(**changes)
