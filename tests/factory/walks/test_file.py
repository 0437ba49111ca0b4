"""Files of learned steps: what is read is what was written, and hostile or damaged ones are one clear line."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from factory.walks.file import MAX_BYTES, AlphaLaw, LearnedFacts, parse_learned, read_bytes, to_bytes
from manifests.errors import UserError

LAW = AlphaLaw(low=-1, high=1, unit="a step")


def facts(kind: str = "walks", **changes: Any) -> LearnedFacts:
    laws = {"laws": {"zoom": LAW}} if kind == "walks" else {"sigma": 0.5}
    return LearnedFacts.model_validate({"kind": kind, "generator_sha256": "ab" * 32, **laws, **changes})


def network(inputs: int, outputs: int, hidden: int = 5) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    shapes = {"layer/0/weight": (hidden, inputs), "layer/0/bias": (hidden,)}
    shapes |= {"layer/1/weight": (outputs, hidden), "layer/1/bias": (outputs,)}
    return {name: draw.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}


def test_a_crops_network_and_a_direction_make_one_step() -> None:
    arrays = {"direction/hue": np.arange(3, dtype=np.float32), **network(4 + 2, 3)}
    known = facts(laws={"hue": LAW, "crop_x": LAW, "crop_area": LAW}, inputs=("crop_x", "crop_area"))
    learned = parse_learned(to_bytes(known, arrays), "walks", "file")
    z = np.array([0.5, -1.0, 2.0, 0.1])
    hidden = np.maximum(arrays["layer/0/weight"] @ np.array([*z, 0.3, 0.7]) + arrays["layer/0/bias"], 0)
    expected = arrays["layer/1/weight"] @ hidden + arrays["layer/1/bias"] + 0.25 * arrays["direction/hue"]
    found = learned.step(z, {"hue": 0.25, "crop_x": 0.3, "crop_area": 0.7})
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert (learned.dimensions, learned.z_dim) == (3, 4)
    np.testing.assert_allclose(learned.step(z, {"hue": 1.0}), arrays["direction/hue"])


@pytest.mark.parametrize(
    ("known", "arrays", "told"),
    [
        (facts(), {}, r"holds \[\]"),
        (facts(), {"direction/hue": np.ones(3, np.float32)}, "expected .*direction/zoom"),
        (facts(), {"direction/zoom": np.ones((3, 2), np.float32)}, "do not fit together"),
        (facts(), {"direction/zoom": np.full(3, np.nan, np.float32)}, "not finite"),
        (facts(inputs=("zoom",)), {"direction/zoom": np.ones(3, np.float32)}, "expected"),
        (facts(inputs=("zoom",)), network(1, 3), "do not fit together"),
        (facts(inputs=("hue",)), {"direction/zoom": np.ones(4, np.float32), **network(5, 4)}, "do not fit together"),
        (facts("navigator"), network(5, 3), "do not fit together"),
        (facts("navigator", sigma=None), network(6, 3), "do not fit together"),
    ],
)
def test_arrays_that_do_not_fit_their_header_are_refused(known: Any, arrays: Any, told: str) -> None:
    with pytest.raises(UserError, match=told):
        parse_learned(to_bytes(known, arrays), known.kind, "file")


@pytest.mark.parametrize("header", ["[" * 100_000, "null", "{}", '{"format": 2}', '{"kind": "walks", "extra": 1}'])
def test_a_hostile_header_is_one_line(header: str) -> None:
    from safetensors.numpy import save

    data = save({"direction/zoom": np.ones(3, np.float32)}, metadata={"viewmill": header})
    with pytest.raises(UserError, match="not a file of learned walks") as caught:
        parse_learned(data, "walks", "file")
    assert "\n" not in str(caught.value)


def test_a_file_that_is_cut_or_of_another_kind_or_too_large_is_refused(tmp_path: Path) -> None:
    data = to_bytes(facts("navigator"), network(6, 3))
    for length in (0, 7, 100, len(data) - 1):
        with pytest.raises(UserError, match="not a file of learned navigator"):
            parse_learned(data[:length], "navigator", "file")
    with pytest.raises(UserError, match="holds a navigator; expected a walks"):
        parse_learned(data, "walks", "file")
    with (tmp_path / "large").open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(UserError, match="expected at most"):
        read_bytes(tmp_path / "large", "walks")
    with pytest.raises(UserError, match="no such file"):
        read_bytes(tmp_path / "absent", "walks")


@given(st.binary(max_size=300))
def test_random_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(UserError):
        parse_learned(data, "walks", "file")


def test_a_zooms_scales_are_half_below_one_and_half_above() -> None:
    law = AlphaLaw(low=-math.log(4), high=math.log(4), unit="e times", shape="zoom")
    scales = np.exp(law.at((np.arange(1000) + 0.5) / 1000))
    np.testing.assert_allclose(np.sort(scales), scales)
    np.testing.assert_allclose(scales[:500], 0.25 + 0.75 * (np.arange(500) + 0.5) / 500, rtol=1e-12)
    np.testing.assert_allclose(scales[500:], 1 + 3 * (np.arange(500) + 0.5) / 500, rtol=1e-12)


@pytest.mark.parametrize("changes", [{"low": 2.0}, {"shape": "zoom", "low": 0.1}, {"low": math.nan}, {"high": 1e9}])
def test_a_law_without_sense_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"low|high|zoom"):
        AlphaLaw.model_validate_json(json.dumps({"low": -1, "high": 1, "unit": "u", **changes}))


def test_a_navigators_way_has_length_one() -> None:
    learned = parse_learned(to_bytes(facts("navigator"), network(6, 3)), "navigator", "file")
    draw = np.random.default_rng(1)
    for _ in range(20):
        way = learned.navigate(draw.normal(size=3), draw.normal(size=3))
        assert math.isclose(float(np.linalg.norm(way)), 1.0, rel_tol=1e-12)
