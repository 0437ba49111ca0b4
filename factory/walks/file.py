"""Learned ways through a latent space as one safetensors file: weights, and in its header what they were learned on.

    direction/<name>        [D]            a step of 1 along it, in z or w
    layer/<i>/weight, bias  [out, in]      a navigator: z and a noise of its length -> the direction of the step

Read with numpy alone and applied in float64 without BLAS, whose sums depend on the number of threads.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manifests.errors import UserError

MAX_BYTES = 16 * 2**20
FloatArray = NDArray[np.float64]
Kind = Literal["walks", "navigator"]


class AlphaLaw(BaseModel):
    """How far a view goes along a direction: α ~ U(low, high), in steps of the unit that was learned."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: float
    high: float
    unit: str = Field(description="what α = 1 does to an image")


class LearnedFacts(BaseModel):
    """The header of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    kind: Kind
    space: Literal["z", "w"] = "z"
    generator_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the weights that it was learned on")
    laws: dict[str, AlphaLaw] = Field(default_factory=dict, description="of walks, by name")
    sigma: float | None = Field(default=None, gt=0, description="of a navigator: length of its step over √D, in τ")
    made_by: dict[str, Any] = Field(default_factory=dict, description="config, measurements, commit")


class Learned:
    """A file's facts and arrays."""

    def __init__(self, facts: LearnedFacts, arrays: Mapping[str, FloatArray]) -> None:
        self.facts = facts
        self._arrays = dict(arrays)

    @property
    def dimensions(self) -> int:
        """Return the length of the vectors it gives."""
        return int(self._arrays[f"layer/{self._depth - 1}/bias"].size if self._depth else self._directions_size)

    @property
    def names(self) -> tuple[str, ...]:
        """Name the walks, in the order of the file's header."""
        return tuple(self.facts.laws)

    def direction(self, name: str) -> FloatArray:
        """Return one walk's step of α = 1."""
        return self._arrays[f"direction/{name}"]

    def navigate(self, z: FloatArray, noise: FloatArray) -> FloatArray:
        """Return the unit vector that a navigator goes along from z."""
        hidden = np.concatenate([z, noise])
        for layer in range(self._depth):
            weight, bias = self._arrays[f"layer/{layer}/weight"], self._arrays[f"layer/{layer}/bias"]
            hidden = (weight * hidden).sum(axis=1) + bias
            hidden = np.maximum(hidden, 0.0) if layer < self._depth - 1 else hidden
        return hidden / max(float(np.sqrt((hidden * hidden).sum())), 1e-12)

    @property
    def _depth(self) -> int:
        return sum(name.endswith("/weight") for name in self._arrays)

    @property
    def _directions_size(self) -> int:
        return next(iter(self._arrays.values())).size


def read_bytes(path: Path, kind: Kind) -> bytes:
    """Read the file's bytes, a bounded number of them.

    Raises: UserError for a file that is absent or too large.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected the {kind} that `python -m factory train-{kind}` writes")
    if path.stat().st_size > MAX_BYTES:
        raise UserError(f"{path}: {path.stat().st_size} bytes; expected at most {MAX_BYTES}")
    return path.read_bytes()


def parse_learned(data: bytes, kind: Kind, where: str) -> Learned:
    """Read walks or a navigator from a file's bytes; `where` stands in the error.

    Raises: UserError for bytes that are something else, or damaged.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = {name: array.astype(np.float64) for name, array in load(data).items()}
        facts = LearnedFacts.model_validate(json.loads(_header(data).get("viewmill", "null")))
    except (SafetensorError, ValueError, TypeError, KeyError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else " ".join(str(error).split())
        raise UserError(f"{where}: not a file of learned {kind}: {told}") from None
    if facts.kind != kind:
        raise UserError(f"{where}: holds a {facts.kind}; expected a {kind}")
    _check_shapes(where, facts, arrays)
    return Learned(facts, arrays)


def _header(data: bytes) -> dict[str, str]:
    """Return the metadata: safetensors begins with the header's length in 8 bytes, then the header as JSON."""
    length = int.from_bytes(data[:8], "little")
    return dict(json.loads(data[8 : 8 + length]).get("__metadata__", {}))


def write_learned(path: Path, facts: LearnedFacts, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write the file whole or not at all."""
    from safetensors.numpy import save

    from manifests.target import replaced

    data = save(dict(arrays), metadata={"viewmill": facts.model_dump_json()})
    with replaced(path) as part:
        part.write_bytes(data)


def _check_shapes(where: str, facts: LearnedFacts, arrays: Mapping[str, FloatArray]) -> None:
    expected = (
        {f"direction/{name}" for name in facts.laws}
        if facts.kind == "walks"
        else {f"layer/{i}/{part}" for i in range(len(arrays) // 2) for part in ("weight", "bias")}
    )
    if not arrays or set(arrays) != expected:
        raise UserError(f"{where}: holds {sorted(arrays)[:4]}; expected {sorted(expected)[:4]}")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise UserError(f"{where}: holds numbers that are not finite")
    sound = _are_directions(arrays) if facts.kind == "walks" else _is_a_network(arrays) and facts.sigma is not None
    if not sound:
        shapes = {name: array.shape for name, array in arrays.items()}
        raise UserError(f"{where}: its arrays do not fit together: {shapes}")


def _are_directions(arrays: Mapping[str, FloatArray]) -> bool:
    return len({array.shape for array in arrays.values()}) == 1 and all(array.ndim == 1 for array in arrays.values())


def _is_a_network(arrays: Mapping[str, FloatArray]) -> bool:
    depth = len(arrays) // 2
    weights = [arrays[f"layer/{i}/weight"] for i in range(depth)]
    biases = [arrays[f"layer/{i}/bias"] for i in range(depth)]
    if any(w.ndim != 2 or b.shape != w.shape[:1] for w, b in zip(weights, biases, strict=True)):
        return False
    chained = all(after.shape[1] == before.shape[0] for before, after in itertools.pairwise(weights))
    return chained and weights[0].shape[1] == 2 * weights[-1].shape[0]
