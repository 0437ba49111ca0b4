"""What runs of train-gan draw at their end, beside real drawings: measured by a judge of another family, and shown.

A run's folder holds the best generator on the way, chosen by a judge; all arms have shown as many images only at their
end, so the newest average is what is compared.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from factory.gan.bank import embed, open_model
from factory.gan.data import open_pictures
from factory.gan.sampling import sample
from factory.generators.networks import build
from factory.generators.networks.protocol import LatentNetwork
from learning import checkpoint
from manifests.distances import frechet_distance, kernel_distance
from manifests.neighbours import authenticity, support
from manifests.target import replaced

SHEET_COLUMNS = 20
GAP_PX = 4


def measure(run: Path, data: str, judge: str, samples: int) -> dict[str, float]:
    """Compare what a run draws at its end with all drawings, also those that it was not trained on; once."""
    images_seen, net = newest(run)
    path = run / f"newest-{images_seen}-{samples}.json"
    if not path.exists():
        found = {"images_seen": images_seen, **_measured(net, data, judge, samples)}
        with replaced(path) as part:
            part.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return dict(json.loads(path.read_text(encoding="utf-8")))


def newest(run: Path) -> tuple[int, LatentNetwork]:
    """Return the images that a run has shown, and its averaged generator then."""
    described = json.loads((run / "generator.json").read_text(encoding="utf-8"))
    parts = sorted((run / "training").glob("phase-*")) or [run / "training"]
    found = checkpoint.load_newest(parts[-1] / "checkpoints")
    assert found is not None, f"{run} has no checkpoint, though it is done"
    net: Any = build(described["family"], described["arguments"])
    net.load_state_dict(found[1]["average"])
    return found[0], net.eval()


def _measured(net: LatentNetwork, data: str, judge: str, samples: int) -> dict[str, float]:
    generated = drawn(net, samples)
    model = open_model(judge)
    ours, theirs = embed(model, drawings(data, samples, generated.shape[1])), embed(model, generated)
    found = support(ours, theirs)
    return {
        "frechet": frechet_distance(theirs, ours),
        "kernel": kernel_distance(theirs, ours),
        "precision": found.precision,
        "recall": found.recall,
        "density": found.density,
        "coverage": found.coverage,
        "authenticity": authenticity(ours, theirs),
    }


def drawn(net: LatentNetwork, count: int) -> np.ndarray:
    """Draw from an unconditional generator, always from the same latents. Shapes: uint8 [count, H, W, 3]."""
    z = np.random.Generator(np.random.Philox(key=0)).standard_normal((count, net.z_dim), np.float32)
    return sample(net, z, None, torch.device("cpu"))


def drawings(data: str, count: int, size_px: int) -> np.ndarray:
    """Return real drawings, always the same. Shapes: uint8 [count, size, size, 3]."""
    pictures, _ = open_pictures(data, size_px=size_px, is_conditional=False, held_out=None)
    chosen = np.random.Generator(np.random.Philox(key=0)).permutation(len(pictures))[:count]
    return pictures.batch(np.sort(chosen))


def samples_sheet(nets: Sequence[LatentNetwork], data: str) -> Image.Image:
    """Show two lines of each generator's samples, below two lines of real drawings."""
    parts = [drawn(net, 2 * SHEET_COLUMNS) for net in nets]
    side_px = parts[0].shape[1]
    parts.insert(0, drawings(data, 2 * SHEET_COLUMNS, side_px))
    lines = [part.reshape(2, SHEET_COLUMNS, side_px, side_px, 3) for part in parts]
    tiled = [line.transpose(0, 2, 1, 3, 4).reshape(2 * side_px, -1, 3) for line in lines]
    gap = np.full((GAP_PX, tiled[0].shape[1], 3), 255, np.uint8)
    return Image.fromarray(np.concatenate([row for part in tiled for row in (part, gap)]))
