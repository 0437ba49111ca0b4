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
        ("optimiser.weight_decay=1", "optimiser: unknown key; did you mean optimizer"),
        ("optimizer.weight_decy=1", "optimizer.weight_decy: unknown key; did you mean weight_decay"),
        ("batch_images=-4", "batch_images: got -4, expected greater than or equal to 2"),
        ("objective.name=simsam", "objective.name: got 'simsam', expected one of simclr, .*; did you mean simsiam"),
        ("objective={temperature: 0.1}", "objective.name: missing; it must be given"),
        ("objective.name=7", "objective.name: got '7', expected one of simclr"),
        ("objective.hiden=3", "objective.hiden: unknown key; did you mean hidden"),
        ("objective={name: clip, text: {widht: 8}}", "objective.text.widht: unknown key; did you mean width"),
        ("objective={name: clip, text: {width: 9}}", r"objective.text: expected width to be a multiple of heads \(8\)"),
        (
            "objective={name: pirl, patch_px: 99}",
            "objective: expected patch_px of at most the 85 px of a cell, found 99",
        ),
        ("objective.temperature=-1", "objective.temperature: got -1, expected greater than 0"),
        ("encoder.split=luv", "encoder.split: got 'luv', expected 'rgb', 'lab'"),
        ("probe={sett: emoji}", "probe.sett: unknown key; did you mean set"),
        ("data.views=three", "data.views: got 'three', expected a valid integer"),
        ("batch_images=10", r"expected batch_images to be a multiple of data.views \(4\), .*, found 10"),
        ("images", "--set images: expected KEY=VALUE"),
        ("images.more=1", "--set images.more=1: 'more' lies below the plain value 100000"),
        ("images=[1", r"--set images=\[1: '\[1' is not a YAML value"),
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
        ("- a\n- b\n", "expected a mapping of settings, found list"),
        ("a: [\n", "not valid YAML"),
        ("objective: 3\n", "objective: got 3, expected a valid dictionary"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path, text, words):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        load_config(path)
    assert "\n" not in str(error.value)
    assert str(error.value).startswith(f"{path}: ")


def test_each_of_several_mistakes_has_a_line_of_its_own():
    with pytest.raises(UserError) as error:
        load_config("moco", ["seed=-1", "objective.queue=one", "encoder.sise_px=3"])
    assert [line.split(": ")[1] for line in str(error.value).splitlines()] == [
        "seed",
        "encoder.sise_px",
        "objective.queue",
    ]


@pytest.mark.parametrize("preset", ["moco", "infomin"])
def test_a_queue_that_cannot_hold_a_batchs_keys_is_refused_before_anything_is_read(preset):
    assert load_config(preset, ["batch_images=64", "objective.queue=64"]).objective.queue == 64
    with pytest.raises(
        UserError, match=r"objective.queue to hold a batch's keys, .* \(64\) or more, found 63"
    ) as error:
        load_config(preset, ["batch_images=64", "objective.queue=63"])
    assert "\n" not in str(error.value)


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(UserError, match=r"stablrep: neither a .yaml file nor a preset; did you mean stablerep"):
        load_config("stablrep")


def test_another_config_in_the_folder_is_told_key_by_key():
    saved = RunConfig().model_dump(mode="json")
    check_same(saved, RunConfig().model_dump(mode="json"), "run")
    with pytest.raises(ConflictError, match=r"optimizer.weight_decay: 0.05 there, 0.1 here; seed: 0 there, 7 here"):
        check_same(saved, {**saved, "seed": 7, "optimizer": {**saved["optimizer"], "weight_decay": 0.1}}, "run")


def test_the_warm_up_is_a_twentieth_of_the_run_unless_given():
    assert load_config("simclr", ["images=5000"]).warmup_images == 250
    assert load_config("simclr", ["optimizer.warmup_images=0"]).warmup_images == 0
    with pytest.raises(UserError, match=r"optimizer.warmup_images of at most images \(5000\), found 6000"):
        load_config("simclr", ["images=5000", "optimizer.warmup_images=6000"])


def test_every_augmentation_can_be_chosen_by_name():
    assert set(get_args(RunConfig.model_fields["augmentation"].annotation)) == set(PRESETS)


def test_a_config_survives_json():
    config = load_config("demo")
    assert parse_config(config.model_dump(mode="json"), "there") == config


@pytest.mark.parametrize(
    ("objective", "is_read"),
    [({"name": "supervised"}, True), ({"name": "supcon"}, True), ({"name": "supcon", "positives": "group"}, False)],
)
def test_labels_are_read_by_the_methods_that_learn_them(objective, is_read):
    assert RunConfig.model_validate({"objective": objective}).objective.reads_labels == is_read
