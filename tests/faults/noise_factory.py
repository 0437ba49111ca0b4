"""`python -m factory` with workers that draw noise and put it on a slow disk: a life costs seconds and no model.

What a kill does to the folder depends on neither; but here there is time to kill within a shard, and between its puts.
"""

from __future__ import annotations

import time
from pathlib import Path

import factory.crew
from factory.__main__ import app
from manifests.command_line import run_app
from manifests.patience import PatientStore
from tests.factory.cheap import CheapWorkshop

PUT_S = 0.2


class SlowStore(PatientStore):
    """A folder whose immutable objects take a while to arrive."""

    def put_file(self, local: Path, name: str) -> None:
        time.sleep(PUT_S)
        super().put_file(local, name)

    def put_bytes(self, data: bytes, name: str) -> None:
        time.sleep(PUT_S if name.startswith("commits/") else 0)
        super().put_bytes(data, name)


class PatientWorkshop(CheapWorkshop):
    """Takes about a second a shard."""

    batch_s = 0.3

    def open(self) -> dict[str, str]:
        numerics = super().open()
        self._store = SlowStore.open(self._assignment.url)
        return numerics


if __name__ == "__main__":
    factory.crew.Workshop = PatientWorkshop  # type: ignore[misc]
    run_app(app)
