"""The encoder as ONNX, believed only after another runtime gives the same features."""

from __future__ import annotations

from pathlib import Path

import torch

from manifests.errors import UserError
from manifests.target import replaced
from trainer.encoders import Encoder

TOLERANCE = 1e-4  # of features whose scale is about 1: another runtime sums in another order
_IMAGES = 3


def export_onnx(encoder: Encoder, path: Path) -> float:
    """Write the backbone with a free batch size and return the largest difference after reloading.

    Input `images`: normalised, float32 [n, 3, S, S]; output `features` [n, D].
    Raises: UserError without the packages; RuntimeError when what is reloaded is another network.
    """
    try:
        import onnx  # noqa: F401
        import onnxruntime
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f"--onnx needs {error.name}: pip install 'viewmill[onnx]'") from None
    size = encoder.preprocessing.size_px
    images = torch.linspace(-1, 1, _IMAGES * 3 * size * size).view(_IMAGES, 3, size, size)
    backbone = encoder.backbone.cpu().eval()
    with replaced(path) as part:
        program = torch.onnx.export(
            backbone,
            (images[:2],),
            dynamo=True,
            input_names=["images"],
            output_names=["features"],
            dynamic_shapes={"x": {0: torch.export.Dim("images")}},
            verbose=False,
        )
        assert program is not None
        program.save(str(part))
        session = onnxruntime.InferenceSession(str(part), providers=["CPUExecutionProvider"])
        theirs = torch.from_numpy(session.run(["features"], {"images": images.numpy()})[0])
        with torch.no_grad():
            difference = float((backbone(images) - theirs).abs().max())
        if not difference <= TOLERANCE:
            raise RuntimeError(f"{path}: features differ by {difference:.2g} after reloading, above {TOLERANCE}")
    return difference
