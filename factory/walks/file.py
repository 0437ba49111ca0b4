"""Learned ways through a latent space as one safetensors file: weights, and in its header what they were learned on.

    direction/<name>        [D]            a step of 1 along it, in z or w; [layers · D] in w+
    layer/<i>/weight, bias  [out, in]      a network: z and a noise of its length -> the way that a navigator goes,
                                           or z and the α of the walks named in `inputs` -> their common step

Read with numpy alone and applied in float64 without BLAS, whose sums depend on the number of threads.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from manifests.errors import UserError

MAX_BYTES = 16 * 2**20
FloatArray = NDArray[np.float64]
Kind = Literal["walks", "navigator"]
Space = Literal["z", "w", "w+"]
WalkName = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,31}$")]


class AlphaLaw(BaseModel):
    """How far a view goes along a walk, in steps of the unit that was learned.

    uniform: α ~ U(low, high); zoom: e^α ~ ½U(e^low, 1) + ½U(1, e^high), as GenRep draws scales.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    low: float = Field(ge=-100, le=100)
    high: float = Field(ge=-100, le=100)
    unit: str = Field(max_length=200, description="what α = 1 does to an image")
    shape: Literal["uniform", "zoom"] = "uniform"

    @model_validator(mode="after")
    def _in_order(self) -> AlphaLaw:
        if not self.low <= self.high or (self.shape == "zoom" and not self.low < 0 < self.high):
            raise ValueError(f"low {self.low} is above high {self.high}, or a zoom's do not enclose 0")
        return self

    def at(self, levels: FloatArray) -> FloatArray:
        """Return α where its distribution reaches each level in [0, 1)."""
        if self.shape == "uniform":
            return self.low + (self.high - self.low) * levels
        smallest, largest = np.exp(self.low), np.exp(self.high)
        shrunk, grown = smallest + (1 - smallest) * 2 * levels, 1 + (largest - 1) * (2 * levels - 1)
        return np.asarray(np.log(np.where(levels < 0.5, shrunk, grown)))


class LearnedFacts(BaseModel):
    """The header of the file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = 1
    kind: Kind
    space: Space = "z"
    generator_sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of the weights that it was learned on")
    laws: dict[WalkName, AlphaLaw] = Field(default_factory=dict, max_length=64, description="of walks, by name")
    inputs: tuple[WalkName, ...] = Field(default=(), description="walks that one network makes a common step for")
    sigma: float | None = Field(default=None, gt=0, description="of a navigator: length of its step over √D, in τ")
    made_by: dict[str, Any] = Field(default_factory=dict, description="config, measurements, commit")


class Learned:
    """A file's facts and arrays."""

    def __init__(self, facts: LearnedFacts, arrays: Mapping[str, FloatArray]) -> None:
        self.facts = facts
        self._arrays = dict(arrays)
        self._depth = _depth(arrays)

    @property
    def dimensions(self) -> int:
        """Return the length of the vectors it gives."""
        last = f"layer/{self._depth - 1}/bias" if self._depth else next(iter(self._arrays))
        return int(self._arrays[last].size)

    @property
    def z_dim(self) -> int | None:
        """Return the length of the z that its network takes; None where it has none."""
        if not self._depth:
            return None
        width = int(self._arrays["layer/0/weight"].shape[1])
        return width // 2 if self.facts.kind == "navigator" else width - len(self.facts.inputs)

    @property
    def names(self) -> tuple[str, ...]:
        """Name the walks, in the order of the file's header."""
        return tuple(self.facts.laws)

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the arrays as a file keeps them."""
        return {name: array.astype(np.float32) for name, array in self._arrays.items()}

    def step(self, z: FloatArray, alphas: Mapping[str, float]) -> FloatArray:
        """Return the common step of some walks from z; z is in units of τ."""
        total = np.zeros(self.dimensions)
        for name, alpha in alphas.items():
            if name not in self.facts.inputs:
                total = total + alpha * self._arrays[f"direction/{name}"]
        if any(name in self.facts.inputs for name in alphas):
            total = total + self._through_layers(np.array([*z, *(alphas[name] for name in self.facts.inputs)]))
        return total

    def navigate(self, z: FloatArray, noise: FloatArray) -> FloatArray:
        """Return the unit vector that a navigator goes along from z."""
        way = self._through_layers(np.concatenate([z, noise]))
        return way / max(float(np.sqrt((way * way).sum())), 1e-12)

    def _through_layers(self, hidden: FloatArray) -> FloatArray:
        for layer in range(self._depth):
            weight, bias = self._arrays[f"layer/{layer}/weight"], self._arrays[f"layer/{layer}/bias"]
            hidden = (weight * hidden).sum(axis=1) + bias
            hidden = np.maximum(hidden, 0.0) if layer < self._depth - 1 else hidden
        return hidden


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
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        told = error.errors()[0]["msg"] if isinstance(error, ValidationError) else " ".join(str(error).split())
        raise UserError(f"{where}: not a file of learned {kind}: {told[:300]}") from None
    if facts.kind != kind:
        raise UserError(f"{where}: holds a {facts.kind}; expected a {kind}")
    _check_arrays(where, facts, arrays)
    return Learned(facts, arrays)


def _header(data: bytes) -> dict[str, str]:
    """Return the metadata: safetensors begins with the header's length in 8 bytes, then the header as JSON."""
    length = int.from_bytes(data[:8], "little")
    return dict(json.loads(data[8 : 8 + length]).get("__metadata__", {}))


def to_bytes(facts: LearnedFacts, arrays: Mapping[str, NDArray[np.float32]]) -> bytes:
    """Encode a file."""
    from safetensors.numpy import save

    return bytes(save(dict(arrays), metadata={"viewmill": facts.model_dump_json()}))


def write_learned(path: Path, facts: LearnedFacts, arrays: Mapping[str, NDArray[np.float32]]) -> None:
    """Write the file whole or not at all."""
    from manifests.target import replaced

    with replaced(path) as part:
        part.write_bytes(to_bytes(facts, arrays))


def _check_arrays(where: str, facts: LearnedFacts, arrays: Mapping[str, FloatArray]) -> None:
    expected = _expected_names(facts, arrays)
    if not arrays or set(arrays) != expected:
        raise UserError(f"{where}: holds {sorted(arrays)[:4]}; expected {sorted(expected)[:4]}")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise UserError(f"{where}: holds numbers that are not finite")
    if not (_are_walks(facts, arrays) if facts.kind == "walks" else _is_a_navigator(facts, arrays)):
        shapes = {name: array.shape for name, array in arrays.items()}
        raise UserError(f"{where}: its arrays do not fit together: {shapes}")


def _expected_names(facts: LearnedFacts, arrays: Mapping[str, FloatArray]) -> set[str]:
    has_network = facts.kind == "navigator" or bool(facts.inputs)
    layers = range(max(1, _depth(arrays))) if has_network else range(0)
    names = {f"layer/{i}/{part}" for i in layers for part in ("weight", "bias")}
    if facts.kind == "walks":
        names |= {f"direction/{name}" for name in facts.laws if name not in facts.inputs}
    return names


def _are_walks(facts: LearnedFacts, arrays: Mapping[str, FloatArray]) -> bool:
    directions = [array for name, array in arrays.items() if name.startswith("direction/")]
    lengths = {array.size for array in directions}
    if facts.inputs:
        if not _is_a_network(arrays) or not set(facts.inputs) <= set(facts.laws):
            return False
        lengths.add(arrays[f"layer/{_depth(arrays) - 1}/bias"].size)
        if arrays["layer/0/weight"].shape[1] <= len(facts.inputs):
            return False
    return len(lengths) == 1 and all(array.ndim == 1 for array in directions)


def _is_a_navigator(facts: LearnedFacts, arrays: Mapping[str, FloatArray]) -> bool:
    if facts.sigma is None or facts.space != "z" or not _is_a_network(arrays):
        return False
    return bool(arrays["layer/0/weight"].shape[1] == 2 * arrays[f"layer/{_depth(arrays) - 1}/bias"].size)


def _is_a_network(arrays: Mapping[str, FloatArray]) -> bool:
    depth = _depth(arrays)
    weights = [arrays[f"layer/{i}/weight"] for i in range(depth)]
    biases = [arrays[f"layer/{i}/bias"] for i in range(depth)]
    if any(w.ndim != 2 or b.shape != w.shape[:1] for w, b in zip(weights, biases, strict=True)):
        return False
    return all(after.shape[1] == before.shape[0] for before, after in itertools.pairwise(weights))


def _depth(arrays: Mapping[str, FloatArray]) -> int:
    return sum(name.startswith("layer/") and name.endswith("/weight") for name in arrays)
