import copy
from types import SimpleNamespace

import pytest
import torch

from manifests.errors import UserError
from tests.trainer.objectives.tiny import FACTS, config_of, inputs_of, objective_of
from trainer.begin import begin_with
from trainer.config import OptimizerConfig
from trainer.export import export
from trainer.optimizers import build_optimizer, groups_of, set_learning_rate
from trainer.state import TrainingState

NAMES = ("adamw", "sgd", "lars", "muon")


def ids(parameters):
    return sorted(id(parameter) for parameter in parameters)


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
@pytest.mark.parametrize("case", ["synclr", "clip", "moco", "cmc"])
def test_every_trainable_parameter_is_in_one_group(case, layer_decay):
    objective = objective_of(config_of(case))
    groups = groups_of(objective, OptimizerConfig(layer_decay=layer_decay, weight_decay=0.1))
    assert ids(p for group in groups for p in group["params"]) == ids(
        p for p in objective.parameters() if p.requires_grad
    )
    for group in groups:
        assert group["weight_decay"] in (0.0, 0.1)
        if group["weight_decay"]:
            assert all(p.ndim > 1 for p in group["params"])


def test_early_layers_learn_slower_and_heads_at_the_full_rate():
    objective = objective_of(config_of("stablerep"))
    optimizer = build_optimizer(objective, OptimizerConfig(layer_decay=0.5), 1.0)
    set_learning_rate(optimizer, 0.8)
    rate = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    backbone = objective.encoder.backbone
    stem, block, norm = backbone.patch_embed.proj.weight, backbone.blocks[0].mlp.fc1.weight, backbone.norm.weight
    assert [rate[id(p)] for p in (stem, block, norm)] == pytest.approx(
        [0.8 / 2, 0.8, 0.8]
    )  # timm counts the last norm to the last block
    assert all(rate[id(p)] == 0.8 for p in objective.head.parameters())


def two_steps(**settings):
    """A weight that begins at 2 and has the gradient 3, before and after."""
    weight = torch.nn.Parameter(torch.tensor([[2.0]], dtype=torch.float64))
    alone = SimpleNamespace(param_groups=lambda decay: [{"params": [weight], "weight_decay": decay}])
    optimizer, seen = build_optimizer(alone, OptimizerConfig(weight_decay=0.1, **settings), 9.0), [2.0]
    for _ in range(2):
        set_learning_rate(optimizer, 0.5)
        weight.grad = torch.tensor([[3.0]], dtype=torch.float64)
        optimizer.step()
        seen.append(weight.item())
    return seen


def test_steps_of_adamw_and_sgd_by_hand():
    zero, one, two = two_steps(name="adamw", betas=(0.9, 0.98))
    ratio = 3.0 / (3.0 + 1e-8)  # of the first two moments, without their bias
    assert one == pytest.approx(zero * (1 - 0.5 * 0.1) - 0.5 * ratio, abs=1e-14)
    assert two == pytest.approx(one * (1 - 0.5 * 0.1) - 0.5 * ratio, abs=1e-14)
    zero, one, two = two_steps(name="sgd", momentum=0.9)
    first = 3.0 + 0.1 * zero  # the decay is a part of the gradient
    assert one == pytest.approx(zero - 0.5 * first, abs=1e-14)
    assert two == pytest.approx(one - 0.5 * (0.9 * first + 3.0 + 0.1 * one), abs=1e-14)


@pytest.mark.parametrize("layer_decay", [1.0, 0.5])
@pytest.mark.parametrize("name", NAMES)
def test_every_optimizer_goes_on_from_its_state_bit_for_bit(name, layer_decay):
    optimizer = {"name": name, "layer_decay": layer_decay, "warmup_images": 0}
    config = config_of("stablerep", optimizer=optimizer)
    whole, other = TrainingState(config, torch.device("cpu"), FACTS), TrainingState(config, torch.device("cpu"), FACTS)

    def step(state, number):
        inputs = inputs_of(state.objective, config, seed=number)
        loss, _ = state.objective(inputs._replace(crops=tuple(crop.float() for crop in inputs.crops)))
        loss.backward()
        assert state.step(loss) is not None

    before = [p.detach().clone() for p in whole.objective.parameters()]
    for number in range(3):
        step(whole, number)
    assert all(not torch.equal(a, b) for a, b in zip(before, whole.objective.parameters(), strict=True) if b.ndim > 1)
    other.load(whole.images_seen, copy.deepcopy(whole.state_dict()))  # as a file would hold it
    for state in (whole, other):
        step(state, 3)
    pairs = zip(whole.objective.parameters(), other.objective.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("cache_groups", [None, 3])
def test_half_precision_scales_the_loss_and_steps_back_after_an_overflow(cache_groups):
    from accelerate import Accelerator

    from trainer.pretrain import backward

    config = config_of("stablerep", precision="float16", cache_groups=cache_groups)
    state = TrainingState(config, torch.device("cpu"), FACTS)
    inputs = inputs_of(state.objective, config)
    inputs = inputs._replace(crops=tuple(crop.float() for crop in inputs.crops))
    accelerator, before = Accelerator(cpu=True), [p.detach().clone() for p in state.objective.parameters()]
    loss, _ = backward(state.objective, state, inputs, 1, accelerator)
    assert state.scaler.get_scale() == 65536
    assert state.step(loss) is not None
    assert any(not torch.equal(a, b) for a, b in zip(before, state.objective.parameters(), strict=True))
    loss, _ = backward(state.objective, state, inputs, 1, accelerator)
    next(state.objective.parameters()).grad.fill_(torch.inf)
    assert state.step(loss) is None
    assert state.scaler.get_scale() == 32768


def test_a_run_begins_with_an_exports_weights_in_student_and_slow_copy(tmp_path):
    source, objective = objective_of(config_of("stablerep"), seed=3).float(), objective_of(config_of("moco")).float()
    export(source, tmp_path / "export", {})
    head = objective.head[0].weight.clone()
    begin_with(objective, tmp_path / "export")
    for name, value in source.encoder.backbone.state_dict().items():
        assert torch.equal(objective.encoder.backbone.state_dict()[name], value)
        assert torch.equal(objective.teacher["encoder"].backbone.state_dict()[name], value)
    assert torch.equal(objective.head[0].weight, head)
    other = objective_of(config_of("stablerep", encoder={"backbone": "resnet10t"}))
    with pytest.raises(UserError, match=r"init: .* holds a vit_tiny_patch16_224 that is not this encoder"):
        begin_with(other, tmp_path / "export")
