"""Cuts a data set into views by chance that stays: groups of one prompt, or one thing, fall on the same side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path

from manifests.dataset import DataSet
from manifests.errors import UserError
from manifests.selection import select
from manifests.shard import check_member_name

PARTS = 1_000_000


def split(dataset: DataSet, out: str | Path, shares: Mapping[str, float], *, seed: int = 0) -> dict[str, DataSet]:
    """Write a view for each name in a folder of its own under `out`; shares are fractions that add up to 1.

    A group's side depends on its positive_id and the seed alone, so that it stays when the data set grows.
    Raises: UserError for shares that are none, or a part that no group falls into.
    """
    if (
        len(shares) < 2
        or not all(0 < share < 1 for share in shares.values())
        or not math.isclose(sum(shares.values()), 1, abs_tol=1e-6)
    ):
        raise UserError(f"shares {dict(shares)}: expected two or more fractions above 0 that add up to 1")
    for name in shares:
        check_member_name(name)
    views, begin = {}, 0
    for number, (name, share) in enumerate(shares.items()):
        end = PARTS if number == len(shares) - 1 else begin + round(share * PARTS)
        views[name] = select(
            dataset, condition(begin, end, seed), f"{out}/{name}", name=f"{dataset.version.name} {name}"
        )
        begin = end
    return views


def condition(begin: int, end: int, seed: int) -> str:
    """Return the SQL that holds for the groups whose draw falls into a range of 0 to PARTS."""
    draw = f"md5_number(concat('{seed}/', CAST(positive_id AS VARCHAR))) % {PARTS}"
    return f"{draw} >= {begin} AND {draw} < {end}"
