"""What every view strategy looks like to the plan."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True)
class Draw:
    """What makes one view of a group: the seed of its noise, and the numbers of its strategy by column name."""

    seed: int
    parameters: Mapping[str, float] = field(default_factory=dict)


class Strategy(Protocol):
    """How the views of a group differ; the fields of a strategy are part of the recipe's identity."""

    @property
    def name(self) -> str:
        """Return the value of the `strategy` column."""

    def draw(self, seed: int, group: int, view: int, attempt: int) -> Draw:
        """Draw one view at one attempt from the recipe's seed: pure."""
