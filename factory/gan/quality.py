"""How near a generator's pictures are to real ones: Fréchet and kernel distance, precision and the like, of features.

By default those of EfficientNet-lite0, as for the built-in text-to-image model; not comparable with published FID or
KID numbers. The feature network shall not be one that the generator was trained against.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from factory.gan.bank import embed, open_model
from factory.gan.data import Pictures
from factory.gan.sampling import drawn_classes, sample
from factory.generators.networks.protocol import LatentNetwork
from manifests.distances import frechet_distance, kernel_distance
from manifests.errors import UserError
from manifests.neighbours import support
from manifests.target import replaced

NEIGHBOURS = 5
MEASURE = "frechet_samples_to_training"  # lower is better


def check_extractor(spec: str) -> None:
    """Refuse to begin what could not be measured.

    Raises: UserError with the remedy where the feature network is not here.
    """
    try:
        open_model(spec)
    except (UserError, ImportError) as error:
        raise UserError(f"measuring quality: {error}; or leave it out with --set quality=null") from None


class Yardstick:
    """The real pictures' features, looked at once for all measurements of a run."""

    def __init__(self, extractor: str, training: Pictures, unseen: Pictures, folder: Path, seed: int) -> None:
        self.model, self.seed = open_model(extractor), seed
        self.class_ids = training.class_ids
        digits = self.model.facts.sha256[:12]
        self.training = self._real(training, folder / f"features-training-{digits}.npy")
        self.unseen = self._real(unseen, folder / f"features-held-out-{digits}.npy") if len(unseen) > 1 else None

    def measure(self, net: LatentNetwork, images: int, device: torch.device) -> dict[str, Any]:
        """Measure as many samples, of classes as frequent as the training pictures'."""
        rng = np.random.Generator(np.random.Philox(key=self.seed + 1))
        z = rng.standard_normal((images, net.z_dim), np.float32)
        found = embed(self.model, sample(net, z, drawn_classes(self.class_ids, rng, images), device))
        facts = self.model.facts
        return {
            MEASURE: frechet_distance(found, self.training),
            "kernel_samples_to_training": kernel_distance(found, self.training),
            **self._support(found),
            "samples_images": images,
            "training_images": len(self.training),
            "extractor": facts.name,
            "extractor_sha256": facts.sha256,
        }

    def _support(self, found: np.ndarray) -> dict[str, float]:
        if min(len(found), len(self.training)) <= NEIGHBOURS:
            return {}
        return asdict(support(self.training, found, neighbours=NEIGHBOURS))

    def measure_held_out(self) -> dict[str, Any]:
        """Measure the held-out pictures in the samples' place; nothing where there are none."""
        if self.unseen is None:
            return {}
        return {
            "frechet_held_out_to_training": frechet_distance(self.unseen, self.training),
            "kernel_held_out_to_training": kernel_distance(self.unseen, self.training),
            "held_out_images": len(self.unseen),
        }

    def _real(self, pictures: Pictures, path: Path) -> np.ndarray:
        if not path.exists():
            found = embed(self.model, pictures.batch(range(len(pictures))))
            with replaced(path) as part, part.open("wb") as file:
                np.save(file, found)
        return np.asarray(np.load(path, allow_pickle=False))


def measured(path: Path) -> dict[int, dict[str, Any]]:
    """Read a run's measurements by images seen."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {line["images_seen"]: line for line in lines}


def best(found: dict[int, dict[str, Any]]) -> int | None:
    """Return the images seen at which samples were nearest to the training pictures, by the extractor last used; pure.

    The earlier of two that are equal; None where nothing was measured.
    """
    if not found:
        return None
    extractor = found[max(found)].get("extractor_sha256")
    scores = {seen: line[MEASURE] for seen, line in sorted(found.items()) if line.get("extractor_sha256") == extractor}
    return min(scores, key=lambda seen: float(scores[seen]))


def note(path: Path, line: dict[str, Any]) -> None:
    """Add a measurement; one of the same images takes the place of the former."""
    lines = {**measured(path), line["images_seen"]: line}
    with replaced(path) as part:
        part.write_text("".join(json.dumps(lines[seen]) + "\n" for seen in sorted(lines)), encoding="utf-8")
