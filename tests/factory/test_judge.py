"""Which views are fit to keep: verdicts, their order, and what happens next."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.judge import JudgeConfig, Verdict, blankness, judge, next_step, reason


def images(*pictures: np.ndarray) -> np.ndarray:
    return np.stack(pictures).astype(np.uint8)


BLACK = np.zeros((8, 8, 3))
CHECKERS = np.indices((8, 8)).sum(axis=0)[:, :, None] % 2 * np.array([200, 0, 0])


def test_each_failure_has_its_name_and_the_flag_comes_before_the_black_image() -> None:
    pixels = images(CHECKERS, BLACK, BLACK, BLACK, CHECKERS)
    finite = np.array([True, True, True, False, False])
    flagged = np.array([False, False, True, True, False])
    assert judge(pixels, finite, flagged, JudgeConfig()) == ["ok", "blank", "flagged", "flagged", "nan"]


def test_a_picture_in_one_colour_channel_is_not_blank() -> None:
    assert judge(images(CHECKERS), np.array([True]), np.array([False]), JudgeConfig()) == ["ok"]


@pytest.mark.parametrize(("blank_std", "verdict"), [(0.0, "ok"), (0.4, "ok"), (0.6, "blank")])
def test_nearly_constant_is_blank_below_the_threshold(blank_std: float, verdict: Verdict) -> None:
    nearly = np.full((8, 8, 3), 128) + np.indices((8, 8)).sum(axis=0)[:, :, None] % 2  # standard deviation 0.5
    found = judge(images(nearly), np.array([True]), np.array([False]), JudgeConfig(blank_std=blank_std))
    assert found == [verdict]


def test_threshold_zero_keeps_even_black_images() -> None:
    assert judge(images(BLACK), np.array([True]), np.array([False]), JudgeConfig(blank_std=0)) == ["ok"]


@given(st.integers(0, 255), st.integers(0, 255), st.integers(1, 63))
def test_blankness_is_the_standard_deviation_of_the_levels(low: int, high: int, count: int) -> None:
    levels = np.full(64, low)
    levels[:count] = high
    picture = np.repeat(levels.reshape(8, 8, 1), 3, axis=2)
    expected = abs(high - low) * (count / 64 * (1 - count / 64)) ** 0.5
    assert blankness(images(picture))[0] == pytest.approx(expected)


@pytest.mark.parametrize("attempts", [1, 2, 5])
def test_a_view_is_tried_that_many_times_and_no_more(attempts: int) -> None:
    config = JudgeConfig(attempts=attempts)
    steps = [next_step("blank", attempt, config) for attempt in range(attempts)]
    assert steps == ["again"] * (attempts - 1) + ["quarantine"]
    assert next_step("ok", attempts - 1, config) == "keep"


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [(["nan"], "nan"), (["flagged"] * 3, "3 x flagged"), (["nan", "blank", "blank", "nan"], "nan, 2 x blank, nan")],
)
def test_the_reason_tells_all_attempts(verdicts: list[Verdict], said: str) -> None:
    assert reason(verdicts) == said
