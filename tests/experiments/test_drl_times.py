"""The curve over t as laid out: every command is one that the trainer takes; made-up results become page and plot."""

from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from experiments.drl_times import ARMS, TRAJECTORIES, beginnings, pretrain_command, table
from experiments.times_plot import times_plot
from trainer.config import load_config

ONE = {"mean": 0.4, "low": 0.35, "high": 0.45, "n": 10}


def result():
    arm = {"times": [0.0, 0.5, 1.0], "by_time": [ONE] * 3, "by_curve": {"mlp": ONE, "rnn": ONE}, "labelled": 80}
    return {
        "images": 1000,
        "labelled": 80,
        "trajectories": dict.fromkeys((*TRAJECTORIES, "none"), arm),
        "semi_supervised": {name: {"score": ONE, "time": 0.3} for name in beginnings(Path("out"))},
        "codes": {"vdrl": {"plain_loss": 300.0, "code_gap": 4.0, "kl": 20.0, "seconds": 1.0}},
    }


@pytest.mark.parametrize("arm", ARMS)
def test_every_arm_is_a_config_of_one_architecture(arm):
    command = pretrain_command(arm, Path("data"), Path("run"), 1000)
    settings = [word for before, word in pairwise(command) if before == "--set"]
    config = load_config(command[2], settings)
    encoder = config.encoder
    assert encoder.timed
    assert (encoder.backbone, encoder.size_px, config.images) == ("resnet10t", 32, 1000)
    assert encoder.arguments == {"channels": (32, 64, 96, 128)}


def test_the_page_and_the_plot_tell_every_arm():
    lines = table(result())
    assert "| t | drl | vdrl | none |" in lines
    assert "| all, rnn | 40.0 [35.0, 45.0] | 40.0 [35.0, 45.0] | 40.0 [35.0, 45.0] |" in lines
    assert "| none | 40.0 [35.0, 45.0] | 0.30 |" in lines
    assert lines[-1] == 'vdrl, last window: {"plain_loss": 300.0, "code_gap": 4.0, "kl": 20.0}'
    page = ElementTree.fromstring(times_plot(result()))
    assert len(page.findall("{http://www.w3.org/2000/svg}circle")) == 3 * (3 + 2)
    assert len(page.findall("{http://www.w3.org/2000/svg}polyline")) == 3
