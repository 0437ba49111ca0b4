"""Splits and folds: whole components, evenly spread classes, nothing random."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from trainer.evaluation.duplicates import area_average, components, connected, name_pairs, thinned
from trainer.evaluation.partition import deal, name_order, straddling


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), parts=st.integers(2, 6))
def test_no_component_lies_in_two_parts(seed: int, parts: int) -> None:
    draw = np.random.default_rng(seed)
    labels, grouped = draw.integers(0, 5, 200), draw.integers(0, 60, 200)
    dealt = deal(labels, grouped, parts, "salt")
    assert all(len(set(dealt[grouped == c])) == 1 for c in set(grouped.tolist()))
    assert len(straddling(grouped, dealt)) == 0
    assert set(dealt.tolist()) <= set(range(parts))


def test_classes_of_single_images_are_spread_to_within_one() -> None:
    labels = np.repeat(np.arange(4), [50, 23, 7, 5])
    dealt = deal(labels, np.arange(85), 5, "salt")
    assert all(np.ptp(np.bincount(dealt[labels == c], minlength=5)) <= 1 for c in range(4))


def test_a_leak_is_named() -> None:
    assert straddling(np.array([3, 3, 8, 8, 9]), np.array([0, 1, 1, 1, 0])).tolist() == [3]


def test_the_order_of_names_does_not_depend_on_the_order_they_come_in() -> None:
    names = [f"drawing {i}" for i in range(30)]
    forwards = [names[i] for i in name_order(names)]
    assert forwards == [names[::-1][i] for i in name_order(names[::-1])]
    assert forwards != names
    assert forwards != [names[i] for i in name_order(names, "other salt")]


def test_components_are_the_transitive_closure() -> None:
    assert connected(6, np.array([[4, 5], [1, 4], [2, 0]])).tolist() == [0, 1, 0, 3, 1, 1]


def test_a_name_that_many_share_is_a_series_and_joins_nothing() -> None:
    assert name_pairs(["a", "b", "a", "", ""], limit=2).tolist() == [[0, 2]]
    assert name_pairs(["a", "a", "a"], limit=2).tolist() == []


def ring(red: int, radius: float, centre: float = 32) -> np.ndarray:
    y, x = np.mgrid[:64, :64]
    inside = np.abs(np.hypot(x - centre, y - 20 - centre / 3) - radius) < 4
    return np.where(inside[..., None], [red, 40, 200 - red // 2], 255).astype(np.uint8)


def test_colour_variants_and_mirror_images_are_joined_and_other_shapes_are_not() -> None:
    images = np.stack([ring(10, 15, 25), ring(240, 15, 25), ring(10, 15, 25)[:, ::-1], ring(10, 6, 25)])
    assert components(images).tolist() == [0, 0, 0, 3]


def test_thinning_keeps_the_first_of_every_look() -> None:
    alike = np.eye(4, dtype=bool)
    alike[0, 1] = alike[1, 0] = alike[1, 2] = alike[2, 1] = True
    assert thinned(alike, np.array([3, 1, 0, 2])).tolist() == [3, 1]


def test_area_averages_equal_block_means_and_keep_the_mean_at_odd_sizes() -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    blocks = images.reshape(2, 16, 4, 16, 4, 3).mean((2, 4)) / 255
    np.testing.assert_allclose(area_average(images, 16), blocks, atol=1e-12)
    np.testing.assert_allclose(area_average(images, 24).mean((1, 2)), images.mean((1, 2)) / 255, atol=1e-12)
