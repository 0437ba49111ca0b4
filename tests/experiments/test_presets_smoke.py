"""How every preset is tried, and the table that is made of it."""

import pytest

from experiments.presets_smoke import BATCH_IMAGES, Data, arm, table
from trainer.config import load_config, preset_names

DATA = Data("drawn", "labelled", "of a latent generator")


@pytest.mark.parametrize("preset", preset_names())
def test_a_preset_is_tried_with_its_own_method_optimizer_and_augmentation(preset):
    own, tried = load_config(preset), load_config(preset, arm(preset, 6_000, DATA).config_changes)
    assert type(own.objective) is type(tried.objective)
    assert own.optimizer == tried.optimizer
    assert own.augmentation == tried.augmentation
    assert own.data == tried.data
    assert (tried.images, tried.batch_images, tried.encoder.size_px) == (6_000, BATCH_IMAGES, 32)


def test_presets_get_the_data_that_they_can_learn_from():
    given = {name: arm(name, 6_000, DATA).given for name in preset_names()}
    assert {name for name, data in given.items() if data == "labelled"} == {"learned_views", "supcon", "supervised"}
    assert {name for name, data in given.items() if data == "of a latent generator"} == {"invert"}
    assert given["stablerep"] == "drawn"


def test_the_table_has_a_row_for_each_preset_also_for_those_that_failed():
    scores = {"knn": {"mean": 0.25}, "linear": {"mean": 0.3}}
    untrained = {"knn": {"mean": 0.2}, "linear": {"mean": 0.21}}
    row = {"preset": "moco", "images": 6016, "seconds": 41.4, "loss_first": 7.61, "loss_last": None}
    lines = table({"rows": [{**row, "scores": scores, "untrained": untrained}], "failed": ["clip"]})
    assert lines[2] == "| moco | 6,016 | 41 | 7.61 → not finite | 25.0 | 20.0 | 30.0 | 21.0 |"
    assert lines[3].startswith("| clip | failed |")
    assert len({line.count("|") for line in lines}) == 1
