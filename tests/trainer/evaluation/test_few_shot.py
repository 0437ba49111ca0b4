"""A handful of labels: ridge and prototypes against scikit-learn, episodes without near-duplicates."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge
from sklearn.neighbors import NearestCentroid

from trainer.evaluation.few_shot import (
    QUERIES,
    WAYS,
    draw_episode,
    predict_few_shot,
    prototypes,
    score_episodes,
    usable_classes,
)
from trainer.evaluation.protocol import Part, fold_parts
from trainer.evaluation.ridge import ridge

DRAW = np.random.default_rng(5)


def clusters(classes: int, each: int, width: int, noise: float) -> tuple[torch.Tensor, np.ndarray]:
    labels = np.arange(classes * each) % classes
    centres = DRAW.normal(size=(classes, width))
    return torch.from_numpy(centres[labels] + noise * DRAW.normal(size=(len(labels), width))), labels


@pytest.mark.parametrize(("count", "width"), [(60, 8), (12, 40)])
def test_ridge_is_scikit_learns_with_more_images_than_features_and_with_fewer(count: int, width: int) -> None:
    features, labels = clusters(4, count // 4, width, 1.5)
    queries = torch.from_numpy(DRAW.normal(size=(200, width)))
    mean, std = features.mean(0), features.std(0)
    targets = 2.0 * np.eye(4)[labels] - 1
    reference = Ridge(alpha=width).fit(((features - mean) / std).numpy(), targets)
    expected = reference.predict(((queries - mean) / std).numpy()).argmax(1)
    assert ridge(features, torch.from_numpy(labels), queries, 4, penalty=width).tolist() == expected.tolist()


def test_prototypes_are_scikit_learns_nearest_centroids() -> None:
    support, labels = clusters(5, 3, 6, 1.0)
    queries = torch.from_numpy(DRAW.normal(size=(300, 6)))
    expected = NearestCentroid().fit(support.numpy(), labels).predict(queries.numpy())
    assert prototypes(support, torch.from_numpy(labels), queries, 5).tolist() == expected.tolist()


def test_few_shot_learns_from_as_many_images_as_it_says_and_from_no_other() -> None:
    features, labels = clusters(3, 40, 8, 0.01)
    keys = [f"image {index}" for index in range(len(labels))]
    parts = fold_parts(labels, np.arange(len(labels)))
    found = predict_few_shot(features, labels, keys, parts, shots=1, draw=0)
    assert (found == labels).all()
    everything = np.arange(len(labels))
    none = np.array([], np.int64)
    part = Part(everything[:60], none, everything[60:])
    poisoned = features.clone()
    poisoned[60:] = 100.0  # what is predicted may not move the fit
    first = predict_few_shot(features, labels, keys, [part], shots=5, draw=1)
    changed = np.where(everything >= 60, (labels + 1) % 3, labels)
    assert (first == predict_few_shot(features, changed, keys, [part], shots=5, draw=1)).all()
    assert (first[:60] == -1).all()
    assert (predict_few_shot(poisoned, labels, keys, [part], shots=5, draw=1)[:60] == -1).all()


def test_other_draws_are_other_images() -> None:
    features, labels = clusters(3, 40, 4, 3.0)
    keys = [f"image {index}" for index in range(len(labels))]
    parts = fold_parts(labels, np.arange(len(labels)))
    found = [predict_few_shot(features, labels, keys, parts, shots=1, draw=draw).tolist() for draw in (0, 0, 1)]
    assert found[0] == found[1] != found[2]


def test_an_episode_shows_and_asks_images_of_five_classes_once_and_no_near_duplicates() -> None:
    labels = np.arange(400) % 8
    components = np.arange(400) // 16  # two of each class are near-duplicates
    classes = usable_classes(labels, components, 5)
    assert len(classes) == 8
    for seed in range(20):
        episode = draw_episode(classes, 5, seed)
        rows = np.concatenate([episode.support, episode.queries])
        assert len(set(rows.tolist())) == len(rows)
        named = np.concatenate([episode.support_labels, episode.query_labels])
        for way in range(WAYS):
            mine = rows[named == way]
            assert len(set(labels[mine].tolist())) == 1
            assert len(set(components[mine].tolist())) == len(mine) == 5 + QUERIES
    assert (draw_episode(classes, 5, 3).support == draw_episode(classes, 5, 3).support).all()


def test_a_class_with_too_few_independent_images_is_in_no_episode() -> None:
    labels = np.array([0] * 10 + [1] * 10)
    components = np.array([*range(10), *([10] * 10)])
    assert [len(members) for members in usable_classes(labels, components, 1)] == [10]


def test_features_that_say_nothing_score_a_fifth_and_the_interval_is_that_of_the_mean() -> None:
    labels = np.arange(600) % 10
    noise = torch.from_numpy(np.random.default_rng(0).normal(size=(600, 16)))  # its own: tests come in any order
    found = score_episodes(noise, labels, np.arange(600), shots=1, episodes=200)
    assert found.low < 0.2 < found.high
    assert found.high - found.mean == pytest.approx(found.mean - found.low)
    assert found.high - found.low < 0.05
    told = score_episodes(torch.eye(10)[labels], labels, np.arange(600), shots=1, episodes=10)
    assert (told.low, told.mean, told.high) == (1.0, 1.0, 1.0)


def test_too_few_classes_are_an_error() -> None:
    with pytest.raises(ValueError, match="4 classes"):
        score_episodes(torch.zeros(40, 2), np.arange(40) % 4, np.arange(40), shots=1)
