"""The estimator of transforms on drawings that Pillow has warped: it finds what was done to them."""

from __future__ import annotations

import io
import math
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance

import trainer
from factory.walks.file import LearnedFacts, parse_learned, to_bytes
from factory.walks.measure import Measured, measure_walks, registered, shipped, summary
from factory.walks.transforms import CROP, FAMILIES
from manifests import seeds
from tests.factory.walks.toys import Spot, spot

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


def cropped(picture: np.ndarray, crop: dict[str, float]) -> np.ndarray:
    """Let Pillow enlarge the box that a crop's numbers mean."""
    side = picture.shape[0]
    across, down = (
        side * min(1.0, math.sqrt(crop["crop_area"] * math.exp(sign * crop["crop_aspect"]))) for sign in (1, -1)
    )
    left, top = (crop["crop_x"] + 1) / 2 * (side - across), (crop["crop_y"] + 1) / 2 * (side - down)
    box = (left, top, left + across, top + down)
    return np.asarray(Image.fromarray(picture).resize((side, side), Image.Resampling.BILINEAR, box=box))


def jittered(picture: np.ndarray, name: str, alpha: float) -> np.ndarray:
    image = Image.fromarray(picture)
    if name == "hue":
        hue, *rest = image.convert("HSV").split()
        turned = Image.fromarray(((np.asarray(hue).astype(int) + round(alpha * 256)) % 256).astype(np.uint8))
        return np.asarray(Image.merge("HSV", (turned, *rest)).convert("RGB"))
    kind = {"brightness": ImageEnhance.Brightness, "contrast": ImageEnhance.Contrast, "saturation": ImageEnhance.Color}
    return np.asarray(kind[name](image).enhance(1 + alpha))


def as_images(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(pixels, np.float32)).permute(0, 3, 1, 2) / 127.5 - 1


@pytest.mark.parametrize("name", FAMILIES["genrep"])
def test_true_warps_of_real_drawings_are_found(drawings: np.ndarray, name: str) -> None:
    alphas = LAWS[name].at(seeds.uniform(7, name, len(drawings)))
    asked = {name: torch.from_numpy(alphas)}
    found, errors = registered(as_images(drawings), as_images(changed(drawings, name, alphas)), name, LAWS[name], asked)
    measured = summary(name, alphas, found, errors)
    assert measured.r2 > (0.9 if name in ("red", "green", "blue") else 0.95)  # a red heart on white cannot be redder
    assert measured.slope == pytest.approx(1, abs=0.1)
    assert measured.explained > 0.8


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_true_jitter_of_real_drawings_is_found(drawings: np.ndarray, name: str) -> None:
    alphas = LAWS[name].at(seeds.uniform(7, name, len(drawings)))
    pixels = np.stack([jittered(one, name, alpha) for one, alpha in zip(drawings, alphas, strict=True)])
    found, errors = registered(as_images(drawings), as_images(pixels), name, LAWS[name], {})
    assert summary(name, alphas, found, errors).r2 > 0.9


def test_true_crops_of_real_drawings_are_found(drawings: np.ndarray) -> None:
    asked = {name: CROP[name].at(seeds.uniform(7, name, len(drawings))) for name in CROP}
    rows = [{name: float(values[i]) for name, values in asked.items()} for i in range(len(drawings))]
    pixels = np.stack([cropped(one, row) for one, row in zip(drawings, rows, strict=True)])
    others = {name: torch.from_numpy(values) for name, values in asked.items()}
    least_r2 = {"crop_x": 0.7, "crop_y": 0.7, "crop_area": 0.95, "crop_aspect": 0.9}  # a large box has no way to go
    for name, least in least_r2.items():
        found, errors = registered(as_images(drawings), as_images(pixels), name, CROP[name], others)
        assert summary(name, asked[name], found, errors).r2 > least, name


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


def test_a_crop_is_shipped_whole_or_not_at_all() -> None:
    def one(name: str, r2: float, slope: float = 1.0) -> Measured:
        return Measured(name, r2, r2, r2, slope, 0.5, 100)

    good = [one(name, 0.9) for name in CROP]
    assert shipped([one("hue", 0.6), *good]) == ("hue", *CROP)
    assert shipped([one("hue", 0.6), *good[:-1], one("crop_aspect", 0.4)]) == ("hue",)
    assert shipped([one("hue", 0.6), one("saturation", 0.9, slope=0.01), one("zoom", 0.9, slope=-1)]) == ("hue",)
