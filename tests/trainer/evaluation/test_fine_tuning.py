"""Fine-tuning on a toy: better than the same encoder frozen at random, and what the labels say, whatever that is."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from trainer.config import EncoderConfig
from trainer.encoders import Encoder, build_encoder
from trainer.evaluation.features import embed, recalibrated
from trainer.evaluation.fine_tuning import FineTuning, _drawn, fine_tune
from trainer.evaluation.protocol import Part, balanced_accuracy, predict_linear

SETTINGS = FineTuning(epochs=12, least_images=0, batch_images=50, learning_rate=8e-3)


def stripes(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Red or green stripes that lie or stand; the label says whether both or neither of "red" and "lying" holds."""
    draw = np.random.default_rng(seed)
    is_red, is_lying = draw.integers(0, 2, count), draw.integers(0, 2, count)
    phase, length = draw.uniform(0, 6, (count, 1, 1)), draw.uniform(4, 8, (count, 1, 1))
    y, x = np.mgrid[:32, :32]
    wave = np.sin(2 * np.pi * np.where(is_lying[:, None, None], y, x) / length + phase) > 0
    images = draw.integers(0, 180, (count, 32, 32, 3))
    images[np.arange(count), :, :, 1 - is_red] += (70 * wave).astype(np.int64)
    return images.astype(np.uint8), (is_red ^ is_lying).astype(np.int64)


def small_encoder() -> Encoder:
    torch.manual_seed(0)
    arguments = {"channels": (8, 8, 16, 16), "stem_width": 8}
    return build_encoder(EncoderConfig(backbone="resnet10t", arguments=arguments, size_px=32)).eval()


def accuracy(settings: FineTuning, images: NDArray[np.uint8], labels: NDArray[np.int64], known: int) -> float:
    model = fine_tune(small_encoder(), list(images[:known]), labels[:known], 2, settings=settings)
    return balanced_accuracy(model.predict(list(images[known:])), labels[known:])


def test_fine_tuning_beats_the_frozen_random_encoder() -> None:
    images, labels = stripes(500, seed=1)
    frozen = embed(recalibrated(small_encoder(), images), images)
    rows = np.arange(500)
    part = Part(rows[:200], rows[200:250], rows[250:])
    predicted, _ = predict_linear(frozen, labels, [part])
    baseline = balanced_accuracy(predicted[part.test], labels[part.test])
    assert 0.55 < baseline < 0.85, "the toy is neither trivial nor hopeless for frozen features"
    assert accuracy(SETTINGS, images, labels, known=250) > baseline + 0.1


def test_it_learns_what_the_labels_say_even_where_they_say_the_opposite() -> None:
    images, labels = stripes(500, seed=1)
    turned = np.where(np.arange(500) < 250, 1 - labels, labels)
    assert accuracy(SETTINGS, images, turned, known=250) < 0.1


def test_the_given_encoder_is_left_alone_and_the_seed_decides() -> None:
    images, labels = stripes(48, seed=2)
    encoder, short = small_encoder(), FineTuning(epochs=1, least_images=0, batch_images=16)
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    models = [fine_tune(encoder, list(images), labels, 2, settings=short, seed=seed) for seed in (0, 0, 1)]
    assert all(torch.equal(value, before[name]) for name, value in encoder.state_dict().items())
    assert torch.equal(models[0].head.weight, models[1].head.weight)
    assert not torch.equal(models[0].head.weight, models[2].head.weight)


@pytest.mark.parametrize(("count", "batch"), [(10, 4), (7, 7), (3, 3)])
def test_every_image_comes_once_an_epoch_across_batches(count: int, batch: int) -> None:
    drawn = torch.cat([_drawn(count, seen, batch, seed=4) for seen in range(0, count * batch, batch)])
    epochs = drawn.reshape(-1, count)
    assert all(sorted(epoch.tolist()) == list(range(count)) for epoch in epochs)


def test_the_length_is_counted_in_images_with_a_floor() -> None:
    assert FineTuning().total_images(26) == 3_000
    assert FineTuning().total_images(6_000) == 180_000
