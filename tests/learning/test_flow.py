"""The pixel-wise flow against what defines it: exact inverses, and the determinant of the true Jacobian."""

import pytest
import torch
from torch.autograd.functional import jacobian

from learning.bands import channel_views, frequency_views
from learning.flow import FlowShape, PixelFlow, Rotation

SHAPES = [FlowShape("additive", 4, 16), FlowShape("affine", 4, 16), FlowShape("affine", 7, 8)]


def flow_of(shape, seed=0, strength=0.1):
    """A flow far from the identity, as after a long training."""
    torch.manual_seed(seed)
    flow = PixelFlow(shape)
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(strength * torch.randn_like(parameter))
    return flow


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_images_come_back_to_1e_5_in_float32_and_more_closely_in_float64(shape, seed):
    images = torch.rand(4, 3, 9, 7, generator=torch.Generator().manual_seed(seed)) * 2 - 1
    flow = flow_of(shape, seed)
    views = flow(images)[0]
    assert (views - images).abs().max() > 0.1
    assert (flow.inverse(views) - images).abs().max() <= 1e-5
    flow, images = flow_of(shape, seed, strength=0.5).double(), images.double()
    assert (flow.inverse(flow(images)[0]) - images).abs().max() <= 1e-11


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_the_log_determinant_is_that_of_autograds_jacobian(shape):
    flow = flow_of(shape).double()
    images = torch.rand(2, 3, 2, 3, dtype=torch.float64)
    _, found = flow(images)
    for image, value in zip(images, found, strict=True):
        matrix = jacobian(lambda x: flow(x[None])[0].flatten(), image).view(18, 18)
        assert value.item() == pytest.approx(torch.linalg.slogdet(matrix).logabsdet.item(), abs=1e-10)
    if shape.coupling == "additive":
        assert found.abs().max() == 0
    else:
        assert found.abs().min() > 1e-3


def test_a_pixel_goes_by_its_own_colour_alone():
    flow = flow_of(SHAPES[1])
    images = torch.rand(1, 3, 4, 4)
    other = images.clone()
    other[:, :, 2, 3] = 0.25
    moved = (flow(images)[0] - flow(other)[0]).abs().amax(dim=(0, 1)) > 1e-7
    assert moved.nonzero().tolist() == [[2, 3]]


def test_it_begins_as_the_identity_and_every_parameter_can_learn():
    flow = PixelFlow(SHAPES[1])
    images = torch.rand(2, 3, 4, 4)
    views = flow(images)[0]
    assert torch.equal(views, images)
    views.square().sum().backward()
    assert all(p.grad.isfinite().all() for p in flow.parameters())
    flow = flow_of(SHAPES[1])
    views, log_determinant = flow(images)
    (views.square().sum() + log_determinant.sum()).backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in flow.parameters())


def test_a_rotation_keeps_lengths_and_orientation():
    rotation = Rotation().double()
    with torch.no_grad():
        rotation.angles.copy_(torch.tensor([0.3, -1.2, 2.0]))
    matrix = rotation.matrix()
    assert torch.allclose(matrix @ matrix.T, torch.eye(3, dtype=torch.float64), atol=1e-12)
    assert torch.linalg.det(matrix).item() == pytest.approx(1.0, abs=1e-12)
    a, b, c = rotation.angles.tolist()
    skew = torch.tensor([[0, -c, b], [c, 0, -a], [-b, a, 0]], dtype=torch.float64)
    assert torch.allclose(matrix, torch.linalg.matrix_exp(skew), atol=1e-12)


def test_half_precision_around_it_does_not_cost_the_inverse():
    flow, images = flow_of(SHAPES[1]), torch.rand(2, 3, 4, 4)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        views = flow(images)[0]
        assert views.dtype == torch.float32
        assert (flow.inverse(views) - images).abs().max() <= 1e-5


def test_bands_add_up_and_channels_lie_side_by_side():
    images = torch.rand(3, 3, 12, 12)
    low, high = frequency_views(images, 1.5)
    assert torch.allclose(low + high, images, atol=1e-6)
    assert low.var(dim=(2, 3)).mean() < 0.3 * images.var(dim=(2, 3)).mean()
    assert high.mean(dim=(2, 3)).abs().max() < 0.1
    assert torch.equal(torch.cat(channel_views(images), dim=1), images)
