"""Writes a generator's folder: what it is as JSON, its weights as safetensors, and what going on with it needs.

generator.json comes last: with it, the folder is whole.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from torch import nn

from factory.generators.weights import file_sha256
from learning.checkpoint import save_tensors
from manifests.target import replaced

FORMAT = 1
DESCRIPTION_FILE = "generator.json"
WEIGHTS_FILE = "generator.safetensors"


def write_folder(folder: Path, description: dict[str, Any], nets: dict[str, nn.Module], dtype: torch.dtype) -> None:
    """Write the averaged generator in `dtype`, both players in float32 under training/, then the description.

    `nets` holds the average, G and D.
    Raises: UserError for a full disk and the like.
    """
    files = {WEIGHTS_FILE: ("average", dtype)}
    files |= {f"training/{name}.safetensors": (name, torch.float32) for name in ("G", "D")}
    for file, (name, kept) in files.items():
        with replaced(folder / file) as part:
            save_tensors(_tensors(nets[name], kept), part)
            part.chmod(0o644)  # safetensors makes files for their owner alone
    digest = file_sha256(folder / WEIGHTS_FILE)
    whole = {"format": FORMAT, "weights": WEIGHTS_FILE, "weights_sha256": digest, **description}
    with replaced(folder / DESCRIPTION_FILE) as part:
        part.write_text(json.dumps(whole, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _tensors(net: nn.Module, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    return {name: value.detach().to("cpu", dtype).contiguous() for name, value in net.state_dict().items()}
