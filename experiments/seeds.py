"""Claims over a handful of seeds: paired differences, with Student's interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

# 97.5 % quantiles of Student's t, by degrees of freedom from 1 on.
STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)


def paired(above: Sequence[float], below: Sequence[float]) -> dict[str, Any]:
    """Compare two arms seed by seed: mean of above minus below with its 95 % interval, and what it comes to; pure.

    One seed has no interval, and is no evidence.
    """
    differences = np.asarray(above, np.float64) - np.asarray(below, np.float64)
    count, mean = len(differences), float(differences.mean())
    reach = math.inf
    if count > 1:
        reach = STUDENT[count - 2] * float(differences.std(ddof=1)) / math.sqrt(count)
    low, high = mean - reach, mean + reach
    verdict = "evidence" if low > 0 else "evidence against" if high < 0 else "no evidence"
    told = {"mean": mean, "low": low, "high": high, "agree": int((differences > 0).sum()), "verdict": verdict}
    return {name: None if value in (math.inf, -math.inf) else value for name, value in told.items()}
