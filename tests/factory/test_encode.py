"""Pixels to files: the codecs' promises, determinism, and the mark that says a model made the image."""

import io
import re

import numpy as np
import pytest
from PIL import Image

from factory.encode import DIGITAL_SOURCE_TYPE, Codec, EncodeConfig, encode, encoder_fingerprint, extension

CODECS: tuple[Codec, ...] = ("jpeg", "webp", "webp-lossless", "png")


def drawing(height: int = 24, width: int = 40) -> np.ndarray:
    """A picture made from integers: a gradient with a saturated disc."""
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([x * 255 // (width - 1), y * 255 // (height - 1), (x + y) % 256], axis=2).astype(np.uint8)
    pixels[(x - 20) ** 2 + (y - 12) ** 2 < 36] = (255, 0, 0)
    return pixels


def decoded(data: bytes) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


@pytest.mark.parametrize("codec", ["webp-lossless", "png"])
def test_lossless_codecs_give_back_every_pixel(codec: Codec) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (33, 17, 3), dtype=np.uint8)
    for pixels in (drawing(), noise):
        assert np.array_equal(decoded(encode(pixels, EncodeConfig(codec=codec))), pixels)


@pytest.mark.parametrize("codec", ["webp-lossless", "png"])
def test_a_lossless_codec_takes_no_quality_which_would_change_the_identity_and_no_byte(codec: Codec) -> None:
    with pytest.raises(ValueError, match=f"no quality beside codec {codec}"):
        EncodeConfig(codec=codec, quality=90)
    written_out = EncodeConfig(codec=codec, quality=95)
    assert written_out.model_dump(exclude_defaults=True) == {"codec": codec}


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_lossy_codecs_stay_near_and_quality_costs_bytes(codec: Codec) -> None:
    sizes = []
    for quality in (50, 80, 95):
        data = encode(drawing(), EncodeConfig(codec=codec, quality=quality))
        sizes.append(len(data))
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1]
    assert np.abs(decoded(data).astype(int) - drawing()).mean() < 5


def test_jpeg_keeps_the_colour_of_every_pixel_by_default() -> None:
    image = Image.open(io.BytesIO(encode(drawing(), EncodeConfig())))
    assert image.format == "JPEG"
    assert all(component[1:3] == (1, 1) for component in image.layer)  # 4:4:4
    assert max(max(table) for table in image.quantization.values()) <= 12  # quality 95


@pytest.mark.parametrize("mark", [False, True])
@pytest.mark.parametrize("codec", CODECS)
def test_equal_pixels_give_equal_bytes(codec: Codec, mark: bool) -> None:
    config = EncodeConfig(codec=codec, mark=mark)
    view = drawing()[:, ::-1]  # other strides, equal pixels
    assert encode(view, config) == encode(np.ascontiguousarray(view), config) == encode(view.copy(), config)


@pytest.mark.parametrize("codec", CODECS)
def test_the_mark_reads_back_and_changes_no_pixel(codec: Codec) -> None:
    plain, marked = (encode(drawing(), EncodeConfig(codec=codec, mark=mark)) for mark in (False, True))
    assert DIGITAL_SOURCE_TYPE.encode() not in plain
    assert DIGITAL_SOURCE_TYPE.encode() in marked
    assert np.array_equal(decoded(plain), decoded(marked))
    image = Image.open(io.BytesIO(marked))
    image.load()
    found = image.info.get("xmp") or image.info["XML:com.adobe.xmp"].encode()
    assert re.search(rb"<Iptc4xmpExt:DigitalSourceType>http://cv\.iptc\.org/\S+/trainedAlgorithmicMedia</", found)


@pytest.mark.parametrize(("codec", "ending"), [*zip(CODECS, ("jpg", "webp", "webp", "png"), strict=True)])
def test_the_extension_belongs_to_the_format(codec: Codec, ending: str) -> None:
    config = EncodeConfig(codec=codec)
    assert extension(config) == ending
    assert Image.open(io.BytesIO(encode(drawing(), config))).format == {"jpg": "JPEG"}.get(ending, ending.upper())


def test_the_fingerprint_names_library_version_and_settings() -> None:
    found = encoder_fingerprint(EncodeConfig())
    assert re.fullmatch(r"pillow \d+\.\d+\.\d+ libjpeg_turbo \d+\.\S+", found["encoder"])
    assert found["settings"] == "optimize=False,quality=95,subsampling=4:4:4"
    prints = [str(encoder_fingerprint(EncodeConfig(codec=c, quality=q))) for c in ("jpeg", "webp") for q in (90, 95)]
    assert len(set(prints)) == 4


@pytest.mark.parametrize("pixels", [np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4, 3), np.float32)])
def test_anything_but_eight_bit_colour_is_an_error(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"expected uint8 \[H, W, 3\]"):
        encode(pixels, EncodeConfig())
