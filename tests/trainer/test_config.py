from typing import get_args

import pytest

from learning.augment import PRESETS
from manifests.errors import ConflictError, UserError
from trainer.config import RunConfig, check_same, load_config, parse_config, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads(name):
    assert load_config(name).images > 0


def test_a_file_builds_on_a_preset_and_overrides_win(tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text("preset: stablerep\nimages: 5000\nobjective: {temperature: 0.3}\n")
    config = load_config(path, ["objective.dimensions=64", "optimizer.betas=[0.8, 0.9]"])
    assert (config.images, config.objective.name, config.objective.temperature) == (5000, "stablerep", 0.3)
    assert (config.objective.dimensions, config.optimizer.betas) == (64, (0.8, 0.9))


def test_the_learning_rate_is_linear_in_the_batch():
    config = load_config("simclr", ["batch_images=512", "optimizer.base_learning_rate=0.001"])
    assert config.learning_rate == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("optimiser.weight_decay=1", "optimiser is unknown; did you mean optimizer"),
        ("optimizer.weight_decy=1", "optimizer.weight_decy is unknown; did you mean weight_decay"),
        ("batch_images=-4", r"batch_images: .*greater than or equal to 2 \(given: -4\)"),
        ("objective.name=simsam", "objective.name is 'simsam'; expected one of byol, .*synclr; did you mean simsiam"),
        ("objective={temperature: 0.1}", "objective.name is missing; expected one of byol, clip, .*, synclr"),
        ("objective.name=7", "objective.name is 7; expected one of byol"),
        ("objective.hiden=3", "objective.hiden is unknown; did you mean hidden"),
        ("objective={name: clip, text: {widht: 8}}", "objective.text.widht is unknown; did you mean width"),
        ("objective.temperature=-1", r"objective.temperature: .*greater than 0 \(given: -1\)"),
        ("probe={sett: emoji}", "probe.sett is unknown; did you mean set"),
        ("data.views=three", "data.views: .*integer.*three"),
        ("batch_images=10", r"batch_images is 10; expected a multiple of data.views \(4\)"),
        ("images", "expected a.b=value"),
        ("images.more=1", "images is a value"),
        ("images=[1", "no YAML value"),
    ],
)
def test_a_wrong_override_is_one_clear_line(override, words):
    with pytest.raises(UserError, match=words) as error:
        load_config("stablerep", [override])
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("preset: stabelrep\n", "did you mean stablerep"),
        ("- a\n- b\n", "must hold keys and values"),
        ("a: [\n", "is no YAML"),
        ("objective: 3\n", "objective: "),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path, text, words):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        load_config(path)
    assert "\n" not in str(error.value)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UserError, match="neither a file nor a preset; did you mean stablerep"):
        load_config("stablrep")


def test_another_config_in_the_folder_is_told_key_by_key():
    saved = RunConfig().model_dump(mode="json")
    check_same(saved, RunConfig().model_dump(mode="json"), "run")
    with pytest.raises(ConflictError, match=r"optimizer.weight_decay: 0.05 there, 0.1 here; seed: 0 there, 7 here"):
        check_same(saved, {**saved, "seed": 7, "optimizer": {**saved["optimizer"], "weight_decay": 0.1}}, "run")


def test_the_warm_up_is_a_twentieth_of_the_run_unless_given():
    assert load_config("simclr", ["images=5000"]).warmup_images == 250
    assert load_config("simclr", ["optimizer.warmup_images=0"]).warmup_images == 0
    with pytest.raises(UserError, match=r"optimizer.warmup_images is 6000; expected images \(5000\) or less"):
        load_config("simclr", ["images=5000", "optimizer.warmup_images=6000"])


def test_every_augmentation_can_be_chosen_by_name():
    assert set(get_args(RunConfig.model_fields["augmentation"].annotation)) == set(PRESETS)


def test_a_config_survives_json():
    config = load_config("demo")
    assert parse_config(config.model_dump(mode="json"), "there") == config
