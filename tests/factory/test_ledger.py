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
