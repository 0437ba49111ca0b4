"""What an objective is handed: every kind of crop of every image, by seeds of the image's own."""

import json

import pytest
import torch

from tests.trainer.data import pixels
from tests.trainer.objectives.tiny import JIGSAW, VIT
from trainer.config import RunConfig, load_config
from trainer.crops import build_inputs
from trainer.data_facts import DataFacts
from trainer.objectives import build_objective
from trainer.stream import Batch

CPU = torch.device("cpu")


def config_of(name, split=None, augmentation="simclr", **more):
    objective = {"name": name, "hidden": 8, "dimensions": 4, **more}
    values = {"images": 80, "batch_images": 6, "data": {"views": 2}, "augmentation": augmentation}
    return RunConfig.model_validate({**values, "encoder": {**VIT, "split": split}, "objective": objective})


def batch_of(groups=(4, 9, 2), first=0):
    images = torch.tensor([[pixels(group, view).tolist() for view in range(2)] for group in groups]).to(torch.uint8)
    numbers = torch.tensor(groups)
    rows = numbers[:, None] * 2 + torch.arange(2)
    positions = first + torch.arange(len(groups))
    return Batch(images=images, ids=numbers, positions=positions, labels=numbers % 3, rows=rows, tokens=None)


def objective_of(config):
    torch.manual_seed(0)
    return build_objective(config, DataFacts(stored_images=30))


@pytest.mark.parametrize("split", [None, "lab", "ycbcr"])
@pytest.mark.parametrize(("name", "more"), [("pirl", {}), ("infomin", {"queue": 12})])
def test_patches_of_split_channels_are_learned_from(name, more, split):
    config = config_of(name, split, **JIGSAW, **more)
    objective = objective_of(config)
    inputs = build_inputs(batch_of(), objective, config, CPU)
    assert inputs.crops[1].shape == (1, 6, 4, 3, 16, 16)
    loss, _ = objective(inputs)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.encoder.parameters())
    if split is not None:  # lightness and colour: not the RGB that another split would see
        whole = config_of(name, "rgb", **JIGSAW, **more)
        assert not torch.equal(build_inputs(batch_of(), objective_of(whole), whole, CPU).crops[1], inputs.crops[1])


def test_an_images_crops_depend_on_its_slot_alone():
    config = config_of("simclr")
    objective = objective_of(config)
    whole = build_inputs(batch_of(), objective, config, CPU)
    tail = build_inputs(batch_of((9, 2), first=1), objective, config, CPU)
    assert torch.equal(whole.crops[0][:, 2:], tail.crops[0])
    assert torch.equal(whole.images[2:], tail.images)
    assert not torch.equal(whole.crops[0][0], whole.crops[0][1])
    later = build_inputs(batch_of(first=50), objective, config, CPU)
    assert not torch.equal(whole.crops[0], later.crops[0])


def test_without_augmentation_every_crop_is_the_image():
    config = config_of("simclr", augmentation="none")
    inputs = build_inputs(batch_of(), objective_of(config), config, CPU)
    assert torch.equal(inputs.crops[0][0], inputs.crops[0][1])
    assert inputs.ids.tolist() == [4, 4, 9, 9, 2, 2]
    assert inputs.rows.tolist() == [8, 9, 18, 19, 4, 5]


@pytest.mark.parametrize("augmentation", ["none", "simclr"])
@pytest.mark.parametrize("has_latent_views", [True, False])
def test_genreps_grid_of_latent_views_and_pixel_augmentation_can_be_asked_for(has_latent_views, augmentation):
    """What a pair is made of: two latent views of an anchor or one image twice, each augmented or as it is."""
    preset = "genrep" if has_latent_views else "simclr"
    config = load_config(preset, [f"augmentation={augmentation}", "batch_images=6", f"encoder={json.dumps(VIT)}"])
    objective = objective_of(config)
    batch = batch_of() if has_latent_views else batch_of((4, 9, 2, 1, 3, 7))
    views = 2 if has_latent_views else 1
    inputs = build_inputs(
        batch._replace(images=batch.images[:, :views], rows=batch.rows[:, :views]), objective, config, CPU
    )
    ids = objective.target_ids(inputs).repeat(len(inputs.crops[0]))
    images = inputs.crops[0].flatten(0, 1)
    pairs = [(ids == number).nonzero()[:, 0].tolist() for number in ids.unique()]
    assert [len(pair) for pair in pairs] == [2] * len(pairs)
    is_equal = [torch.equal(images[one], images[other]) for one, other in pairs]
    assert all(is_equal) if (has_latent_views, augmentation) == (False, "none") else not any(is_equal)
