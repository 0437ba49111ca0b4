"""A workshop whose generator costs nothing but a little sleep, for tests of faults that need no model in every actor.

Its pixels are a function of the view's seed alone, as a real generator's are.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from factory import job
from factory.generators.protocol import Rendered, ViewRequest
from factory.recipe import Recipe
from factory.runs import RunLog
from factory.views.protocol import LatentSpace
from factory.workshop import Workshop
from manifests.patience import PatientStore


class Noise:
    """Draws noise of the view's seed; spoils chosen (group, view)s at chosen attempts: nan, blank or flagged."""

    name, licence = "noise", "none"
    space: LatentSpace | None = None

    def __init__(self, spoilt: Mapping[tuple[int, int], Sequence[str]] = {}, batch_s: float = 0.0) -> None:
        self._spoilt, self._batch_s = spoilt, batch_s

    def fingerprint(self) -> dict[str, str]:
        return {"sha256": "ab"}

    def prepare(self, prompts: Sequence[tuple[str, str]]) -> None:
        pass

    def batch_key(self, request: ViewRequest) -> str:
        return ""

    def row(self, request: ViewRequest) -> dict[str, Any]:
        return {}

    def close(self) -> None:
        pass

    def render(self, batch: Sequence[ViewRequest], batch_size: int) -> Rendered:
        time.sleep(self._batch_s)
        moods = [self._mood(one) for one in batch]
        noise = [np.random.Generator(np.random.Philox(one.seed)).integers(0, 256, (8, 8, 3)) for one in batch]
        pixels = np.stack([n * (mood != "blank") for n, mood in zip(noise, moods, strict=True)]).astype(np.uint8)
        return Rendered(pixels, np.array([m != "nan" for m in moods]), np.array([m == "flagged" for m in moods]))

    def _mood(self, one: ViewRequest) -> str:
        moods = self._spoilt.get((one.group, one.view), ())
        return moods[one.attempt] if one.attempt < len(moods) else "ok"


class CheapWorkshop(Workshop):
    """A workshop with nothing to load."""

    batch_s = 0.05

    def open(self) -> dict[str, str]:
        self._store = PatientStore.open(self._assignment.url)
        self._log = RunLog(self._store, self._assignment.run_id)
        self._generators = [Noise(batch_s=self.batch_s)]
        self._numerics = {"device": "none"}
        return self._numerics


def recipe(**changes: Any) -> Recipe:
    """A recipe of 3 shards (10 groups by 4) of 2 views that names the shipped weights; nothing here loads them."""
    counts = {"groups": 10, "views": 2, "groups_per_shard": 4, "batch": 4}
    what = {"sources": [{"model": "builtin:emoji-diffusion"}], "prompts": {"texts": ["a cat", "a dog", "a house"]}}
    return Recipe.model_validate({"name": "cheap", "seed": 3, **counts, **what, **changes})


def make(out: Path, wanted: Recipe | None = None) -> str:
    """Render a recipe as noise in this process, to the end; returns the root."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("factory.crew.Workshop", CheapWorkshop)
        patch.setattr(CheapWorkshop, "batch_s", 0.0)
        work = job.begin(wanted or recipe(), str(out), job.Options(inline=True))
        job.run(work)
    return job.finish(work)
