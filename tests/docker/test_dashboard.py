"""The dashboard asks for what is exported, in queries that Prometheus can answer."""

from __future__ import annotations

import json
import re
from itertools import pairwise
from pathlib import Path

BOARD = json.loads((Path(__file__).parents[2] / "docker" / "grafana" / "viewmill.json").read_text(encoding="utf-8"))
QUERIES = [target["expr"] for panel in BOARD["panels"] for target in panel["targets"]]


def exported(folder: Path) -> set[str]:
    """Name all metrics that the code exports."""
    from factory.metrics import FactoryMetrics
    from manifests.prometheus import names
    from trainer.outlet import RunMetrics

    ours, theirs = FactoryMetrics(str(folder / "f.prom")), RunMetrics(str(folder / "t.prom"), images=1)
    both = [ours.exposition, theirs.exposition]
    return {name for one in both for name in names(one.registry)}


def operands(query: str) -> list[str]:
    """Split a query at its outermost / and *."""
    flat = query
    while (shorter := re.sub(r"\([^()]*\)", lambda inner: "_" * len(inner[0]), flat)) != flat:
        flat = shorter
    cuts = [0, *(match.end() for match in re.finditer(r" [/*] ", flat)), len(flat) + 3]
    return [query[begin : end - 3] for begin, end in pairwise(cuts)]


def labelled_alike(query: str) -> bool:
    """Say whether all series that are divided keep their labels, or none does; else Prometheus finds no pair."""
    series = [operand for operand in operands(query) if "viewmill_" in operand]
    return len({bool(re.match(r"(sum|avg|min|max|count)\b", operand)) for operand in series}) == 1


def test_no_panel_divides_a_sum_by_a_series_with_labels() -> None:
    assert not labelled_alike("sum(rate(viewmill_a[5m])) / viewmill_b")
    assert labelled_alike('sum(viewmill_a{status="x"}) / sum(viewmill_a)')
    assert labelled_alike("viewmill_a / 3600")
    assert [query for query in QUERIES if not labelled_alike(query)] == []


def test_the_dashboard_asks_for_what_the_code_exports_and_for_all_of_it(tmp_path: Path) -> None:
    asked = {name for query in QUERIES for name in re.findall(r"viewmill_\w+", query)}
    known = exported(tmp_path)
    assert asked <= known
    families = {re.sub(r"_(total|created)$", "", name) for name in known}
    assert {re.sub(r"_total$", "", name) for name in asked} == families
