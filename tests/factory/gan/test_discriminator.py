"""StyleGAN2's discriminator: its shapes, its groups, its classes, and R1's second derivative."""

import torch

from factory.gan.discriminator import Discriminator


def network(**changes: object) -> Discriminator:
    torch.manual_seed(3)
    arguments = {"resolution": 16, "channel_base": 128, "channel_max": 16, "mapping_layers": 2} | changes
    return Discriminator(**arguments)  # type: ignore[arg-type]


def images(n: int) -> torch.Tensor:
    return torch.randn(n, 3, 16, 16, generator=torch.Generator().manual_seed(n))


def test_each_image_gets_one_logit() -> None:
    assert network()(images(8)).shape == (8,)
    assert network(num_classes=4)(images(8), torch.arange(8) % 4).shape == (8,)
    assert network(architecture="orig", num_classes=4, mapping_layers=0)(images(8), torch.arange(8) % 4).shape == (8,)


def test_the_class_matters_to_a_conditional_one() -> None:
    built = network(num_classes=2)
    a, b = (built(images(4), torch.full((4,), k)) for k in (0, 1))
    assert (a - b).abs().max() > 1e-4


def test_an_image_is_judged_with_its_group_and_no_other() -> None:
    built = network(group_images=2)
    before = built(images(4))  # groups are images 0 and 2, 1 and 3
    changed = images(4)
    changed[3] = 0
    after = built(changed)
    torch.testing.assert_close(before[[0, 2]], after[[0, 2]], atol=1e-6, rtol=0)
    assert (before[1] - after[1]).abs() > 1e-6


def test_without_statistics_every_image_stands_alone() -> None:
    built = network(statistics_channels=0)
    torch.testing.assert_close(built(images(4))[:1], built(images(4)[:1]), atol=1e-5, rtol=0)


def test_the_penalty_on_its_gradient_reaches_every_weight() -> None:
    built = network(num_classes=2)
    real = images(4).requires_grad_()
    (slope,) = torch.autograd.grad(built(real, torch.tensor([0, 1, 0, 1])).sum(), real, create_graph=True)
    slope.square().sum().backward()
    missing = [name for name, p in built.named_parameters() if name.endswith("weight") and p.grad is None]
    assert not missing
