"""The encoder as ONNX, believed only after another runtime gives the same features.

The file says what it is in its metadata: `viewmill` (data roots, config, images seen) and `config` (the preprocessing).
It holds nothing of the machine that wrote it: the same weights give the same bytes.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from manifests.errors import UserError
from manifests.target import replaced
from trainer.encoders import Encoder, load_encoder
from trainer.exported import read_metadata

TOLERANCE = 1e-4  # of features whose scale is about 1: another runtime sums in another order
_IMAGES = 3
_PACKAGES = ("onnx", "onnxruntime", "onnxscript")


def check_installed() -> None:
    """Raise UserError naming the extra unless its packages are there."""
    missing = [name for name in _PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--onnx needs {', '.join(missing)}: pip install 'viewmill[onnx]'")


def export_onnx(folder: Path) -> float:
    """Write an exported encoder's backbone as encoder.onnx beside it, and return the largest difference on reloading.

    Input `images`: normalised, float32 [n, 3, S, S] with any n; output `features` [n, D].
    Raises: UserError without the packages, or for an architecture that torch cannot write; RuntimeError when what is
        reloaded is another network.
    """
    check_installed()
    encoder, _ = load_encoder(folder)
    size = encoder.preprocessing.size_px
    images = torch.linspace(-1, 1, _IMAGES * 3 * size * size).view(_IMAGES, 3, size, size)
    with replaced(folder / "encoder.onnx") as part:
        _write(encoder, images[:2], part, read_metadata(folder))
        difference = _difference(encoder, images, part)
        if not difference <= TOLERANCE:
            raise RuntimeError(f"{part}: features differ by {difference:.2g} after reloading, above {TOLERANCE}")
    return difference


def _write(encoder: Encoder, images: torch.Tensor, path: Path, metadata: Mapping[str, str]) -> None:
    try:
        program: Any = torch.onnx.export(
            encoder.backbone,
            (images,),
            dynamo=True,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes=({0: torch.export.Dim("images")},),
            verbose=False,
        )
    except torch.onnx.errors.OnnxExporterError as error:
        reason = str(error.__cause__ or error).strip().partition("\n")[0]
        raise UserError(f"--onnx: torch cannot write {encoder.architecture}: {reason}; leave --onnx out") from error
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces, with the paths of this machine
    program.model.metadata_props.update(metadata)
    program.save(str(path))


@torch.no_grad()
def _difference(encoder: Encoder, images: torch.Tensor, path: Path) -> float:
    """Compare with what onnxruntime makes of a batch of another size than the exported one."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    theirs = torch.from_numpy(session.run(["features"], {"images": images.numpy()})[0])
    mine = encoder.backbone(images)
    return float((mine - theirs).abs().max()) if theirs.shape == mine.shape else math.inf
