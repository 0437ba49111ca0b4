"""Schedules are tables: these were worked out by hand."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.schedule import cosine, ema_decay, warmup_cosine

HALF_ROOT = 2**0.5 / 2


@pytest.mark.parametrize(
    ("images_seen", "expected"),
    [
        (0, 0.0),
        (1, 0.02),
        (50, 1.0),
        (99, 1.98),
        (100, 2.0),
        (200, 0.2 + 1.8 * (1 + HALF_ROOT) / 2),
        (300, 1.1),
        (400, 0.2 + 1.8 * (1 - HALF_ROOT) / 2),
        (500, 0.2),
        (10**9, 0.2),
    ],
)
def test_golden_table_of_warmup_cosine(images_seen: int, expected: float) -> None:
    rate = warmup_cosine(images_seen, peak=2.0, warmup_images=100, total_images=500, final=0.2)
    assert rate == pytest.approx(expected, abs=1e-15)


def test_without_warmup_it_starts_at_the_peak() -> None:
    assert warmup_cosine(0, peak=0.3, warmup_images=0, total_images=10) == 0.3


def test_a_warmup_as_long_as_the_run_ends_at_final() -> None:
    assert warmup_cosine(10, peak=1.0, warmup_images=10, total_images=10, final=0.5) == 0.5


def test_a_warmup_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match="warmup_images is 11, expected 0 to total_images"):
        warmup_cosine(0, peak=1.0, warmup_images=11, total_images=10)


@given(st.integers(0, 2000), st.integers(0, 500), st.integers(500, 1500))
def test_warmup_cosine_stays_between_zero_and_the_peak(images_seen: int, warmup: int, total: int) -> None:
    assert 0 <= warmup_cosine(images_seen, peak=1.0, warmup_images=warmup, total_images=total) <= 1


@pytest.mark.parametrize(("images_seen", "expected"), [(-5, 0.99), (0, 0.99), (50, 0.995), (100, 1.0), (200, 1.0)])
def test_golden_table_of_cosine(images_seen: int, expected: float) -> None:
    assert cosine(images_seen, start=0.99, end=1.0, total_images=100) == pytest.approx(expected, abs=1e-15)


def test_ema_decay_halves_at_its_half_life() -> None:
    decay = ema_decay(10**9, batch_images=64, half_life_images=640)
    assert decay**10 == pytest.approx(0.5, abs=1e-15)


def test_ema_decay_is_the_same_per_image_for_any_batch() -> None:
    small, large = (ema_decay(10**9, batch_images=b, half_life_images=5000) for b in (32, 128))
    assert small**4 == pytest.approx(large, abs=1e-15)


def test_the_half_life_warms_up() -> None:
    assert ema_decay(0, batch_images=10, half_life_images=1000) == 0.0
    assert ema_decay(2000, batch_images=100, half_life_images=1000) == pytest.approx(0.5, abs=1e-15)
    assert ema_decay(0, batch_images=1000, half_life_images=1000, warmup_fraction=None) == 0.5
