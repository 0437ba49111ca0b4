"""`python -m factory` with workers that draw noise: what a kill does needs no model, and so a life costs seconds."""

from __future__ import annotations

import factory.crew
from factory.__main__ import main
from tests.factory.cheap import CheapWorkshop


class PatientWorkshop(CheapWorkshop):
    """Takes about a second a shard, so that whoever wants to kill it within one has the time."""

    batch_s = 0.3


if __name__ == "__main__":
    factory.crew.Workshop = PatientWorkshop  # type: ignore[misc]
    main()
