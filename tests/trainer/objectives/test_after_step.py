"""What no gradient moves: slow copies, queue, bank and clamp; and that a checkpoint holds all of it."""

import copy
import math

import pytest
import torch

from learning.ema import Ema
from manifests.errors import UserError
from tests.trainer.objectives.tiny import FACTS, OBJECTIVES, config_of, inputs_of, objective_of
from trainer.objectives import build_objective
from trainer.objectives.queue import KeyQueue
from trainer.state import TrainingState

CPU = torch.device("cpu")
SLOW = {
    "moco": lambda share: 0.9,
    "infomin": lambda share: 0.9,
    "mocov3": lambda share: 1 - 0.1 * (math.cos(math.pi * share) + 1) / 2,
    "byol": lambda share: 1 - 0.1 * (math.cos(math.pi * share) + 1) / 2,
    "synclr": lambda share: 1 - 0.006 * (math.cos(math.pi * share) + 1) / 2,
}
LEAST_VIEWS = {"stablerep": 2, "stablerep_text": 2, "synclr": 2}


def sgd_step(objective, inputs, images_seen):
    torch.manual_seed(images_seen)
    loss, _ = objective(inputs)
    objective.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)  # losses that are summed over pixels have large ones
    with torch.no_grad():
        for parameter in objective.parameters():
            if parameter.grad is not None:
                parameter -= 0.05 * parameter.grad
    objective.after_step(images_seen)
    return loss.detach()


@pytest.mark.parametrize("images_seen", [8, 400, 800, 900])
@pytest.mark.parametrize("case", SLOW)
def test_the_slow_copy_moves_by_its_momentum(case, images_seen):
    objective = objective_of(config_of(case))
    before = {name: p.detach().clone() for name, p in objective.teacher.named_parameters()}
    objective.after_step(images_seen)
    momentum, students = SLOW[case](min(images_seen / 800, 1)), dict(objective.named_parameters())
    for name, parameter in objective.teacher.named_parameters():
        student = students[name.removeprefix("modules_by_name.")]
        wanted = momentum * before[name] + (1 - momentum) * student
        assert torch.allclose(parameter, wanted, rtol=0, atol=1e-15), name
        assert not parameter.requires_grad


def test_a_fresh_slow_copy_is_the_student():
    for case in SLOW:
        torch.manual_seed(0)
        objective = build_objective(config_of(case), FACTS)
        students = dict(objective.named_parameters())
        for name, parameter in objective.teacher.named_parameters():
            assert torch.equal(parameter, students[name.removeprefix("modules_by_name.")])


@pytest.mark.parametrize("case", ["moco", "moco of groups", "infomin"])
def test_the_queue_takes_this_batchs_keys_and_ids_where_the_oldest_lie(case):
    config = config_of(case)
    objective = objective_of(config)
    expected_keys, expected_ids = objective.queue.keys.clone(), objective.queue.ids.clone()
    place = 0
    for step in range(4):  # 4 · 8 keys in 20 places: around the end
        inputs = inputs_of(objective, config, seed=step)
        with torch.no_grad():
            rows = objective.teacher["head"](objective.teacher["encoder"](inputs.crops[0][1]))
        ids = inputs.ids if "groups" in case else inputs.images
        objective(inputs)
        assert torch.equal(objective.queue.keys, expected_keys)  # not before the step is taken
        objective.after_step(8 * (step + 1))
        for row, number in zip(rows, ids, strict=True):
            expected_keys[place], expected_ids[place] = row / row.norm(), number
            place = (place + 1) % 20
        assert torch.allclose(objective.queue.keys, expected_keys, rtol=0, atol=1e-14)
        assert objective.queue.ids.tolist() == expected_ids.tolist()
        assert objective.queue.start == place
        expected_keys = objective.queue.keys.clone()
        assert not objective.queue.keys.requires_grad


def test_fresh_queue_rows_have_ids_that_no_image_has():
    queue = KeyQueue(50, 4)
    assert len(queue.ids.unique()) == 50
    assert queue.ids.max() < 0
    assert torch.allclose(queue.keys.norm(dim=1), torch.ones(50))


def test_the_bank_moves_half_way_to_the_images_embeddings():
    config = config_of("pirl")
    objective = objective_of(config)
    inputs = inputs_of(objective, config)
    before = objective.bank.clone()
    with torch.no_grad():
        rows = objective.head(objective.encoder(inputs.crops[0][0]))
    objective(inputs)
    assert torch.equal(objective.bank, before)
    objective.after_step(8)
    moved = before.clone()
    for place, row in zip(inputs.rows.tolist(), rows, strict=True):
        half = (before[place] + row / row.norm()) / 2
        moved[place] = half / half.norm()
    assert torch.allclose(objective.bank, moved, rtol=0, atol=1e-14)
    assert (objective.bank != before).any(dim=1).sum() == 8


def test_an_image_that_is_twice_in_a_batch_moves_its_entry_once_by_the_later_one():
    config = config_of("pirl")
    objective = objective_of(config)
    inputs = inputs_of(objective, config)
    rows = torch.tensor([7, 3, 7, 5, 3, 7, 9, 1])
    before = objective.bank.clone()
    with torch.no_grad():
        embeddings = objective.head(objective.encoder(inputs.crops[0][0]))
    objective(inputs._replace(rows=rows))
    objective.after_step(8)
    for row, last in {7: 5, 3: 4, 5: 3, 9: 6, 1: 7}.items():
        half = (before[row] + embeddings[last] / embeddings[last].norm()) / 2
        assert torch.allclose(objective.bank[row], half / half.norm(), rtol=0, atol=1e-14)
    assert (objective.bank != before).any(dim=1).sum() == 5


@pytest.mark.parametrize("case", ["clip", "siglip", "stablerep_text"])
def test_the_logits_scale_is_held_at_a_hundred(case):
    objective = objective_of(config_of(case))
    with torch.no_grad():
        objective.logit_scale.fill_(9.0)
    objective.after_step(8)
    assert objective.logit_scale.exp().item() == pytest.approx(100)
    with torch.no_grad():
        objective.logit_scale.fill_(-2.0)
    objective.after_step(8)
    assert objective.logit_scale.item() == -2.0


@pytest.mark.parametrize("case", OBJECTIVES)
def test_a_checkpoint_holds_everything_that_the_next_steps_need(case):
    config = config_of(case)
    objective, other = objective_of(config), objective_of(config, seed=1)
    for step in range(3):
        sgd_step(objective, inputs_of(objective, config, seed=step), 8 * (step + 1))
    other.load_state_dict({name: value.clone() for name, value in objective.state_dict().items()})
    for step in range(3, 5):
        inputs = inputs_of(objective, config, seed=step)
        losses = [sgd_step(one, inputs, 8 * (step + 1)) for one in (objective, other)]
        assert torch.equal(*losses)
    ours, theirs = objective.state_dict(), other.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())


@pytest.mark.parametrize("case", OBJECTIVES)
def test_an_average_is_a_module_of_its_own(case):
    config = config_of(case)
    objective = objective_of(config)
    sgd_step(objective, inputs_of(objective, config), 8)
    average = Ema(objective_of(config))
    average.update(objective, 0.5)
    own = {p.data_ptr() for p in objective.state_dict().values() if p.numel()}
    assert not own & {p.data_ptr() for p in average.module.state_dict().values() if p.numel()}
    before = copy.deepcopy(average.state_dict())
    sgd_step(objective, inputs_of(objective, config, seed=1), 16)
    assert all(torch.equal(value, before[name]) for name, value in average.state_dict().items())


def test_a_mask_on_the_copy_acts_on_the_copy_alone():
    config = config_of("synclr")
    objective = objective_of(config)
    inputs = inputs_of(objective, config)
    copied = Ema(objective).module
    large = inputs.crops[0][0]
    mask = torch.ones(len(large), 4, dtype=torch.bool)
    with torch.no_grad():
        plain, _ = objective.mask.tokens(objective.encoder, large, None)
        copied.mask.token.fill_(0.7)
        masked, _ = copied.mask.tokens(copied.encoder, large, mask)
        assert torch.allclose(masked, masked[:1].expand_as(masked))  # all patches alike: no image is left
        assert not torch.allclose(masked, plain)
        copied.mask.mask = mask
        assert torch.equal(objective.encoder(large), plain)
        copied.mask.mask = None
        objective.mask.mask = mask
        assert torch.equal(copied.encoder(large), plain)
        assert not torch.equal(objective.encoder(large), plain)


def test_the_mask_ends_with_the_features_even_where_they_fail():
    objective = objective_of(config_of("synclr"))
    with pytest.raises(RuntimeError):
        objective.mask.tokens(objective.encoder, torch.zeros(2, 3, 16, 16).double(), torch.ones(2, 9).bool())
    assert objective.mask.mask is None


@pytest.mark.parametrize("case", ["moco", "infomin", "pirl", "byol", "synclr", "clip"])
def test_a_skipped_step_leaves_everything_as_it_was(case):
    config = config_of(case, ema_half_life_images=100)
    state = TrainingState(config, CPU, FACTS)
    objective = state.objective

    def step(seed, spoil):
        inputs = inputs_of(objective, config, seed=seed)
        loss, _ = objective(inputs._replace(crops=tuple(crop.float() for crop in inputs.crops)))
        loss.backward()
        return state.step(loss * spoil)

    step(0, 1.0)
    before, average = copy.deepcopy(objective.state_dict()), copy.deepcopy(state.ema.state_dict())
    assert step(1, math.nan) is None
    assert all(torch.equal(value, before[name]) for name, value in objective.state_dict().items())
    assert all(torch.equal(value, average[name]) for name, value in state.ema.state_dict().items())
    assert all(p.grad is None for p in objective.parameters())
    assert state.guard.skipped == 1
    assert step(2, 1.0) is not None
    if case == "moco":  # the skipped batch's keys are nowhere
        assert objective.queue.start == 16
        assert set(objective.queue.ids[8:16].tolist()) == set(inputs_of(objective, config, seed=2).images.tolist())


def test_an_image_that_overflows_leaves_no_mark_in_batch_norms_averages():
    """They move in the forward pass, before anything can be skipped; once not finite, they would stay so."""
    convolutions = {"backbone": "resnet10t", "arguments": {"channels": [4, 4, 4, 8], "stem_width": 4}, "size_px": 16}
    config = config_of("moco", encoder=convolutions)
    state, resumed = TrainingState(config, CPU, FACTS), TrainingState(config, CPU, FACTS)

    def step(one, seed, spoil):
        inputs = inputs_of(one.objective, config, seed=seed)
        loss, _ = one.objective(inputs._replace(crops=tuple(crop.float() * spoil for crop in inputs.crops)))
        loss.backward()
        return one.step(loss)

    assert step(state, 0, 1.0) is not None
    resumed.load(state.images_seen, copy.deepcopy(state.state_dict()))
    for one in (state, resumed):
        before = copy.deepcopy(one.objective.state_dict())
        assert step(one, 1, math.inf) is None
        assert all(torch.equal(value, before[name]) for name, value in one.objective.state_dict().items())
        assert step(one, 2, 1.0) is not None
        moved = [name for name, value in one.objective.state_dict().items() if not torch.equal(value, before[name])]
        assert {"encoder.backbone.bn1.running_mean", "head.1.running_var"} <= set(moved)
        assert all(value.isfinite().all() for value in one.objective.state_dict().values())


@pytest.mark.parametrize("case", OBJECTIVES)
def test_the_views_that_are_needed_are_asked_for(case):
    least = LEAST_VIEWS.get(OBJECTIVES[case]["name"], 1)
    assert objective_of(config_of(case)).views_needed == least
    if least > 1:
        with pytest.raises(UserError, match=r"needs 2 or more, data.views is 1"):
            objective_of(config_of(case, views=1))
    else:
        assert objective_of(config_of(case, views=1)).views_needed == 1


@pytest.mark.parametrize(
    "case", ["moco of groups", "mocov3 of groups", "cmc of groups", "simsiam of groups", "byol of groups"]
)
def test_positives_of_groups_and_of_images_are_two_losses(case):
    config, plain = config_of(case), config_of(case.removesuffix(" of groups"))
    objective, other = objective_of(config), objective_of(plain)
    inputs = inputs_of(objective, config)
    other.load_state_dict(objective.state_dict())
    assert objective(inputs)[0].item() != pytest.approx(other(inputs)[0].item(), rel=1e-6)


def test_refusals_say_what_is_missing():
    with pytest.raises(UserError, match=r"cmc compares two parts of the channels; set encoder.split"):
        objective_of(config_of("cmc", encoder={"backbone": "resnet10t"}))
    with pytest.raises(UserError, match=r"iBOT masks patches, which resnet10t has none of"):
        objective_of(config_of("synclr", encoder={"backbone": "resnet10t"}))
    with pytest.raises(UserError, match="the data have 0 of them; expected two or more"):
        build_objective(config_of("supervised"))
