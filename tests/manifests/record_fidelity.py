"""What torch-fidelity finds on given features, for tests/golden/torch-fidelity.json.

torch-fidelity installs a package `tests` of its own, which hides this one, so that it is no requirement of the suite.
To record again: `pip install --target FOLDER --no-deps torch-fidelity==0.4.0`, remove FOLDER/tests, and run
`PYTHONPATH=.:FOLDER python -m tests.manifests.record_fidelity > tests/golden/torch-fidelity.json`.
"""

from __future__ import annotations

import json

import numpy as np

SIZES = ((300, 200), (40, 200))
WIDTH = 24
NEIGHBOURS = 3


def drawn(key: int, count: int) -> np.ndarray:
    """Return correlated features [count, WIDTH] that are the same on every machine: of integers, with exact sums."""
    bits = np.random.Philox(key=key).random_raw(count * WIDTH) >> np.uint64(44)  # 20 bits each
    rows = bits.astype(np.float64).reshape(count, WIDTH) / 2**18
    return rows + np.roll(rows, 1, 1) / 2 + key / 8


def recorded() -> dict[str, object]:
    """Measure each pair of sets by torch-fidelity; the kernel distance on as many of both."""
    import torch
    import torch_fidelity
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import kid_features_to_metric
    from torch_fidelity.metric_prc import prc_features_to_metric

    found = []
    for sizes in SIZES:
        sets = [torch.from_numpy(drawn(key, size)) for key, size in enumerate(sizes)]
        least = min(sizes)
        told = fid_statistics_to_metric(*map(fid_features_to_statistics, sets), verbose=False)
        pair = [features[:least] for features in sets]
        told |= kid_features_to_metric(*pair, kid_subsets=1, kid_subset_size=least, verbose=False)
        told |= prc_features_to_metric(*sets, prc_neighborhood=NEIGHBOURS, save_cpu_ram=False, verbose=False)
        found.append({name: float(value) for name, value in told.items()})
    return {"torch-fidelity": torch_fidelity.__version__, "found": found}


if __name__ == "__main__":
    print(json.dumps(recorded(), indent=1))
