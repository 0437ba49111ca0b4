"""Retrieval among the views of a group: mean average precision, and how often the nearest image is such a view."""

from __future__ import annotations

import numpy as np

from trainer.evaluation.evidence import mean_score
from trainer.evaluation.partition import name_order
from trainer.evaluation.retrieval import average_precisions
from trainer.evaluation.suite.bench import Bench, InapplicableError, Measurement, Protocol, measured

MOST_GROUPS = 2_000  # that seek one another: the more, the harder


def _measure(bench: Bench) -> list[Measurement]:
    views = bench.task.pool.dataset.version.views_per_group
    if views < 2:
        raise InapplicableError(f"{bench.task.name} has one view a group; retrieval needs two or more")
    keys = np.array(bench.task.pool.rows["key"].to_pylist(), np.str_)[bench.task.scored]
    names, group = np.unique(keys, return_inverse=True)
    kept = np.isin(group, name_order(names.tolist(), "retrieval")[:MOST_GROUPS])
    rows, groups = bench.task.scored[kept], group[kept]
    precision, hit = average_precisions(bench.features[rows], groups)
    found = {"retrieval_map": precision, "retrieval_first": hit.astype(np.float64)}
    return [measured(metric, mean_score(values, groups), len(rows)) for metric, values in found.items()]


RETRIEVAL = Protocol("retrieval", 1, _measure)
