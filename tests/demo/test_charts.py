"""Charts put values where their axes say."""

import re
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from demo.charts import Interval, compact, interval_plot, line_chart, nice_ticks, thin

values = st.floats(-1e6, 1e6).map(lambda value: round(value, 4))


@settings(deadline=None)
@given(values, values)
def test_ticks_enclose_the_range_evenly_and_are_few(one: float, other: float) -> None:
    low, high = min(one, other), max(one, other)
    ticks = nice_ticks(low, high)
    step = ticks[1] - ticks[0]
    assert ticks[0] <= low + 1e-6 * step
    assert ticks[-1] >= high - 1e-6 * step
    assert 2 <= len(ticks) <= 7
    assert [b - a for a, b in pairwise(ticks)] == pytest.approx([step] * (len(ticks) - 1), rel=1e-6)


def test_ticks_are_round_numbers() -> None:
    assert nice_ticks(0.0, 0.64) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8])
    assert nice_ticks(2.4, 5.7) == pytest.approx([2, 3, 4, 5, 6])


def test_the_curve_runs_from_the_highest_value_down_to_the_lowest() -> None:
    chart = line_chart("Loss", "2.00", [100, 200], [4.0, 2.0])
    points = re.search(r'points="([^"]*)"', chart)
    assert points is not None
    assert points[1] == "50.00,0.00 100.00,100.00"  # the axis runs from 2 at the bottom to 4 at the top


def test_a_curve_leaves_out_what_is_not_finite_and_an_empty_one_says_so() -> None:
    assert 'points="33.33,' in line_chart("Loss", "–", [1, 2, 3], [1.0, float("nan"), 3.0])
    assert "Nothing was recorded." in line_chart("Loss", "–", [], [])


def test_thinning_keeps_the_mean_and_the_order() -> None:
    xs = list(range(1000))
    points = thin(xs, [2.0 * x for x in xs], most=100)
    assert len(points) == 100
    assert points[0] == (4.5, 9.0)
    assert [x for x, _ in points] == sorted(x for x, _ in points)


def test_an_interval_lies_where_its_numbers_say() -> None:
    plot = interval_plot([("A", "encoder", Interval(0.4, 0.3, 0.5))], chance=0.1)
    assert nice_ticks(0.0, 0.5, wanted=5)[-1] == 0.5
    assert 'cx="80.00%"' in plot
    assert 'x1="60.00%" x2="100.00%" y1="17" y2="17" class="bar"' in plot
    assert 'x1="20.00%" x2="20.00%" y1="0" y2="34" class="floor"' in plot


def test_counts_are_shortened_for_axes() -> None:
    assert [compact(count) for count in (950, 12_800, 154_000, 1_000_000)] == ["950", "12.8 k", "154 k", "1 M"]
