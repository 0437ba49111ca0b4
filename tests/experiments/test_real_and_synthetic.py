"""The arms, claims and table of the comparison of views and of real images."""

import numpy as np
import pytest

from experiments.outcome import measured, table
from experiments.plot import sweep_plot
from experiments.real_and_synthetic import REAL, VIEWS, arms, claims, name, same_prompts
from manifests.where import Where
from trainer.config import RunConfig, load_config
from trainer.evaluation.sets import Examples

ARMS = arms("drawn", "real", "demo", 30_000)


def config(arm) -> RunConfig:
    return load_config(arm.config, arm.config_changes)


def test_every_arm_is_a_run_and_differs_from_the_others_in_views_loss_and_data_alone():
    shared = [config(one).model_dump(exclude={"data": {"views"}, "objective": {"name"}}) for one in ARMS]
    assert all(one == shared[0] for one in shared)
    assert [config(one).data.views for one in ARMS] == [*VIEWS, 1]
    assert [config(one).objective.name for one in ARMS] == ["simclr", "stablerep", "stablerep", "simclr"]
    assert [one.given for one in ARMS] == ["drawn"] * 3 + ["real"]


def test_the_real_arm_is_the_synthetic_one_of_one_view_on_other_images():
    by_name = {one.name: one for one in ARMS}
    assert by_name[REAL].config_changes == by_name[name(1)].config_changes


def test_every_claim_is_about_two_arms_that_are_trained():
    names = {one.name for one in ARMS}
    assert all({above, below} <= names and above != below for above, below in claims().values())


def test_a_given_data_set_is_what_its_run_trains_on(tmp_path):
    command = ARMS[-1].pretrain_command(tmp_path, 2)
    assert command[command.index("--data") + 1] == "real"
    assert command[-1] == "seed=2"


@pytest.mark.parametrize("prompts", [["rock"], ["rock", "woman’s hat", "it's 'quoted'", "a, b) OR (1 = 1"]])
def test_the_condition_is_sql_that_names_each_prompt_once(prompts):
    import duckdb

    condition = same_prompts([*prompts, *prompts])
    Where(condition)
    rows = [(prompt, style) for prompt in [*prompts, "other"] for style in ("noto", "openmoji")]
    values = ", ".join("(?, ?)" for _ in rows)
    found = duckdb.execute(
        f"SELECT prompt FROM (VALUES {values}) AS t(prompt, x_style) WHERE {condition}",
        [value for row in rows for value in row],
    ).fetchall()
    assert sorted(found) == sorted((prompt,) for prompt in prompts)


def told_by_hand() -> dict:
    one = {"mean": 0.3, "low": 0.28, "high": 0.32, "n": 9}
    difference = {"mean": 0.02, "low": 0.01, "high": 0.03, "smallest_detectable": 0.015, "is_evidence": True}
    scores = {arm.name: {"knn": one, "linear": {**one, "mean": 0.3 + i / 100}} for i, arm in enumerate(ARMS)}
    told = dict.fromkeys(claims(), difference)
    told["m = 2 above m = 1"] = {**difference, "mean": -0.02, "low": -0.03, "high": -0.01}
    told["m = 4 above m = 2"] = {**difference, "low": -0.01, "is_evidence": False}
    return {"set": "clipart26", "split": "dev", "seeds": 3, "images": 30_000, "scores": scores, "claims": told}


def test_the_table_says_points_and_whether_they_are_evidence_for_or_against_the_claim():
    lines = table(told_by_hand())
    assert "| simclr-real | 30.0 [28.0, 32.0] | 33.0 [28.0, 32.0] |" in lines
    assert "| SimCLR: synthetic above real | +2.0 [+1.0, +3.0] | 1.5 | evidence |" in lines
    assert "| m = 2 above m = 1 | -2.0 [-3.0, -1.0] | 1.5 | evidence against |" in lines
    assert "| m = 4 above m = 2 | +2.0 [-1.0, +3.0] | 1.5 | no evidence |" in lines


def test_arms_are_scored_and_compared_as_the_claims_say():
    labels = np.repeat(np.arange(4), 30)
    nothing = np.zeros((len(labels), 1, 1, 3), np.uint8)
    examples = Examples("root", list("abcd"), [], nothing, labels, np.arange(len(labels)))

    def predicted(right_of_ten: int) -> dict:
        wrong = np.where(np.arange(len(labels)) % 10 < right_of_ten, labels, (labels + 1) % 4)
        return {method: np.stack([wrong] * 3) for method in ("knn", "linear")}

    found = {arm.name: predicted(right) for arm, right in zip(ARMS, (3, 5, 7, 5), strict=True)}
    result = measured(found, claims(), examples, seeds=3)
    assert result["scores"][REAL]["linear"]["mean"] == pytest.approx(0.5)
    means = {claim: one["mean"] for claim, one in result["claims"].items()}
    assert means["StableRep above SimCLR, both synthetic"] == pytest.approx(0.4)
    assert means["SimCLR: synthetic above real"] == pytest.approx(-0.2)
    assert result["claims"]["StableRep above SimCLR, both synthetic"]["is_evidence"]
    assert table(result)[2].startswith("| simclr-m1 | 30.0 [")


def test_the_plot_has_a_point_for_each_number_of_views_and_a_band_for_real_images():
    drawn = sweep_plot(told_by_hand(), {float(m): name(m) for m in VIEWS}, (REAL,), "views of a group, m")
    assert drawn.count("<circle") == len(VIEWS)
    assert f">{REAL}</text>" in drawn
    assert "views of a group, m (clipart26 dev, 3 seeds, 30,000 images each)" in drawn
