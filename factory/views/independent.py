"""Views that share their prompt and nothing else: each has noise of its own (StableRep, Tian et al. 2023)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from factory.views.protocol import Draw
from manifests.seeds import view_seed


class Independent(BaseModel):
    """One prompt, k noises."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: Literal["independent"] = Field(default="independent", description="one prompt, own noise for each view")

    def draw(self, seed: int, group: int, view: int, attempt: int) -> Draw:
        """Draw the view's own noise seed."""
        return Draw(seed=view_seed(seed, group, view, attempt))
