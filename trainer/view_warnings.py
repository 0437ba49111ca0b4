"""Names what has become of learned views, from a line of metrics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_OFTEN = 0.5  # of a window's steps
_INVERTIBLE = 1e-5


def view_warnings(line: Mapping[str, Any]) -> list[str]:
    """Say that the flow hides too much, and whether it gives way; or that it cannot be undone any more."""
    found = []
    over_shrunk, gives_way = line.get("over_shrunk") or 0.0, line.get("gives_way") or 0.0
    if over_shrunk >= _OFTEN:
        nats, done = line.get("i_nce_nats") or 0.0, "gives way" if gives_way else "goes on hiding"
        found.append(
            f"over-shrunk views: I_NCE {nats:.2f} nats, below objective.least_nats in {over_shrunk:.0%} of the steps, "
            f"and the flow {done}: InfoMin's unsupervised arm does so; add labels, or lower objective.flow_rate"
        )
    if (line.get("inversion_error") or 0.0) > _INVERTIBLE:
        found.append(
            f"the flow's inverse is off by {line['inversion_error']:.1e}: take fewer couplings, or additive ones"
        )
    return found
