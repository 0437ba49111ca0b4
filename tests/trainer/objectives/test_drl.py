"""What DRL shows its encoder and its net, and what it says of its codes."""

import pytest
import torch

from learning.augment.draws import uniform
from tests.trainer.objectives.tiny import NET, OBJECTIVES, config_of, inputs_of, objective_of
from trainer.objectives.coded import MIX


@pytest.fixture
def of_settings():
    """An objective and its inputs for changed settings, restored afterwards."""

    def build(case="drl", **changes):
        config = config_of(case, objective={**OBJECTIVES[case], **changes})
        objective = objective_of(config)
        return objective, inputs_of(objective, config)

    return build


def test_mixup_shows_two_groups_and_counts_the_one_that_is_denoised_by_its_share(of_settings):
    objective, inputs = of_settings(mixup=True)
    seen = []
    objective.encoder.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    images = inputs.crops[0][0]
    share = uniform(objective.seeds(inputs), MIX, 1)[:, 0]
    expected = [share[i] * images[i] + (1 - share[i]) * images[(i - inputs.views) % len(images)] for i in range(8)]
    features = objective.features(inputs)
    assert torch.allclose(seen[0], torch.stack(expected))

    objective.settings = objective.settings.model_copy(update={"weight": 0.0})
    loss, report = objective.loss(features, inputs)
    codes = objective.code(features[0][0])
    plain = objective.plain_losses(codes, inputs, slice(None))
    assert loss.item() == pytest.approx((2 * share * plain).mean().item())
    assert report["plain_loss"].item() == pytest.approx(plain.mean().item())


def test_mixups_shares_are_one_on_average(of_settings):
    objective, inputs = of_settings(mixup=True)
    many = inputs._replace(images=torch.arange(20_000))
    assert objective.shares(many).mean().item() == pytest.approx(1, abs=0.02)
    assert of_settings()[0].shares(many) is None


@pytest.mark.parametrize("case", ["drl", "autoencoder"])
def test_the_gap_is_what_another_groups_code_costs(of_settings, case):
    objective, inputs = of_settings(case)
    features = objective.features(inputs)
    _, report = objective.loss(features, inputs)
    codes = objective.code(features[0][0])
    others = codes[[6, 7, 0, 1, 2, 3, 4, 5]]  # two views a group
    own, theirs = (objective.plain_losses(one, inputs, slice(None)).mean() for one in (codes, others))
    assert report["code_gap"].item() == pytest.approx((theirs - own).item())
    assert report["code_gap"].abs() > 1e-6
    torch.nn.init.zeros_(objective.net.codes.weight)
    _, blind = objective.loss(features, inputs)
    assert blind["code_gap"].item() == pytest.approx(0, abs=1e-12)


def test_an_image_draws_its_time_and_noise_by_its_number_wherever_it_stands(of_settings):
    objective, inputs = of_settings()
    codes = torch.randn(8, NET["dimensions"], dtype=torch.float64)
    whole = objective.plain_losses(codes, inputs, slice(None))
    part = inputs.part(slice(1, 3))
    assert torch.equal(objective.times(part), objective.times(inputs)[2:6])
    assert torch.allclose(objective.plain_losses(codes[2:6], part, slice(None)), whole[2:6])
    later = inputs._replace(images=inputs.images + 8)  # the same pixels in another epoch
    assert not torch.isclose(objective.times(later), objective.times(inputs)).any()
    other = objective_of(config_of("drl", seed=1))
    assert not torch.isclose(other.times(inputs), objective.times(inputs)).any()


def test_levels_of_sigma_dwell_where_the_noise_is_strong(of_settings):
    many = torch.arange(40_000)
    found = {}
    for levels in ("time", "sigma"):
        objective, inputs = of_settings(levels=levels)
        times = objective.times(inputs._replace(images=many))
        found[levels] = objective.sde.kernel(times)[1].median().item()
    assert found["time"] == pytest.approx((0.01 * 50) ** 0.5, rel=0.1)
    assert found["sigma"] == pytest.approx(25, rel=0.05)
