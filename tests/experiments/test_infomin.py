"""InfoMin's sweeps and the comparison of learned views as laid out: every command is one that the trainer takes."""

import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from experiments import infomin_sweeps, learned_views
from experiments.infomin_sweeps import RENDERED, Knob, points, table
from experiments.learned_views import LEARNERS, learners, viewers
from experiments.learned_views import table as learned_table
from experiments.plot import information_plot
from factory.recipe import load_recipe
from manifests.errors import UserError
from trainer.config import load_config
from trainer.flow_file import LearnedColours, write_flow
from trainer.information.pairs import view_pair

DATA = "some/data"


@pytest.mark.parametrize("knob", list(Knob))
def test_every_value_of_a_knob_is_a_run_and_a_measurement_that_exist(knob):
    laid = points(knob.value, DATA, 1000, 40)
    assert len({one.arm.name for one in laid}) == len({one.value for one in laid}) == len(laid) >= 5
    configs = [load_config(one.arm.config, one.arm.config_changes) for one in laid]
    assert {config.images for config in configs} == {1000}
    assert len({config.model_dump_json() for config in configs}) == (1 if knob.value in RENDERED else len(laid))
    for one in laid:
        assert view_pair(one.kind).name == one.kind
        if knob.value in RENDERED:
            assert load_recipe(one.arm.recipe, list(one.arm.recipe_changes)).groups == 40
        else:
            assert one.arm.data(Path("out")) == DATA


def test_a_knob_of_stored_images_needs_some():
    with pytest.raises(UserError, match="--data is missing: crop makes its views of stored images"):
        points("crop", None, 1000, 40)


def test_the_arms_of_the_comparison_differ_in_what_they_see_alone(tmp_path):
    from learning.flow import PixelFlow

    flows = learners(DATA, 500, 0.25)
    kinds = [load_config(arm.config, arm.config_changes).objective for arm in flows]
    assert [(one.information_weight, one.label_weight) for one in kinds] == [(1, 0), (0, 1), (1, 1)]
    assert {one.label_fraction for one in kinds} == {0.25}
    arms = viewers(DATA, 1000, flows)
    for arm in (*flows, *arms):
        keys = [change.partition("=")[0] for change in arm.config_changes]
        assert len(keys) == len(set(keys)), f"{arm.name}: a setting that is overridden says nothing"
    assert [arm.name for arm in arms] == ["rgb", *LEARNERS]
    write_flow(tmp_path, LearnedColours("rgb", PixelFlow()), {})
    configs = []
    for arm in arms:
        words = arm.pretrain_command(Path("out"), 2)
        settings = [words[i + 1] for i, word in enumerate(words) if word == "--set"]
        configs.append(load_config(words[2], settings))
    assert configs[3].encoder.flow.weights == "out/runs/flow-semi-supervised-2"
    bare = [
        one.model_copy(update={"encoder": one.encoder.model_copy(update={"split": None, "flow": None})})
        for one in configs
    ]
    assert all(one == bare[0] for one in bare)


def score(mean):
    return {"mean": mean, "low": mean - 0.02, "high": mean + 0.03, "n": 50}


def sweep(accuracies, seeds=1):
    rows = [
        {
            "value": str(i),
            "information": {
                "nats": {"i_nce": {"mean": 0.5 + i, "low": 0.4 + i, "high": 0.6 + i}},
                "ceiling_nats": 4.85,
                "warnings": [],
            },
            "scores": {"linear": score(accuracy), "knn": score(accuracy - 0.1)},
        }
        for i, accuracy in enumerate(accuracies)
    ]
    facts = {"set": "clipart26", "split": "dev", "seeds": seeds, "images": 1000}
    return {"knob": "crop", **facts, "points": rows}


def test_a_sweep_says_whether_its_best_lies_between_the_ends_and_that_one_seed_is_smoke():
    assert "Best accuracy at 1, between the ends of I_NCE (smoke, one seed)." in table(sweep([0.3, 0.4, 0.35]))
    assert "Best accuracy at 2, at an end: no inverted U of I_NCE (3 seeds)." in table(sweep([0.3, 0.4, 0.45], 3))


def test_the_plot_is_a_picture_with_a_point_for_every_value():
    text = information_plot(sweep([0.3, 0.4, 0.35]))
    assert text.count("<circle") == 3
    assert "log K" in text
    assert "1 seed: smoke" in text
    ElementTree.fromstring(text)


def test_the_comparisons_table_names_claims_information_and_over_shrinking():
    difference = {"mean": 0.03, "low": 0.01, "high": 0.05, "smallest_detectable": 0.02, "is_evidence": True}
    arms = {name: {"linear": score(0.5), "knn": score(0.4)} for name in ("rgb", *LEARNERS)}
    shared = {"nats": {"i_nce": {"mean": 1.5}}, "warnings": []}
    result = {
        "sets": {"emoji": {"scores": arms, "claims": {"linear": {"semi-supervised above raw RGB": difference}}}},
        "information": {"rgb": shared, **{f"flow-{name}-{seed}": shared for name in LEARNERS for seed in range(2)}},
        "flows": {"flow-unsupervised": [{"over_shrunk": 0.7, "i_nce_nats": 0.2}, {"over_shrunk": 0.0}]},
    }
    text = "\n".join(learned_table(result))
    assert "| rgb | 50.0, 40.0 | 1.50 |" in text
    assert "| semi-supervised | 50.0, 40.0 | 1.50, 1.50 |" in text
    assert "| semi-supervised above raw RGB | +3.0 [+1.0, +5.0] | 2.0 | evidence |" in text
    assert "flow-unsupervised: over-shrunk in 70 %, 0 % of the last steps" in text


@pytest.fixture
def without_training(monkeypatch):
    """Both programs with their long steps left out: nothing is trained, half of all images are guessed right."""
    guesses = np.random.default_rng(0)

    def predictions(arms, out, examples, split, seeds):
        truth = examples.labels

        def guess():
            return np.stack([np.where(guesses.random(len(truth)) < 0.5, truth, 0) for _ in range(seeds)])

        return {arm.name: {"linear": guess(), "knn": guess()} for arm in arms}

    def information(wanted, out, *, jobs, options):
        nats = {"i_nce": {"mean": 1.0, "low": 0.9, "high": 1.1}}
        return {one.name: {"nats": nats, "ceiling_nats": 4.85, "warnings": []} for one in wanted}

    for program in (infomin_sweeps, learned_views):
        monkeypatch.setattr(program, "make", lambda arms, out, *, seeds, jobs: None)
        monkeypatch.setattr(program, "predictions", predictions)
        monkeypatch.setattr(program, "information", information)
    monkeypatch.setattr(learned_views, "last_line", lambda run: {"over_shrunk": 0.5, "i_nce_nats": 0.3})


def test_the_comparison_writes_scores_claims_and_what_views_share(without_training, tmp_path, capsys):
    numbers = {"flow_images": 10, "images": 20, "label_fraction": 0.25, "seeds": 3, "jobs": 1, "epochs": 1}
    learned_views.main(data=tmp_path, out=tmp_path / "out", split="dev", where="", **numbers)
    found = json.loads((tmp_path / "out" / "results.json").read_text())
    assert set(found["sets"]) == {"emoji", "clipart26"}
    claims = found["sets"]["emoji"]["claims"]["linear"]
    assert set(claims) == set(learned_views.CLAIMS)
    assert all(one["seeds"] == 3 and not one["is_evidence"] for one in claims.values())
    assert len(found["information"]) == 1 + 3 * 3
    assert "over-shrunk in 50 %, 50 %, 50 % of the last steps" in capsys.readouterr().out


def test_a_sweep_writes_its_numbers_and_its_picture(without_training, tmp_path):
    numbers = {"groups": 4, "images": 20, "seeds": 1, "jobs": 1, "epochs": 1, "batch": 16}
    infomin_sweeps.main(
        Knob.crop, data=tmp_path, out=tmp_path / "out", split="dev", where="", labelled="emoji", **numbers
    )
    found = json.loads((tmp_path / "out" / "crop" / "results.json").read_text())
    assert [one["value"] for one in found["points"]] == ["0.05", "0.1", "0.2", "0.4", "0.6", "0.8"]
    assert (tmp_path / "out" / "crop" / "information.svg").read_text().count("<circle") == 6
