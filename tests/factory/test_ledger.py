"""Which shard goes where: everything once, a poison is told from its neighbour, a preemption is no fault."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from factory.ledger import Ledger


def test_a_worker_gets_two_shards_and_no_third() -> None:
    ledger = Ledger(range(5))
    assert [ledger.next([]), ledger.next([0]), ledger.next([0, 1])] == [0, 1, None]


def test_a_shard_that_was_lost_with_its_worker_runs_alone_from_then_on() -> None:
    ledger = Ledger(range(3))
    first, second = ledger.next([]), ledger.next([0])
    assert ledger.next([1]) == 2
    ledger.strike(0, "died")
    ledger.strike(1, "died")
    assert (first, second) == (0, 1)
    assert ledger.next([]) == 0
    assert ledger.next([0]) is None  # nothing beside it
    assert ledger.next([2]) is None  # and it not beside another


def test_the_third_strike_gives_a_shard_up_and_its_neighbour_lives() -> None:
    ledger = Ledger([0, 1])
    held = [ledger.next([]), ledger.next([0])]
    for _ in range(3):
        for shard in held:
            assert shard is not None
            if shard == 0 or len(held) == 2:
                ledger.strike(shard, "poison")
            else:
                ledger.finish(shard)
        held = [ledger.next([])]
        if held == [1]:
            ledger.finish(1)
            held = [ledger.next([])]
    assert ledger.failed == {0: "poison"}
    assert ledger.done == {1}
    assert not ledger.open


def test_a_preempted_shard_comes_first_again_and_has_no_strike() -> None:
    ledger = Ledger(range(3))
    ledger.next([])
    for _ in range(10):
        ledger.give_back(0)
        assert ledger.next([]) == 0
    assert ledger.next([0]) == 1
    assert not ledger.failed


def test_a_job_whose_first_three_shards_all_fail_is_hopeless() -> None:
    ledger = Ledger(range(5), strike_limit=1)
    for shard in range(3):
        ledger.next([])
        ledger.strike(shard, "no")
    assert ledger.is_hopeless
    ledger.finish(3)
    assert not ledger.is_hopeless


def test_workers_that_die_while_loading_end_the_job_unless_one_gets_through() -> None:
    ledger = Ledger(range(5))
    ledger.loading_deaths += ["no memory"] * 4
    assert not ledger.is_hopeless
    ledger.finish(0)
    ledger.loading_deaths += ["no memory"] * 5
    assert ledger.is_hopeless


@given(fates=st.lists(st.sampled_from(["finish", "strike", "preempt"]), max_size=200), shards=st.integers(1, 12))
def test_no_shard_is_ever_lost_or_handed_out_twice_at_once(fates: list[str], shards: int) -> None:
    ledger, held = Ledger(range(shards)), []
    for fate in fates:
        while (shard := ledger.next(held)) is not None:
            assert shard not in held
            held.append(shard)
        if not held:
            break
        shard = held.pop(0)
        {"finish": ledger.finish, "strike": lambda s: ledger.strike(s, ""), "preempt": ledger.give_back}[fate](shard)
    assert ledger.done | set(ledger.failed) | ledger.open == set(range(shards))
    assert not ledger.done & set(ledger.failed)
    assert set(held) <= ledger.open


def finish_three(ledger: Ledger, seconds: float) -> None:
    for _ in range(3):
        shard = ledger.next([], now_s=0.0)
        assert shard is not None
        ledger.finish(shard, seconds)


def test_the_slowest_of_the_last_shards_is_drawn_a_second_time() -> None:
    ledger = Ledger(range(5), twin_after_s=10.0)
    finish_three(ledger, 20.0)
    assert [ledger.next([], now_s=20.0), ledger.next([], now_s=25.0)] == [3, 4]
    assert ledger.next([], now_s=60.0) is None  # neither has taken twice the median
    assert ledger.next([3], now_s=61.0) is None  # who draws one does not draw its twin
    assert ledger.next([], now_s=61.0) == 3
    assert ledger.next([], now_s=61.5) is None  # two are enough
    ledger.finish(3, 62.0)
    ledger.finish(3, 63.0)  # the other twin
    ledger.finish(4, 64.0)
    assert (ledger.done, ledger.open, ledger.twins) == ({0, 1, 2, 3, 4}, set(), 1)


def test_a_twin_that_dies_costs_nothing_while_the_other_draws() -> None:
    ledger = Ledger(range(4), twin_after_s=1.0)
    finish_three(ledger, 1.0)
    assert ledger.next([], now_s=0.0) == 3
    assert ledger.next([], now_s=9.0) == 3
    ledger.strike(3, "died")
    assert ledger.next([], now_s=9.1) == 3  # alone again, so it may have another twin
    ledger.give_back(3)
    ledger.give_back(3)
    assert ledger.next([], now_s=9.2) == 3
    assert not ledger.failed


def test_a_strike_after_the_twin_finished_is_none() -> None:
    ledger = Ledger(range(4), twin_after_s=1.0, strike_limit=1)
    finish_three(ledger, 1.0)
    ledger.next([], now_s=0.0)
    ledger.next([], now_s=9.0)
    ledger.finish(3, 10.0)
    ledger.strike(3, "died")
    assert (ledger.failed, ledger.done) == ({}, {0, 1, 2, 3})


def test_shards_of_a_pool_go_to_its_workers_alone() -> None:
    ledger = Ledger(range(6), pool_of=lambda shard: shard % 2)
    assert ledger.open_in == {0: 3, 1: 3}
    assert [ledger.next([], pool=1) for _ in range(4)] == [1, 3, 5, None]
    ledger.finish(3)
    ledger.give_back(1)
    assert ledger.next([], pool=1) == 1
    assert ledger.next([], pool=0) == 0
    assert ledger.open_in == {0: 3, 1: 2}


def test_a_shard_whose_nodes_go_again_and_again_is_given_up_in_the_end() -> None:
    ledger = Ledger([7], loss_limit=3)
    for _ in range(2):
        assert ledger.next([]) == 7
        ledger.give_back(7, "its node has died")
    ledger.next([])
    ledger.give_back(7, "its node has died")
    assert ledger.failed == {7: "its workers went away 3 times: its node has died"}
    assert ledger.retries == {"went away": 2}
