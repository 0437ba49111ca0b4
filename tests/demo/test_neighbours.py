"""Nearest neighbours against a plain search."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.neighbours import draw_queries, nearest, raw_pixels


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_neighbours_are_those_of_a_plain_search(seed: int) -> None:
    random = np.random.default_rng(seed)
    features = random.standard_normal((30, 5)).astype(np.float32)
    groups = random.integers(0, 12, 30)
    found = nearest(features, np.array([3, 7]), groups, count=4)
    for row, query in enumerate((3, 7)):
        wide = features.astype(np.float64)
        cosine = {i: wide[i] @ wide[query] / np.linalg.norm(wide[i]) / np.linalg.norm(wide[query]) for i in range(30)}
        others = sorted((i for i in range(30) if groups[i] != groups[query]), key=lambda i: -cosine[i])
        assert found[row].tolist() == others[:4]


def test_no_image_of_the_querys_own_component_is_shown() -> None:
    features = np.ones((6, 2), np.float32)
    groups = np.array([0, 0, 0, 1, 2, 3])
    assert nearest(features, np.array([1]), groups, count=3).tolist() == [[3, 4, 5]]


def test_queries_are_one_a_class_and_repeat_for_a_seed() -> None:
    labels = np.repeat(np.arange(10), 5)
    queries = draw_queries(labels, 8, seed=0)
    assert len(np.unique(labels[queries])) == 8
    assert queries.tolist() == draw_queries(labels, 8, seed=0).tolist()
    assert queries.tolist() != draw_queries(labels, 8, seed=1).tolist()


def test_raw_pixels_are_averages_over_areas() -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:2, :4] = 255  # half of the first cell of 4 × 4 pixels
    rows = raw_pixels([image, np.full((48, 64, 3), 255, np.uint8)])
    assert rows.shape == (2, 16 * 16 * 3)
    assert np.allclose(rows[0, :3], 0.5, atol=1 / 255)
    assert not rows[0, 3:].any()
    assert (rows[1] == 1).all()
