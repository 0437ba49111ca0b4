"""How many workers of each kind: what fits, in proportion to what waits, and never more than there is."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from factory.cluster import needs_of, pool_options, share_out, worker_options
from factory.recipe import Recipe
from tests.factory import cheap

FLUX = {"model": "builtin:emoji-diffusion", "resources": {"GPU": 2, "A100": 0.01}}
TURBO = {"model": "builtin:emoji-diffusion", "resources": {"GPU": 0.25}}


def mixed(mix: str) -> Recipe:
    return cheap.recipe(sources=[FLUX, TURBO], mix=mix)


def test_one_pool_asks_for_the_most_that_any_source_asks_for() -> None:
    there = {"CPU": 16.0, "GPU": 4.0, "A100": 4.0}
    assert worker_options(there, mixed("groups"), 1.0) == {
        "num_gpus": 2,
        "num_cpus": 1,
        "resources": {"A100": 0.01},
    }
    assert len(pool_options(there, mixed("groups"), 1.0)) == 1


def test_sources_that_have_whole_shards_have_workers_of_their_own() -> None:
    big, small = pool_options({"CPU": 16.0, "GPU": 4.0}, mixed("shards"), 1.0)
    assert big == {"num_gpus": 2, "num_cpus": 1, "resources": {"A100": 0.01}}
    assert small == {"num_gpus": 0.25, "num_cpus": 1}
    assert needs_of(big) == {"GPU": 2, "CPU": 1, "A100": 0.01}


def test_a_recipe_for_cuda_asks_for_gpus_that_are_still_to_come() -> None:
    recipe = cheap.recipe(sources=[{"model": "builtin:emoji-diffusion"}], device="cuda")
    assert worker_options({"CPU": 2.0}, recipe, 0.5) == {"num_gpus": 0.5, "num_cpus": 1}


def test_where_most_waits_the_next_worker_goes() -> None:
    one = {"num_cpus": 1}
    assert share_out({"CPU": 4.0}, [one, one], {0: 30, 1: 10}) == [3, 1]
    assert share_out({"CPU": 4.0}, [one, one], {0: 30}) == [4, 0]
    assert share_out({"CPU": 4.0}, [one, one], {0: 1, 1: 1}) == [1, 1]  # no more than shards
    assert share_out({}, [one], {0: 9}) == [0]


def test_a_number_that_was_asked_for_stands_even_if_it_does_not_fit_yet() -> None:
    assert share_out({"CPU": 1.0}, [{"num_gpus": 1}], {0: 99}, limit=8) == [8]


needs: Any = st.fixed_dictionaries({"num_gpus": st.sampled_from([0.25, 0.5, 1, 2]), "num_cpus": st.integers(0, 3)})


@given(
    gpus=st.integers(0, 9),
    cpus=st.integers(0, 20),
    options=st.lists(needs, min_size=1, max_size=3),
    waiting=st.lists(st.integers(0, 40), min_size=3, max_size=3),
)
def test_nobody_is_promised_what_is_not_there(
    gpus: int, cpus: int, options: list[dict[str, float]], waiting: list[int]
) -> None:
    counts = share_out({"GPU": gpus, "CPU": cpus}, options, dict(enumerate(waiting)))
    assert sum(n * one["num_gpus"] for n, one in zip(counts, options, strict=True)) <= gpus + 1e-9
    assert sum(n * one["num_cpus"] for n, one in zip(counts, options, strict=True)) <= cpus
    assert all(n <= w for n, w in zip(counts, waiting, strict=False))
    if any(
        w > n and one["num_gpus"] <= gpus and one["num_cpus"] <= cpus
        for n, w, one in zip(counts, waiting, options, strict=False)
    ):
        assert sum(counts) > 0
