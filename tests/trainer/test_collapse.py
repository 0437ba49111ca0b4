"""Collapse that is provoked, and named: by the full weight of the divergence, and by an encoder that is constant."""

import pytest
import torch

from manifests.dataset import open_dataset
from tests.trainer.data import make_dataset
from trainer.collapse import code_warnings
from trainer.config import RunConfig
from trainer.crops import build_inputs
from trainer.data_facts import DataFacts
from trainer.monitor import warnings
from trainer.state import TrainingState
from trainer.stream import Stream

STEPS, WINDOW = 120, 20
NET = {"width": 8, "multipliers": (1, 2), "blocks": 1}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    return make_dataset(tmp_path_factory.mktemp("data") / "set", groups=32, views=1, size_px=16)


def last_window(url, objective, break_=lambda state: None, steps=STEPS):
    """The mean report of the last steps of a short training, as a line of metrics."""
    config = RunConfig.model_validate(
        {
            "images": steps * 32,
            "batch_images": 32,
            "augmentation": "none",
            "encoder": {"backbone": "resnet10t", "arguments": {"channels": [8, 8, 16, 16]}, "size_px": 16},
            "objective": {"dimensions": 8, "net": NET, **objective},
            "optimizer": {"base_learning_rate": 0.03, "weight_decay": 0.0},
        }
    )
    stream = Stream([open_dataset(url)], batch_groups=32, views=1, seed=0)
    state = TrainingState(config, torch.device("cpu"), DataFacts(stream.stored_images))
    reports = []
    for step in range(steps):
        break_(state)
        loss, report = state.objective(
            build_inputs(stream.batch(32 * step), state.objective, config, torch.device("cpu"))
        )
        loss.backward()
        state.step(loss)
        reports.append(report)
    return {name: float(sum(one[name] for one in reports[-WINDOW:]) / len(reports[-WINDOW:])) for name in reports[0]}


def constant(state):
    """Blind the encoder: all images get the code of the bias."""
    with torch.no_grad():
        state.objective.code.weight.zero_()


def test_the_full_weight_of_the_divergence_is_called_posterior_collapse(url):
    line = last_window(url, {"name": "drl", "regularisation": "kl", "weight": 1.0})
    assert line["kl"] < 1
    assert len(code_warnings(line)) == 1
    assert "posterior collapse (kl 0." in code_warnings(line)[0]
    assert "lower objective.weight" in code_warnings(line)[0]


def test_an_encoder_that_is_constant_is_called_so(url):
    line = last_window(url, {"name": "drl", "regularisation": "none"}, constant, steps=10)
    assert line["code_gap"] == pytest.approx(0, abs=1e-3)
    assert line["code_std"] < 0.1
    assert "constant codes" in code_warnings(line)[0]
    told = warnings({**line, "data_wait_fraction": 0.0}, workers=1, cores=2)
    assert told == code_warnings(line)


def test_codes_that_are_used_are_not_complained_of(url):
    line = last_window(url, {"name": "autoencoder", "regularisation": "kl"})
    assert line["code_gap"] > 0.02 * line["plain_loss"]
    assert code_warnings(line) == []


def test_lines_of_other_methods_are_left_alone():
    assert code_warnings({"loss": 3.0, "feature_std": 0.01}) == []
    assert code_warnings({"code_gap": None, "plain_loss": None}) == []


def test_codes_that_vary_and_are_not_read_are_told_from_collapse():
    (told,) = code_warnings({"code_gap": 0.0, "plain_loss": 300.0, "kl": 40.0, "code_std": 0.9})
    assert "does not read yet" in told
    assert "collapse" not in told
