"""Label spreading against a dense solution in numpy, and what becomes of labels on graphs that one can see."""

import numpy as np
import pytest
import torch

from trainer.semi_supervised.graph import ALPHA, affinity, diffuse, spread_labels


def dense_affinity(features, k):
    """Cosines cubed among k neighbours each way, degrees divided out: loops over numpy."""
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    cosines = unit @ unit.T
    np.fill_diagonal(cosines, -np.inf)
    graph = np.zeros_like(cosines)
    for row in range(len(unit)):
        for column in np.argsort(-cosines[row])[:k]:
            weight = max(cosines[row, column], 0) ** 3
            graph[row, column] += weight
            graph[column, row] += weight
    degrees = graph.sum(axis=1)
    return graph / np.sqrt(np.outer(degrees, degrees))


def test_the_graph_is_the_dense_references():
    features = np.random.default_rng(0).normal(size=(40, 6)) + 1
    found = affinity(torch.from_numpy(features), 5).to_dense().numpy()
    assert found == pytest.approx(dense_affinity(features, 5), abs=1e-12)
    assert found == pytest.approx(found.T)
    assert (np.diag(found) == 0).all()


def test_conjugate_gradients_solve_the_system():
    features = np.random.default_rng(1).normal(size=(60, 5)) + 1
    seeds = np.zeros((60, 3))
    seeds[[0, 1, 2, 3], [0, 1, 2, 0]] = 1
    exact = np.linalg.solve(np.eye(60) - ALPHA * dense_affinity(features, 7), seeds)
    found = diffuse(affinity(torch.from_numpy(features), 7), torch.from_numpy(seeds), ALPHA).numpy()
    assert found == pytest.approx(exact, abs=1e-5 * exact.max())
    assert found.argmax(axis=1).tolist() == exact.argmax(axis=1).tolist()


def two_moons(n=100):
    angle = torch.linspace(0, torch.pi, n)
    first = torch.stack([angle.cos(), angle.sin()], dim=1)
    second = torch.stack([1 - angle.cos(), 0.4 - angle.sin()], dim=1)
    points = torch.cat([first, second])
    bandwidth = (torch.cdist(points, points) / 0.15).square()
    return torch.exp(-bandwidth)  # rows whose cosines say who is near whom


def test_one_label_each_fills_two_moons_that_a_line_cannot_part():
    labels = torch.full((200,), -1)
    labels[50], labels[150] = 0, 1
    found = spread_labels(two_moons(), labels, 2, neighbours=6)
    assert (found.labels == torch.arange(200) // 100).all()
    assert found.certainty[[50, 150]].tolist() == [1, 1]
    assert (found.certainty >= 0).all()
    assert (found.certainty <= 1).all()


def test_known_labels_stay_and_unreached_nodes_count_for_nothing():
    features = torch.eye(6).repeat_interleave(3, dim=0)  # six islands
    labels = torch.full((18,), -1)
    labels[0], labels[1], labels[3] = 0, 1, 1  # the first island is torn, the second is known, the others are not
    found = spread_labels(features, labels, 2, neighbours=2)
    assert found.labels[[0, 1, 3]].tolist() == [0, 1, 1]
    assert found.labels[[4, 5]].tolist() == [1, 1]
    assert found.certainty[[4, 5]].min() > 0.99
    assert found.certainty[2] < 0.1
    assert found.certainty[6:].max() == 0
