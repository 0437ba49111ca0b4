"""Few labels and a graph beat few labels alone; a training that was cut in two is the one that was not."""

import json

import pytest
import torch

from learning.loop import Schedule, train
from tests.trainer.objectives.tiny import TIMED_VIT, VIT
from trainer.config import EncoderConfig
from trainer.encoders import build_encoder
from trainer.semi_supervised.graph import PseudoLabels
from trainer.semi_supervised.learner import SemiSupervised, SemiSupervision

CLASSES, PER_CLASS, SHOTS = 3, 40, 2
SETTINGS = SemiSupervision(alone_images=320, refresh_images=320, neighbours=8, augmentation="none")


def drawings():
    """Squares of one colour a class, moved about, under noise of bytes; the first two of each class are labelled."""
    draw = torch.Generator().manual_seed(0)
    truth = torch.arange(CLASSES).repeat_interleave(PER_CLASS)
    pixels = torch.randint(0, 120, (len(truth), 3, 16, 16), generator=draw)
    for row, one in enumerate(truth.tolist()):
        y, x = torch.randint(0, 10, (2,), generator=draw).tolist()
        pixels[row, one, y : y + 6, x : x + 6] += 120
    labels = torch.where(torch.arange(len(truth)) % PER_CLASS < SHOTS, truth, -1)
    return pixels.to(torch.uint8), labels, truth


def learner_of(encoder=VIT, **changes):
    torch.manual_seed(0)
    pixels, labels, _ = drawings()
    settings = SemiSupervision(**{**SETTINGS.__dict__, **changes})
    return SemiSupervised(build_encoder(EncoderConfig(**encoder)), pixels, labels, CLASSES, settings)


def schedule(images):
    return Schedule(images, 32, 2e-3, warmup_images=64, cooldown_images=320, checkpoint_images=640)


def accuracy(learner):
    pixels, labels, truth = drawings()
    found = learner.model.over(pixels, is_graph=False).argmax(dim=1)
    return (found == truth)[labels < 0].double().mean().item()


def test_the_graph_brings_what_few_labels_alone_do_not(tmp_path):
    lines = []
    guided, alone = learner_of(), learner_of(alone_images=10**9)
    train(guided, schedule(2560), tmp_path / "guided", lines.append)
    train(alone, schedule(2560), tmp_path / "alone", lambda line: None)
    assert accuracy(guided) > accuracy(alone)
    assert accuracy(guided) > 0.6
    assert 0 < lines[-1]["certainty"] <= 1
    _, labels, truth = drawings()
    assert (guided.guessed.labels == truth)[labels < 0].double().mean() > 0.6


@pytest.mark.parametrize("encoder", [VIT, TIMED_VIT])
def test_a_training_in_two_parts_is_the_whole_bit_for_bit(tmp_path, encoder):
    whole = learner_of(encoder)
    train(whole, schedule(1280), tmp_path / "whole", lambda line: None)
    first = learner_of(encoder)
    with pytest.raises(RuntimeError, match="killed"):
        train(first, schedule(1280), tmp_path / "parts", killed_after(640))
    second = learner_of(encoder)
    train(second, schedule(1280), tmp_path / "parts", lambda line: None)
    ours, theirs = whole.model.state_dict(), second.model.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in ours.items())
    assert torch.equal(whole.guessed.certainty, second.guessed.certainty)
    texts = [(tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in ("whole", "parts")]
    losses = [[json.loads(line)["loss"] for line in lines] for lines in texts]
    assert losses[0] == losses[1]


def killed_after(images):
    def say(line):
        if line["images_seen"] > images:
            raise RuntimeError("killed")

    return say


def test_a_timed_encoder_learns_its_time():
    learner = learner_of(TIMED_VIT)
    with torch.no_grad():
        for layer in learner.model.encoder.backbone.changes:
            torch.nn.init.normal_(layer.weight, std=0.5)
    told = [learner.step(32 * step, 32, 1e-2)["time"] for step in range(8)]
    assert told[0] != 0.5 or told[1] != 0.5
    assert len(set(told)) > 4
    assert all(0 < time < 1 for time in told)


def test_rare_guesses_weigh_more_and_uncertain_ones_less():
    learner = learner_of()
    certainty = torch.tensor([1.0, 1.0, 0.5, 1.0] * 30, dtype=torch.float64)
    learner.guessed = PseudoLabels(torch.tensor([0, 0, 0, 1] * 30), certainty)
    weights = learner._weights(torch.arange(4))
    assert weights[2] == weights[0] / 2
    assert weights[3] > 2 * weights[0]
    assert weights[3] / weights[0] == pytest.approx(2.5)
