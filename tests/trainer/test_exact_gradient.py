"""Every objective's gradient, by a real DDP step over several processes and by parts, is that of one plain process."""

import pytest
import torch
from torch.nn.parallel import DistributedDataParallel

import learning.losses
import trainer.objectives.siglip
from learning.gather import all_gather, rank, world_size
from manifests.errors import UserError
from tests.distributed.harness import run_processes
from tests.trainer.objectives.tiny import OBJECTIVES, VIT, config_of, inputs_of, objective_of
from trainer.cached import cached_backward, check_cacheable
from trainer.distributed import of_first_rank

GROUPS = 8
# one prompt on several ranks; rank 0's anchors have more positives than the others', some have none
IDS = (5, 9, 5, 7, 5, 1, 2, 7)
LABELS = (1, 1, 1, -1, 2, -1, 3, -1)
CASES = [case for case in OBJECTIVES if case != "synclr"]  # with patches: below, where masks are drawn alike
TOLERANCE = 1e-10


def no_autocast():
    return torch.autocast("cpu", enabled=False)


def flat(values):
    return torch.cat([value.detach().flatten() for value in values])


def exact_gradient(objective):
    """All of it but that of position embeddings which timm resamples, in float32, for small crops."""
    is_resampled = any(crop.size_px != objective.crops[0].size_px for crop in objective.crops if not crop.grid)
    named = [(name, p.grad) for name, p in objective.named_parameters() if p.grad is not None]
    return flat([gradient for name, gradient in named if not (is_resampled and name.endswith("pos_embed"))])


def whole_inputs(objective, config):
    return inputs_of(objective, config, ids=IDS, labels=LABELS)


def own_part(inputs):
    groups = GROUPS // world_size()
    return inputs.part(slice(rank() * groups, (rank() + 1) * groups))


def step(case, cache_groups):
    """The logged loss, the gradient, and what is neither weight nor gradient after the step."""
    config = config_of(case, groups=GROUPS)
    objective = objective_of(config)
    inputs = own_part(whole_inputs(objective, config))
    model = DistributedDataParallel(objective) if world_size() > 1 and cache_groups is None else objective
    torch.manual_seed(1 + 10 * rank())  # only rank 0's draws may matter
    if cache_groups is None:
        loss, report = model(inputs)
        loss.backward()
    else:
        _, report = cached_backward(objective, inputs, cache_groups, 2, no_autocast)
    objective.after_step(16)
    gradient = exact_gradient(objective)
    held = flat([torch.zeros(1), *(v.double().nan_to_num() for v in objective.buffers())])
    return {"loss": report["loss"].double(), "gradient": gradient, "held": held}


def steps(cases, cache_groups):
    return {case: step(case, cache_groups) for case in cases}


def steps_in_chunks(cases, cache_groups):
    """With a few logits at a time, so that every rank's rows are cut, and the last chunk is smaller."""
    learning.losses.CHUNK_LOGITS, trainer.objectives.siglip.CHUNK_ROWS = 100, 3
    return steps(cases, cache_groups)


@pytest.fixture(scope="module")
def alone():
    return steps(CASES, None)


def assert_equal(found, expected):
    for case, wanted in expected.items():
        for name, value in wanted.items():
            difference = (found[case][name] - value).abs().max() / value.abs().max().clamp(min=1e-12)
            assert difference <= TOLERANCE, (case, name, float(difference))


@pytest.mark.parametrize("world", [2, 4])
def test_a_step_of_several_processes_is_that_of_one(alone, world):
    for found in run_processes(world, steps, CASES, None, timeout_s=300):
        assert_equal(found, alone)


@pytest.mark.parametrize(("world", "cache_groups"), [(2, 3), (4, None)])
def test_a_loss_in_chunks_is_that_of_the_whole_on_any_number_of_processes(alone, world, cache_groups):
    for found in run_processes(world, steps_in_chunks, CASES, cache_groups, timeout_s=300):
        assert_equal(found, alone)


@pytest.mark.parametrize("cache_groups", [1, 3, 8])
def test_a_step_by_parts_is_that_of_the_whole(alone, cache_groups):
    assert_equal(steps(CASES, cache_groups), alone)


@pytest.mark.parametrize(("world", "cache_groups"), [(2, 3), (4, 1)])
def test_parts_on_several_processes_are_exact_as_well(alone, world, cache_groups):
    for found in run_processes(world, steps, CASES, cache_groups, timeout_s=300):
        assert_equal(found, alone)


def masked_step(cache_groups):
    """A step of SynCLR with patches: masks that are a function of the image, whoever holds it."""
    import trainer.objectives.synclr as synclr

    config = config_of("synclr", groups=GROUPS)
    objective = objective_of(config)
    everything = whole_inputs(objective, config)

    def of_images(images, patches, **shares):
        rows = [int((everything.crops[0][0] == image).flatten(1).all(dim=1).nonzero()) for image in of_images.crops]
        return torch.tensor([[row % 3 != 0 and (row + patch) % 2 == 0 for patch in range(patches)] for row in rows])

    inputs = own_part(everything)
    encoder = objective._teacher_encoder.backbone
    encoder.patch_embed.register_forward_pre_hook(lambda module, args: setattr(of_images, "crops", args[0]))
    drawn, synclr.draw_mask = synclr.draw_mask, of_images
    try:
        model = DistributedDataParallel(objective) if world_size() > 1 and cache_groups is None else objective
        if cache_groups is None:
            model(inputs)[0].backward()
        else:
            cached_backward(objective, inputs, cache_groups, 2, no_autocast)
    finally:
        synclr.draw_mask = drawn
    return {"": {"gradient": exact_gradient(objective)}}


def test_masked_patches_are_exact_over_processes_and_parts():
    whole = masked_step(None)
    for found in run_processes(2, masked_step, None) + run_processes(2, masked_step, 3) + [masked_step(3)]:
        assert_equal(found, whole)


def dropping(cache_groups):
    """Both passes of a step by parts, with dropout, drop path and masks: the parts' features as they were seen."""
    vit = {**VIT, "arguments": {**VIT["arguments"], "drop_path_rate": 0.5, "proj_drop_rate": 0.3}}
    config = config_of("synclr", groups=GROUPS, encoder=vit, objective={**OBJECTIVES["synclr"], "local_crops": 0})
    objective = objective_of(config)
    seen = []
    features = objective.features
    objective.features = lambda part: seen.append(features(part)) or seen[-1]
    cached_backward(objective, whole_inputs(objective, config), cache_groups, 2, no_autocast)
    return seen


def test_dropout_and_masks_are_drawn_alike_in_both_passes():
    seen = dropping(3)
    first, second = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(first) == 3
    for before, after in zip(first, second, strict=True):
        assert all(torch.equal(one, other) for one, other in zip(before, after, strict=True))
    kept = {tuple(part[2][0].flatten().tolist()) for part in first[:2]}
    assert len(kept) == 2  # but every part has masks of its own


@pytest.mark.parametrize("case", ["moco", "mocov3", "pirl", "byol", "infomin"])
def test_steps_by_parts_keep_no_graph_of_earlier_ones(case):
    config = config_of(case, groups=GROUPS)
    objective = objective_of(config)
    for number in range(3):
        cached_backward(objective, whole_inputs(objective, config), 3, number + 2, no_autocast)
        objective.after_step(16 * (number + 1))
    assert not any(value.requires_grad for value in objective.buffers())


def test_a_scaled_step_by_parts_has_a_scaled_gradient():
    found = []
    for scale in (1.0, 1024.0):
        config = config_of("stablerep", groups=GROUPS)
        objective = objective_of(config)
        loss, _ = cached_backward(objective, whole_inputs(objective, config), 3, 2, no_autocast, scale)
        found.append((loss, flat([p.grad for p in objective.parameters()])))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1] * 1024, found[1][1])


def test_parts_of_a_backbone_that_normalises_over_the_batch_are_refused_in_one_line():
    config = config_of("stablerep", encoder={"backbone": "resnet10t", "size_px": 32})
    with pytest.raises(UserError, match=r"cache_groups: resnet10t normalises over the batch .*; take a") as error:
        check_cacheable(objective_of(config))
    assert "\n" not in str(error.value)
    check_cacheable(objective_of(config_of("stablerep")))


def one_prompt(ids_by_rank):
    """The share of anchors with a positive, from a gradient that is 0 without any."""
    config = config_of("stablerep", groups=4)
    objective = objective_of(config)
    ids = torch.tensor(ids_by_rank[rank()])
    inputs = inputs_of(objective, config, ids=range(2 * world_size()), labels=[0] * 2 * world_size())
    inputs = inputs.part(slice(2 * rank(), 2 * rank() + 2))._replace(ids=ids, views=1)
    loss, _ = objective(inputs)
    loss.backward()
    return {"loss": all_gather(loss.detach()[None]), "gradient": flat([p.grad for p in objective.parameters()])}


def test_the_same_prompt_on_two_ranks_is_a_positive():
    apart = run_processes(2, one_prompt, [[1, 2, 3, 4], [5, 6, 7, 8]])
    shared = run_processes(2, one_prompt, [[1, 2, 3, 4], [5, 6, 7, 1]])
    assert all(part["loss"].abs().sum() == 0 and part["gradient"].abs().max() == 0 for part in apart)
    assert all((part["loss"] > 0).all() and part["gradient"].abs().max() > 0 for part in shared)


def first_draw():
    torch.manual_seed(rank())
    return {"own": torch.randperm(50), "shared": of_first_rank(torch.randperm(50))}


def test_what_rank_0_draws_reaches_all():
    parts = run_processes(2, first_draw)
    assert not torch.equal(parts[0]["own"], parts[1]["own"])
    assert torch.equal(parts[0]["shared"], parts[1]["shared"])


def shuffled_keys():
    """Keys of a backbone with batch norm, of the same images on each rank."""
    from trainer.objectives.shuffle import through_shuffled

    torch.manual_seed(3 + rank())
    norm = torch.nn.BatchNorm1d(4, affine=False).double()
    images = torch.arange(32, dtype=torch.float64).view(8, 4).square() * (1 + rank())
    seen = []
    network = lambda rows: seen.append(rows) or torch.cat([rows, norm(rows)], dim=1)  # noqa: E731
    rows = through_shuffled(network, images)
    return {"came_back": torch.equal(rows[:, :4], images), "seen": seen[0], "images": images}


def test_shuffled_keys_are_normalised_among_other_ranks_images_and_come_back_in_order():
    parts = run_processes(2, shuffled_keys)
    assert all(part["came_back"] for part in parts)
    for part in parts:
        own = {tuple(row) for row in part["images"].tolist()}
        assert 0 < sum(tuple(row) in own for row in part["seen"].tolist()) < 8
