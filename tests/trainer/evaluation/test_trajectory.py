"""Probes over time: they find the time at which features say the class, and a curve says more than any point of it."""

import json

import numpy as np
import pytest
import torch

from manifests.errors import UserError
from tests.trainer.data import make_dataset
from tests.trainer.processes import pretrain_words, run
from tests.trainer.tiny_presets import TINY_PRESETS
from trainer.evaluation.sequence_probes import KINDS, Labelled, ProbeTraining, predict_with
from trainer.evaluation.trajectory import trajectory

FAST = ProbeTraining(epochs=5, least_steps=240, learning_rates=(1e-2,), width=32, sequence_width=16)


def curve(n, seed):
    """Two bits make four classes; the first is told at time 1 only, the second at time 3 only, others are noise."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, n)
    features = rng.normal(size=(n, 5, 6))
    features[:, 1, :2] += 4 * (2 * (labels // 2) - 1)[:, None]
    features[:, 3, 2:4] += 4 * (2 * (labels % 2) - 1)[:, None]
    return Labelled(torch.from_numpy(features).float(), labels.astype(np.int64))


def accuracy(kind, times, seed=0):
    sets = [curve(n, place) for place, n in enumerate((160, 80, 400))]
    train, validation, test = (Labelled(one.features[:, times], one.labels) for one in sets)
    found = predict_with(kind, train, validation, test.features, 4, training=FAST, seed=seed)
    return float((found == test.labels).mean())


def test_a_time_says_what_it_says_and_no_more():
    assert accuracy("mlp", slice(1, 2)) == pytest.approx(0.5, abs=0.1)
    assert accuracy("mlp", slice(0, 1)) == pytest.approx(0.25, abs=0.1)
    assert accuracy("mlp", slice(0, 1), seed=3) == accuracy("mlp", slice(0, 1), seed=3)


@pytest.mark.parametrize("kind", KINDS)
def test_probes_of_the_whole_curve_join_what_its_times_say(kind):
    assert accuracy(kind, slice(None)) > 0.7  # no time alone says more than half


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "set", groups=80, views=2, size_px=32)


@pytest.fixture(scope="module")
def timed(tmp_path_factory, url):
    folder = tmp_path_factory.mktemp("runs") / "drl"
    code, said = run(pretrain_words(url, folder, "drl", images=64, **TINY_PRESETS["drl"]))
    assert code == 0, said
    return folder


def test_the_command_scores_a_timed_run_at_every_time(timed, url, tmp_path):
    told = tmp_path / "told.json"
    words = ["trajectory", str(timed), "--set", url, "--shots", "4", "--times", "0,0.5", "--no-curves"]
    code, said = run([*words, "--out", str(told)])
    assert code == 0, said
    assert "t = 0.5" in said
    found = json.loads(told.read_text())
    assert (found["times"], found["labelled"], len(found["by_time"]), found["by_curve"]) == ([0.0, 0.5], 16, 2, {})


def test_the_random_twin_is_scored_beside_it_and_over_all_times(timed, url):
    found = trajectory(f"random:{timed}", dataset=url, shots=4, times=(0.0, 1.0), training=FAST)
    assert sorted(found.by_curve) == sorted(KINDS)
    assert 0 <= found.by_time[0].mean <= 1


def test_semi_supervision_runs_from_a_command_and_resumes_to_its_result(timed, url, tmp_path):
    out = tmp_path / "semi"
    words = ["semi-supervised", str(timed), str(out), "--set", url, "--shots", "2", "--images", "128", "--json"]
    code, said = run(words)
    assert code == 0, said
    result = json.loads((out / "result.json").read_text())
    assert result["labelled"] == 8
    assert result["unlabelled"] > 50
    assert 0 < result["time"] < 1
    code, said = run(words)
    assert code == 0, said
    assert json.loads((out / "result.json").read_text()) == result
    code, said = run([*words[:5], "--shots", "3", "--images", "128"])
    assert code != 0
    assert "shots: 2 there, 3 here" in said


def test_an_encoder_without_times_and_wrong_times_are_refused_in_one_line(timed, url):
    with pytest.raises(UserError, match=r"pixels is not told the time; train one with encoder.timed=true"):
        trajectory("pixels", dataset=url)
    code, said = run(["trajectory", str(timed), "--set", url, "--times", "0,2"])
    assert (code, said.strip()) == (
        2,
        "error: --times is '0,2'; expected numbers from 0 to 1, such as 0,0.25,0.5,0.75,1",
    )
