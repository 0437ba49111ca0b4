"""A learned change of colours as files of its own: flow.safetensors, and flow.json, which says its shape.

Any network may use it: `python -m trainer pretrain cmc --set encoder.split=flow --set encoder.flow.weights=FOLDER`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, NamedTuple

from safetensors import SafetensorError
from safetensors.torch import load_file

from learning.checkpoint import save_tensors
from learning.flow import FlowShape, PixelFlow
from manifests.errors import CorruptError, UserError

WEIGHTS, FACTS = "flow.safetensors", "flow.json"
FORMAT = 1


class LearnedColours(NamedTuple):
    """A flow, and the colour space that it begins from."""

    space: str
    flow: PixelFlow


def write_flow(folder: Path, learned: LearnedColours, facts: Mapping[str, Any]) -> None:
    """Write a flow into a folder that exists; `facts` say what made it."""
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in learned.flow.state_dict().items()}
    save_tensors(tensors, folder / WEIGHTS)
    told = {"format": FORMAT, "space": learned.space, **asdict(learned.flow.shape), **facts}
    (folder / FACTS).write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def read_flow(source: Path) -> LearnedColours:
    """Read the flow of a folder, an export or a finished run.

    Raises: UserError where there is none; CorruptError where weights and shape do not fit each other.
    """
    folder = flow_folder(source)
    try:
        facts = json.loads((folder / FACTS).read_text(encoding="utf-8"))
        if facts["format"] != FORMAT:
            raise UserError(f"{folder}/{FACTS} has format {facts['format']}, expected {FORMAT}: update ViewMill")
        flow = PixelFlow(FlowShape(str(facts["coupling"]), int(facts["couplings"]), int(facts["hidden"])))  # type: ignore[arg-type]
        flow.load_state_dict(load_file(folder / WEIGHTS))
        return LearnedColours(str(facts["space"]), flow)
    except (OSError, ValueError, TypeError, KeyError, RuntimeError, SafetensorError) as error:
        reason = (str(error) or type(error).__name__).strip().splitlines()[0]
        raise CorruptError(f"{folder}/{WEIGHTS} does not fit its {FACTS}: {reason}") from None


def flow_folder(source: Path) -> Path:
    """Find the flow in a folder, which may be its run's.

    Raises: UserError saying what is missing.
    """
    for folder in (source, source / "encoder"):
        if (folder / WEIGHTS).is_file():
            return folder
    raise UserError(
        f"{source} holds no learned views: expected {WEIGHTS} there or in {source}/encoder; "
        "`python -m trainer pretrain learned_views` makes them"
    )
