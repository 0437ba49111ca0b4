"""How real an image looks: a probe's line in the features of a frozen vision model, as a score in 0 … 1.

The score is fit to rank the images of one generator and to refuse its worst; it is no measure across probes.
"""

from __future__ import annotations

import base64
import binascii
import json
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch

from factory.gan.bank import Facts, VisionModel, embed, open_model
from factory.gan.data import square
from factory.gan.separability import Line
from factory.judge import Probe
from factory.numerics import pick_device
from manifests.errors import UserError
from manifests.target import replaced


class Scorer:
    """A model and a line in its features."""

    def __init__(self, model: VisionModel, line: Line, side_px: int) -> None:
        self._model, self._line, self._side_px = model, line, side_px

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        """Score images. Shapes: uint8 [n, H, W, 3] -> float32 [n]."""
        squares = np.stack([square(picture, self._side_px) for picture in pixels])  # else it would judge sharpness
        return self._line.realism(embed(self._model, squares, batch_images=len(squares)))


@lru_cache(maxsize=2)
def open_scorer(probe: Probe, device: str) -> Scorer:
    """Load a probe's model, once a process.

    Raises: UserError where the model is not here, or is another one than the probe was fitted to.
    """
    spec = f"{probe.model.partition('@')[0]}@{probe.size_px}"
    model = open_model(spec)
    if model.facts.sha256 != probe.model_sha256:
        raise UserError(
            f"judge.realism.probe: {probe.model} has weights {model.facts.sha256[:12]}, the probe was fitted to"
            f" {probe.model_sha256[:12]}: give that model, or fit the probe again with python -m factory probe"
        )
    line = Line(_weights(probe), probe.bias)
    width = model.widths()[1]
    if line.weights.shape != (width,):
        raise UserError(f"judge.realism.probe: {len(line.weights)} weights, {probe.model} has {width} features")
    return Scorer(model.to(torch.device(pick_device(device))), line, probe.side_px)


def write_probe(path: Path, facts: Facts, line: Line, side_px: int) -> None:
    """Write the file that a recipe's judge.realism.probe names; its weights are rounded to float32."""
    weights = base64.b64encode(line.weights.astype("<f4").tobytes()).decode("ascii")
    told = {"model": facts.name, "model_sha256": facts.sha256, "size_px": facts.size_px, "side_px": side_px}
    probe = Probe.model_validate({**told, "weights": weights, "bias": line.bias})
    with replaced(path) as part:
        part.write_text(json.dumps(probe.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")


def _weights(probe: Probe) -> np.ndarray:
    try:
        return np.frombuffer(base64.b64decode(probe.weights, validate=True), "<f4").astype(np.float64)
    except (binascii.Error, ValueError) as error:
        raise UserError(f"judge.realism.probe: its weights are no base64 of float32 ({error}): fit it again") from None
