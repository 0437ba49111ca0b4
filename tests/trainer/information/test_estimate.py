"""The whole measurement on images whose mutual information is known by how they were made."""

import json
import math

import numpy as np
import pytest
import torch
from typer.testing import CliRunner

from manifests.dataset import open_dataset
from manifests.errors import UserError
from tests.trainer.data import encode, make_dataset
from trainer.__main__ import app
from trainer.information.estimate import Measured, interval, measure
from trainer.information.pairs import view_pair
from trainer.information.pool import Setting, read_pool

GROUPS, COLOURS, SIDE = 640, 8, 16
SETTING = Setting(groups=GROUPS, batch=32, epochs=6, size_px=SIDE, width=8, learning_rate=1e-2)
CPU = torch.device("cpu")


def coloured(rng, colour):
    """One of eight colours under noise of its own."""
    base = np.array([colour & 1, colour >> 1 & 1, colour >> 2]) * 120 + 60
    return (base + rng.integers(-40, 40, (SIDE, SIDE, 3))).clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    """Groups of two images that share one of eight colours, and nothing else."""
    rng = np.random.default_rng(0)
    images = {}
    for group in range(GROUPS):
        colour = int(rng.integers(COLOURS))
        images |= {(group, view): encode(coloured(rng, colour)) for view in range(2)}
    return make_dataset(
        tmp_path_factory.mktemp("data") / "set",
        groups=GROUPS,
        views=2,
        groups_per_shard=GROUPS,
        size_px=SIDE,
        images=images,
    )


@pytest.fixture(scope="module")
def shared(url):
    return measure(open_dataset(url), view_pair("views"), SETTING, CPU)


@pytest.mark.parametrize("bound", ["i_nce", "nwj", "smile"])
def test_views_that_share_one_of_eight_colours_share_log_8_nats(shared, bound):
    mean, low, high = shared.nats[bound]
    assert mean == pytest.approx(math.log(COLOURS), rel=0.1)
    assert low <= mean <= high
    assert shared.warnings() == []
    assert (shared.training_images, shared.held_out_images) == (480, 160)


def test_the_same_command_gives_the_same_number_and_the_cut_parts_whole_prompts(url, tmp_path):
    data = open_dataset(url)
    short = Setting(groups=160, batch=16, epochs=1, size_px=SIDE, width=8)
    one, two = (measure(data, view_pair("image"), short, CPU) for _ in range(2))
    assert one == two
    prompts = [f"prompt {group // 8}" for group in range(240)]
    alike = open_dataset(make_dataset(tmp_path / "set", groups=240, views=1, prompts=prompts, size_px=8))
    pool = read_pool(alike, 1, Setting(batch=8))
    ids = alike.groups().positive_id[np.array(_order(240))]
    assert not set(ids[pool.is_held_out]) & set(ids[~pool.is_held_out])
    assert 0.15 < pool.is_held_out.mean() < 0.35


def _order(groups):
    from manifests import seeds

    return seeds.permutation(0, "information/groups", groups)


def measured(i_nce, training=None, batch=128, held_out=1000, seeds=1):
    nats = dict.fromkeys(("i_nce", "nwj", "smile"), (i_nce, i_nce - 0.1, i_nce + 0.1))
    setting, training = Setting(batch=batch, seeds=seeds), i_nce if training is None else training
    return Measured("views", "ab" * 32, nats, training, setting, 3000, held_out)


def test_the_ceiling_overfitting_and_finding_nothing_are_warned_of():
    assert measured(2.0).warnings() == []
    assert "near its ceiling log K = 4.85 nats" in measured(4.6).warnings()[0]
    assert "raise --batch, or read nwj and smile" in measured(4.6).warnings()[0]
    assert "the critic found nothing" in measured(0.001).warnings()[0]
    assert "knows its training images by heart (I_NCE 3.00 there, 1.00 held out)" in measured(1.0, 3.0).warnings()[0]


def test_a_single_batch_of_a_single_critic_is_said_to_have_no_interval():
    assert "one batch of 128 was held out, which gives no interval" in measured(2.0, held_out=150).warnings()[0]
    assert measured(2.0, held_out=256).warnings() == measured(2.0, held_out=150, seeds=2).warnings() == []


def test_an_interval_grows_with_what_batches_and_critics_differ_by():
    mean, low, high = interval(np.array([[1.0, 1.2], [0.8, 1.0]]))
    assert (mean, low, high) == pytest.approx((1.0, 0.8, 1.2))
    assert interval(np.full((2, 3), 0.5)) == (0.5, 0.5, 0.5)


def test_data_that_cannot_be_measured_are_refused(url):
    data = open_dataset(url)
    with pytest.raises(UserError, match=r"640 groups leave 160 to one side of the cut, fewer than a batch of 200"):
        read_pool(data, 1, Setting(batch=200))
    with pytest.raises(UserError, match="has 2 image a group; views of a group need 3"):
        read_pool(data, 3, SETTING)


def test_the_command_prints_lines_or_json_and_warns_on_stderr(url, tmp_path):
    words = ["mi", url, "--groups", "120", "--batch", "16", "--epochs", "1", "--size-px", "16", "--width", "8"]
    out = tmp_path / "mi.json"
    done = CliRunner().invoke(
        app, [*words, "--view", "split:rgb", "--view", "frequency:1", "--json", "--out", str(out)]
    )
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [one["view"] for one in found] == ["split:rgb", "frequency:1"]
    assert found == json.loads(out.read_text())
    assert found[0]["ceiling_nats"] == pytest.approx(math.log(16))
    assert {"mean", "low", "high"} == set(found[0]["nats"]["smile"])
    done = CliRunner().invoke(app, [*words, "--view", "views"])
    assert "views: i_nce " in done.stdout
    assert "ceiling of i_nce 2.77" in done.stdout
