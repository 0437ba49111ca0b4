"""The perceptual hash: what it bears, what it tells apart, and its definition."""

from __future__ import annotations

import io

import numpy as np
import scipy.fft
from PIL import Image

from manifests.lookalikes import alike, perceptual_hash


def drawing(seed: int, side_px: int = 96) -> np.ndarray:
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8))
    return np.asarray(small.resize((side_px, side_px), Image.Resampling.BICUBIC))


def bits(first: np.ndarray, second: np.ndarray) -> int:
    return (perceptual_hash(first) ^ perceptual_hash(second)).bit_count()


def test_the_hash_is_the_sign_of_scipys_cosine_transform() -> None:
    image = drawing(0, 64)
    grey = image @ [0.299, 0.587, 0.114]
    small = grey.reshape(32, 2, 32, 2).mean((1, 3))
    waves = scipy.fft.dctn(small, type=2)[1:9, 1:9]
    expected = "".join("01"[int(wave > np.median(waves))] for wave in waves.ravel())
    assert perceptual_hash(image) == int(expected, 2)


def test_resizing_recoding_and_brightness_change_few_bits() -> None:
    for seed in range(20):
        image = drawing(seed)
        small = np.asarray(Image.fromarray(image).resize((48, 48), Image.Resampling.LANCZOS))
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=50)
        recoded = np.asarray(Image.open(file))
        brighter = (image * 0.8 + 20).astype(np.uint8)
        assert max(bits(image, other) for other in (small, recoded, brighter)) <= 6


def test_other_drawings_differ_in_about_half_of_the_bits() -> None:
    found = [bits(drawing(i), drawing(j)) for i in range(12) for j in range(i)]
    assert min(found) > 10
    assert 28 < np.mean(found) < 36


def test_an_image_that_is_no_square_and_a_blank_one_have_hashes() -> None:
    assert bits(drawing(0)[:50], drawing(0)[:50]) == 0
    assert perceptual_hash(np.full((5, 9, 3), 255, np.uint8)) == perceptual_hash(np.zeros((40, 40, 3), np.uint8))


def test_pairs_within_so_many_bits_are_found() -> None:
    first, second = np.array([0, 0b111], np.uint64), np.array([1, 0b11, 2**63], np.uint64)
    assert list(alike(first, second, 1)) == [(0, 0, 1), (0, 2, 1), (1, 1, 1)]
