"""A NaN on one rank makes all ranks skip; a signal on one rank makes all stop."""

from __future__ import annotations

import math
import os
import signal

import pytest
import torch

from learning.gather import rank
from learning.guard import FiniteGuard, NonFiniteError, StopSignal
from tests.distributed.harness import run_processes

CPU = torch.device("cpu")
ONE = torch.tensor(1.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_either_number_makes_the_step_be_skipped_and_counted(value: float) -> None:
    guard = FiniteGuard()
    assert guard.is_finite(ONE, ONE)
    assert not guard.is_finite(torch.tensor(value), ONE)
    assert not guard.is_finite(ONE, torch.tensor(value))
    assert guard.is_finite(ONE, ONE)
    assert (guard.skipped, guard.skipped_in_a_row) == (2, 0)


def test_the_budget_is_for_skips_in_a_row() -> None:
    guard = FiniteGuard(max_skips_in_a_row=2)
    for _ in range(5):
        assert not guard.is_finite(torch.tensor(math.nan), ONE)
        assert not guard.is_finite(ONE, torch.tensor(math.nan))
        assert guard.is_finite(ONE, ONE)
    assert guard.skipped == 10


def test_beyond_the_budget_the_error_says_what_and_what_to_do() -> None:
    guard = FiniteGuard(max_skips_in_a_row=1)
    guard.is_finite(torch.tensor(math.nan), ONE)
    expected = r"2 steps in a row were not finite, expected at most 1: loss nan, gradient norm 1.0 on rank 0.*lower"
    with pytest.raises(NonFiniteError, match=expected):
        guard.is_finite(torch.tensor(math.nan), ONE)


def test_the_count_comes_back_from_a_checkpoint() -> None:
    guard, resumed = FiniteGuard(), FiniteGuard()
    guard.is_finite(torch.tensor(math.nan), ONE)
    resumed.load_state_dict(guard.state_dict())
    assert (resumed.skipped, resumed.skipped_in_a_row) == (1, 1)


def steps_with_a_nan_on_rank_one() -> tuple[list[bool], int, str]:
    guard = FiniteGuard(max_skips_in_a_row=1)
    bad = torch.tensor(math.nan if rank() == 1 else 1.0)
    decisions = [guard.is_finite(ONE, ONE), guard.is_finite(ONE, bad), guard.is_finite(ONE, ONE)]
    try:
        guard.is_finite(bad, ONE)
        guard.is_finite(bad, ONE)
    except NonFiniteError as error:
        return decisions, guard.skipped, str(error)
    return decisions, guard.skipped, "no error"


def test_a_nan_on_one_rank_is_skipped_and_raised_by_all() -> None:
    for decisions, skipped, text in run_processes(2, steps_with_a_nan_on_rank_one):
        assert decisions == [True, False, True]
        assert skipped == 3
        assert "on rank 1 (ranks [1])" in text


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_is_noted_and_the_old_handler_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopSignal() as stop:
        assert not stop.requested_anywhere(CPU)
        os.kill(os.getpid(), number)
        assert stop.requested
        assert stop.requested_anywhere(CPU)
    assert signal.getsignal(number) is before


def stop_after_a_signal_to_rank_one() -> list[bool]:
    with StopSignal() as stop:
        before = stop.requested_anywhere(CPU)
        if rank() == 1:
            os.kill(os.getpid(), signal.SIGUSR1)
        return [before, stop.requested_anywhere(CPU)]


def test_a_signal_to_one_rank_stops_all_at_the_same_step() -> None:
    assert run_processes(2, stop_after_a_signal_to_rank_one) == [[False, True], [False, True]]
