"""Pure: when so much is quarantined that the recipe or the device must be at fault, and not the images."""

from __future__ import annotations

from collections.abc import Mapping

JUDGED_LEAST = 100  # views; fewer say nothing yet


def quarantined_fraction(views: Mapping[str, int]) -> float:
    """Return the share of views that the judge refused at every attempt; `dropped` ones were sound themselves."""
    total = sum(views.values())
    return views.get("quarantined", 0) / total if total else 0.0


def is_tripped(views: Mapping[str, int], limit_fraction: float) -> bool:
    """Say whether a run must stop, from its views by status."""
    return sum(views.values()) >= JUDGED_LEAST and quarantined_fraction(views) > limit_fraction
