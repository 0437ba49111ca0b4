"""`python -m factory` with workers that draw noise: what a kill does needs no model, and so a life costs seconds."""

from __future__ import annotations

import factory.crew
from factory.__main__ import main
from tests.factory.cheap import CheapWorkshop

if __name__ == "__main__":
    factory.crew.Workshop = CheapWorkshop  # type: ignore[misc]
    main()
