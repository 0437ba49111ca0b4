"""The min-max game of learned views: everybody's gradient, the guard, and what is said of views that hide too much."""

import math

import pytest
import torch

from manifests.errors import UserError
from tests.trainer.objectives import references as ref
from tests.trainer.objectives.tiny import FACTS, VIT, inputs_of
from trainer.config import RunConfig
from trainer.data_facts import DataFacts
from trainer.objectives import build_objective
from trainer.optimizers import build_optimizer, set_learning_rate
from trainer.view_warnings import view_warnings

HEAD = {"hidden": 12, "dimensions": 6}


def config_of(*, split="flow", flow=None, **objective):
    encoder = {**VIT, "split": split, "flow": flow or {"hidden": 4}}
    values = {"images": 800, "batch_images": 8, "data": {"views": 2}, "encoder": encoder, "augmentation": "none"}
    return RunConfig.model_validate({**values, "objective": {"name": "learned_views", **HEAD, **objective}})


def game_of(config, *, seed=0, has_begun=True):
    """An objective whose flow is no identity any more; where it has begun, the encoders find more than enough."""
    torch.manual_seed(seed)
    objective = build_objective(config, FACTS).double()
    with torch.no_grad():
        for parameter in objective.cut.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    if has_begun:
        objective.running_nats.fill_(1.0)
        objective.has_begun.fill_(True)
    return objective


def parts_of(objective, inputs):
    """Both losses by the equations, without any sign turned."""
    p = dict(objective.named_parameters())
    views = objective.cut(inputs.crops[0][0])
    backbone, tau = objective.encoder.backbone, (-objective.logit_scale).exp()
    one = ref.unit(ref.mlp(p, "heads.0", backbone.first(views[:, :1])))
    two = ref.unit(ref.mlp(p, "heads.1", backbone.others(views[:, 1:])))
    ids = inputs.images
    hiding = (ref.mean_nce(one, two, ids, ids, tau) + ref.mean_nce(two, one, ids, ids, tau)) / 2
    judges, labels = objective.judges, 0.0
    if judges is not None:
        of_both = judges.backbone.first(views[:, :1]), judges.backbone.others(views[:, 1:])
        for number, features in enumerate(of_both):
            name = f"judges.classifiers.{number}"
            rows = torch.log_softmax(features @ p[f"{name}.weight"].T + p[f"{name}.bias"], dim=1)
            losses = [-row[y] for row, y in zip(rows, inputs.labels.tolist(), strict=True) if y >= 0]
            labels = labels + sum(losses) / len(losses)
    return hiding, labels


def gradients(loss, parameters):
    found = torch.autograd.grad(loss, parameters, allow_unused=True, retain_graph=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(parameters, found, strict=True)]


@pytest.mark.parametrize(
    "weights", [(1.0, 1.0), (0.5, 2.0), (1.0, 0.0), (0.0, 1.0)], ids=["semi", "weighted", "unsupervised", "supervised"]
)
def test_encoders_find_what_the_flow_hides_and_labels_pull_the_flow_back(weights):
    of_hiding, of_labels = weights
    config = config_of(information_weight=of_hiding, label_weight=of_labels)
    objective = game_of(config)
    inputs = inputs_of(objective, config)
    hiding, labels = parts_of(objective, inputs)
    flow = list(objective.cut.parameters())
    others = [p for p in objective.parameters() if not any(p is one for one in flow)]
    expected = gradients(hiding + of_labels * labels, others)
    pulled = gradients(of_labels * labels, flow) if of_labels else [torch.zeros_like(p) for p in flow]
    wanted = [pull - of_hiding * hide for pull, hide in zip(pulled, gradients(hiding, flow), strict=True)]

    loss, report = objective(inputs)
    loss.backward()

    assert loss.item() == pytest.approx((hiding + of_labels * labels).item(), rel=1e-12)
    assert report["i_nce_nats"].item() == pytest.approx(math.log(8) - hiding.item(), rel=1e-9)
    for parameter, gradient in zip([*others, *flow], [*expected, *wanted], strict=True):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-9, atol=1e-13)
    assert max(p.grad.abs().max() for p in flow) > 1e-6


@pytest.mark.parametrize(
    ("nats", "has_begun", "direction"), [(0.6, False, 0), (0.6, True, 1), (0.4, False, 0), (0.4, True, -1)]
)
def test_the_flow_hides_after_the_head_start_and_gives_way_below_the_floor(nats, has_begun, direction):
    config = config_of(least_nats=0.5)
    objective = game_of(config)
    objective.running_nats.fill_(nats)
    objective.has_begun.fill_(has_begun)
    inputs = inputs_of(objective, config)
    hiding, labels = parts_of(objective, inputs)
    flow = list(objective.cut.parameters())
    wanted = gradients(labels - direction * hiding, flow)
    loss, report = objective(inputs)
    loss.backward()
    assert report["over_shrunk"].item() == report["gives_way"].item() == (direction < 0)
    assert all(torch.allclose(p.grad, g, rtol=1e-9, atol=1e-13) for p, g in zip(flow, wanted, strict=True))


def test_the_head_start_ends_with_its_share_of_the_run_whatever_the_encoders_found():
    objective = game_of(config_of(head_start=0.25), has_begun=False)  # of 800 images
    objective._nats = torch.tensor(9.0)
    objective.after_step(192)
    assert not objective.has_begun
    assert objective.running_nats.item() == pytest.approx(0.9)
    objective.after_step(200)
    assert objective.has_begun
    assert game_of(config_of(head_start=0), has_begun=False).has_begun


def stepped(objective, config, images):
    """The flow's weights after each step of eight images."""
    optimizer = build_optimizer(objective, config.optimizer, config.learning_rate)
    inputs, found = inputs_of(objective, config), []
    for seen in images:
        optimizer.zero_grad()
        objective(inputs)[0].backward()
        assert all(p.grad is not None for p in objective.parameters())  # several processes wait for every gradient
        optimizer.step()
        objective.after_step(seen)
        found.append(torch.cat([p.detach().flatten() for p in objective.cut.parameters()]))
    return found


def test_without_labels_the_flow_stays_where_it_is_until_the_head_start_is_over_a_resumed_one_too():
    config = config_of(label_weight=0.0, head_start=0.02)  # 16 of 800 images
    objective = game_of(config, has_begun=False)
    before = torch.cat([p.detach().flatten() for p in objective.cut.parameters()])
    first, second, third = stepped(objective, config, (8, 16, 24))
    assert torch.equal(first, before)
    assert torch.equal(second, before)
    assert not torch.equal(third, before)
    resumed = game_of(config, seed=3, has_begun=False)
    resumed.load_state_dict(objective.state_dict())
    assert resumed.has_begun
    assert torch.equal(resumed.pressure(), objective.pressure())


def test_only_a_fixed_share_of_things_shows_its_label_all_views_of_one_alike():
    config = config_of(label_fraction=0.5)
    objective = game_of(config)
    inputs = inputs_of(objective, config, ids=tuple(range(100)), labels=(1,) * 100)
    shown = objective._labels(inputs)
    assert 30 < (shown[::2] >= 0).sum() < 70
    assert torch.equal(shown[::2], shown[1::2])
    assert torch.equal(shown, game_of(config, seed=5)._labels(inputs))


def test_the_flow_has_a_rate_of_its_own_and_no_decay():
    config = config_of(flow_rate=0.25)
    objective = game_of(config)
    optimizer = build_optimizer(objective, config.optimizer, config.learning_rate)
    set_learning_rate(optimizer, 0.1)
    flow = {id(p) for p in objective.cut.parameters()}
    grouped = [(id(p), group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]]
    assert sorted(one for one, _, _ in grouped) == sorted(id(p) for p in objective.parameters())
    assert {(rate, decay) for one, rate, decay in grouped if one in flow} == {(0.025, 0.0)}
    assert {rate for one, rate, _ in grouped if one not in flow} == {0.1}


def test_what_the_game_remembers_is_part_of_a_checkpoint_and_the_flow_is_there_once():
    objective = game_of(config_of())
    names = list(objective.state_dict())
    assert {"running_nats", "has_begun"} <= set(names)
    assert sum(name.endswith("last.angles") for name in names) == 1


def grey(count, seed):
    """Drawings of which every channel says the same: a rotation can leave one of the two views blank."""
    draw = torch.Generator().manual_seed(seed)
    coarse = torch.rand(count, 1, 4, 4, generator=draw) * 2 - 1
    noise = 0.2 * torch.randn(count, 3, 16, 16, generator=draw)  # of every channel's own: what is faint is lost in it
    return torch.nn.functional.interpolate(coarse, size=16) + noise


def played(config, steps=100):
    """The last report and the mean of each number over the second half, as a window's line of metrics holds them."""
    torch.manual_seed(0)
    objective = build_objective(config, DataFacts(classes=4))
    optimizer = build_optimizer(objective, config.optimizer, config.learning_rate)
    set_learning_rate(optimizer, 3e-3)
    reports = []
    for step in range(steps):
        inputs = inputs_of(objective, config, ids=range(16), labels=(-1,) * 16)
        objective_inputs = inputs._replace(crops=(grey(32, step)[None],))
        loss, report = objective(objective_inputs)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        objective.after_step(32 * (step + 1))
        reports.append({name: float(value) for name, value in report.items()})
    late = reports[steps // 2 :]
    return {name: sum(one[name] for one in late) / len(late) for name in late[0]}


def test_views_that_hide_everything_are_named_and_the_guard_keeps_them_from_it():
    free = played(config_of(label_weight=0.0, flow_rate=10.0, least_nats=1.0, guard=False))
    guarded = played(config_of(label_weight=0.0, flow_rate=10.0, least_nats=1.0))
    assert free["over_shrunk"] > 0.5
    assert free["gives_way"] == 0
    assert free["i_nce_nats"] < 0.7 < guarded["i_nce_nats"]
    assert 0 < guarded["gives_way"] < 0.9
    (warning,) = view_warnings(free)
    assert warning.startswith(f"over-shrunk views: I_NCE {free['i_nce_nats']:.2f} nats, below objective.least_nats")
    assert "the flow goes on hiding" in warning
    assert "the flow gives way" in view_warnings({**free, "gives_way": 0.9})[0]


def test_a_healthy_window_and_one_before_the_encoders_know_anything_are_not_warned_of():
    assert view_warnings({"loss": 1.0}) == []
    assert view_warnings({"over_shrunk": 0.0, "gives_way": 0.0, "i_nce_nats": 0.0, "inversion_error": 1e-7}) == []
    assert "inverse is off by 2.0e-03" in view_warnings({"inversion_error": 2e-3})[0]


@pytest.mark.parametrize("coupling", ["additive", "affine"])
def test_training_keeps_the_inverse_exact(coupling):
    config = config_of(label_weight=0.0, flow_rate=3.0, flow={"coupling": coupling, "hidden": 8})
    assert played(config, steps=30)["inversion_error"] <= 1e-5


def test_what_cannot_be_learned_is_said():
    with pytest.raises(UserError, match=r"set encoder\.split=flow"):
        build_objective(config_of(split="rgb"), FACTS)
    with pytest.raises(UserError, match=r"data have 0 of them; set objective.label_weight=0"):
        build_objective(config_of(), DataFacts())
    with pytest.raises(ValueError, match="expected one above it"):
        config_of(information_weight=0, label_weight=0)
    with pytest.raises(ValueError, match=r"encoder.split is flow; set encoder.flow.weights"):
        RunConfig.model_validate({"encoder": {"split": "flow"}, "objective": {"name": "simclr"}})
