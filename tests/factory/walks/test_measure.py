"""The estimator of transforms on drawings that Pillow has warped: it finds what was done to them."""

from __future__ import annotations

import io
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import trainer
from factory.walks.file import LearnedFacts, parse_learned, to_bytes
from factory.walks.measure import Measured, measure_walks, registered, shipped, summary
from factory.walks.transforms import CROP, FAMILIES
from manifests import seeds
from tests.factory.walks.toys import SIDE_PX, Spot, spot

DRAWINGS = 24
LAWS = {name: law for family in FAMILIES.values() for name, law in family.items()}


@pytest.fixture(scope="module")
def drawings() -> np.ndarray:
    """Return emoji drawings as they ship for evaluation, uint8 [n, 64, 64, 3]."""
    path = next((Path(trainer.__file__).parent / "evaluation/sets/emoji-identities/shards").glob("*.tar"))
    with tarfile.open(path) as tar:
        members = [one for one in tar.getmembers() if one.name.endswith((".png", ".webp", ".jpg"))]
        chosen = members[:: len(members) // DRAWINGS][:DRAWINGS]
        pictures = [Image.open(io.BytesIO(tar.extractfile(one).read())).convert("RGB") for one in chosen]
    return np.stack([np.asarray(picture.resize((64, 64))) for picture in pictures])


def warped(picture: np.ndarray, inverse: np.ndarray) -> np.ndarray:
    """Let Pillow warp a picture by a matrix in half sides from the middle, white beyond its border."""
    half = picture.shape[0] / 2
    pixels = np.array([[half, 0, half], [0, half, half], [0, 0, 1]])
    matrix = pixels @ inverse @ np.linalg.inv(pixels)
    image, numbers = Image.fromarray(picture), tuple((matrix / matrix[2, 2]).ravel()[:8])
    size = image.size
    done = image.transform(size, Image.Transform.PERSPECTIVE, numbers, Image.Resampling.BICUBIC, fillcolor="white")
    return np.asarray(done)


def inverse_of(name: str, alpha: float) -> np.ndarray:
    angle = alpha * math.radians(60 if name == "rot3d" else 30)
    cos, sin, shift = math.cos(angle), math.sin(angle), -2 * alpha * 100 / 256
    return {
        "rot3d": np.linalg.inv([[cos, 0, 0], [0, 1, 0], [sin / 4, 0, 1]]),
        "rot2d": np.array([[cos, sin, 0], [-sin, cos, 0], [0, 0, 1]]),
        "zoom": np.diag([math.exp(-alpha), math.exp(-alpha), 1]),
        "shift_x": np.array([[1, 0, shift], [0, 1, 0], [0, 0, 1]]),
        "shift_y": np.array([[1, 0, 0], [0, 1, shift], [0, 0, 1]]),
    }[name]


def changed(drawings: np.ndarray, name: str, alphas: np.ndarray) -> np.ndarray:
    if name in ("red", "green", "blue"):
        added = np.zeros((len(drawings), 1, 1, 3))
        added[..., ("red", "green", "blue").index(name)] = alphas[:, None, None] * 127.5
        return (drawings + added).clip(0, 255)
    return np.stack([warped(one, inverse_of(name, alpha)) for one, alpha in zip(drawings, alphas, strict=True)])


def as_images(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(pixels, np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


@pytest.mark.parametrize("name", FAMILIES["genrep"])
def test_true_warps_of_real_drawings_are_found(drawings: np.ndarray, name: str) -> None:
    alphas = LAWS[name].at(seeds.uniform(7, name, len(drawings)))
    asked = {name: torch.from_numpy(alphas)}
    found, errors = registered(as_images(drawings), as_images(changed(drawings, name, alphas)), name, LAWS[name], asked)
    measured = summary(name, alphas, found, errors)
    assert measured.r2 > 0.95
    assert measured.slope == pytest.approx(1, abs=0.1)
    assert measured.explained > 0.8


@pytest.mark.parametrize("name", ["shift_x", "red"])
def test_a_walk_that_does_nothing_or_something_else_is_not_taken_for_it(drawings: np.ndarray, name: str) -> None:
    alphas = LAWS[name].at(seeds.uniform(7, name, len(drawings)))
    other = np.roll(alphas, 5)
    for pixels in (drawings, changed(drawings, name, other)):
        asked = {name: torch.from_numpy(alphas)}
        found, errors = registered(as_images(drawings), as_images(pixels), name, LAWS[name], asked)
        assert not summary(name, alphas, found, errors).passes


def test_a_planted_walk_is_measured_and_a_walk_that_is_none_fails() -> None:
    frozen = spot()
    assert isinstance(frozen.network, Spot)
    planted = 100 / 256 * 10 * frozen.network.across  # a tenth of the side a step
    arrays = {"direction/shift_x": planted.numpy(), "direction/shift_y": planted.numpy()}
    narrow = {name: LAWS[name].model_copy(update={"low": -0.5, "high": 0.5}) for name in ("shift_x", "shift_y")}
    known = LearnedFacts(kind="walks", generator_sha256="ab" * 32, laws=narrow)
    learned = parse_learned(to_bytes(known, arrays), "walks", "file")
    across, down = measure_walks(frozen, learned, seed=1, images=64)
    assert across.r2 > 0.95
    assert across.slope == pytest.approx(1, abs=0.15)
    assert across.r2_low <= across.r2 <= across.r2_high
    assert not down.passes
    assert shipped([across, down]) == ("shift_x",)
    assert across.images == 64
    assert SIDE_PX == 32


def test_a_crop_is_shipped_whole_or_not_at_all() -> None:
    def one(name: str, r2: float, slope: float = 1.0) -> Measured:
        return Measured(name, r2, r2, r2, slope, 0.5, 100)

    good = [one(name, 0.9) for name in CROP]
    assert shipped([one("hue", 0.6), *good]) == ("hue", *CROP)
    assert shipped([one("hue", 0.6), *good[:-1], one("crop_aspect", 0.4)]) == ("hue",)
    assert shipped([one("hue", 0.6), one("saturation", 0.9, slope=0.01), one("zoom", 0.9, slope=-1)]) == ("hue",)
