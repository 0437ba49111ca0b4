import numpy as np
import pytest
import torch

from manifests.errors import UserError
from tests.trainer.processes import overrides
from trainer.config import load_config
from trainer.objectives import build_objective
from trainer.objectives.inputs import Inputs

CONFIG = {name: load_config(name, overrides(batch_images=16)) for name in ("simclr", "stablerep")}


def inputs_of(ids, views=2, crops=()):
    """Inputs whose images are numbered as those of slots from 100 on are."""
    ids = torch.tensor(ids).repeat_interleave(views)
    images = 100 * views + torch.arange(len(ids))
    return Inputs(crops, ids, images, rows=torch.arange(len(ids)), labels=ids, tokens=None, views=views)


def reference_loss(embeddings, ids, temperature):
    """The mean over anchors with a positive of −log softmax, averaged over positives: plain loops in float64."""
    z = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    losses, floors = [], []
    for i in range(len(z)):
        others = [j for j in range(len(z)) if j != i]
        positives = [j for j in others if ids[j] == ids[i]]
        if positives:
            logits = {j: z[i] @ z[j] / temperature for j in others}
            denominator = np.log(sum(np.exp(value) for value in logits.values()))
            losses.append(denominator - np.mean([logits[j] for j in positives]))
            floors.append(np.log(len(positives)))
    return np.mean(losses), np.mean(losses) - np.mean(floors)


def test_simclr_pairs_copies_of_one_image_only():
    objective = build_objective(CONFIG["simclr"])
    ids = objective.target_ids(inputs_of([7, 7, 8]))
    assert [crop.count for crop in objective.crops] == [2]
    assert len(ids.unique()) == 6  # even views of one group, even groups of one prompt, are apart


def test_stablerep_pairs_all_images_of_one_prompt():
    objective = build_objective(CONFIG["stablerep"])
    assert [crop.count for crop in objective.crops] == [1]
    assert objective.target_ids(inputs_of([7, 7, 8])).tolist() == [7, 7, 7, 7, 8, 8]


@pytest.mark.parametrize("ids", [[1, 1, 2, 2, 3, 3], [5, 5, 5, 9, 9, 1]])
@pytest.mark.parametrize("name", ["simclr", "stablerep"])
def test_loss_and_report_equal_an_independent_reference(name, ids):
    objective = build_objective(CONFIG[name])
    objective.head = torch.nn.Identity()
    features = torch.randn(6, 8, generator=torch.Generator().manual_seed(2))
    copies = objective.crops[0].count
    objective.target_ids = lambda inputs: inputs.ids  # what the loss makes of equal ids, whatever the method's are
    inputs = inputs_of(ids[::copies] if copies > 1 else ids, views=1)
    if copies > 1:
        ids = inputs.ids.tolist() * copies
    loss, report = objective.loss((features.view(copies, -1, 8),), inputs)
    expected, above_floor = reference_loss(features.double().numpy(), ids, CONFIG[name].objective.temperature)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    assert report["loss"].item() == pytest.approx(expected, rel=1e-5)
    assert report["loss_minus_log_positives"].item() == pytest.approx(above_floor, abs=1e-5)


def test_the_report_tells_collapse_from_spread():
    objective = build_objective(CONFIG["stablerep"])
    objective.head = torch.nn.Identity()
    ids = torch.arange(64).repeat_interleave(2)
    spread = torch.randn(64, 32).repeat_interleave(2, dim=0)
    inputs = inputs_of(ids.tolist(), views=1)
    _, apart = objective.loss((spread[None],), inputs)
    _, collapsed = objective.loss((torch.ones(1, 128, 32) + 1e-4 * torch.randn(1, 128, 32),), inputs)
    assert apart["alignment"] < 1e-5
    assert apart["feature_std"] > 0.8
    assert collapsed["feature_std"] < 0.01
    assert collapsed["uniformity"] > -0.01 > apart["uniformity"]


def test_a_gradient_reaches_every_trainable_parameter():
    for config in CONFIG.values():
        objective = build_objective(config)
        crops = (torch.randn(objective.crops[0].count, 8, 3, 32, 32),)
        objective(inputs_of([0, 1, 2, 3], crops=crops))[0].backward()
        grouped = {id(p) for group in objective.param_groups(0.1) for p in group["params"]}
        assert all(p.grad is not None and id(p) in grouped for p in objective.parameters())


def test_stablerep_with_one_view_is_refused():
    config = load_config("stablerep", overrides(data__views=1))
    with pytest.raises(UserError, match=r"needs 2 or more, data.views is 1; set data.views"):
        build_objective(config)
