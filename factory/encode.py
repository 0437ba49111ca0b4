"""Pixels -> the bytes of an image file, the same on every machine that has the same Pillow.

A recipe's identity names codec and settings; a commit's numerics carry `encoder_fingerprint`, since another libjpeg
writes other bytes.
"""

from __future__ import annotations

import io
from typing import Any, Literal

import numpy as np
from PIL import Image, features
from PIL import __version__ as pillow_version
from pydantic import BaseModel, ConfigDict, Field, model_validator

# https://cv.iptc.org/newscodes/digitalsourcetype/: media made by a model trained on sampled content.
DIGITAL_SOURCE_TYPE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
XMP_MARK = f"""<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/">
<Iptc4xmpExt:DigitalSourceType>{DIGITAL_SOURCE_TYPE}</Iptc4xmpExt:DigitalSourceType>
</rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="r"?>""".encode()

Codec = Literal["jpeg", "webp", "webp-lossless", "png"]
Extension = Literal["jpg", "png", "webp"]
EXTENSIONS: dict[Codec, Extension] = {"jpeg": "jpg", "webp": "webp", "webp-lossless": "webp", "png": "png"}
LOSSY: tuple[Codec, ...] = ("jpeg", "webp")
LIBRARIES: dict[Codec, str] = {"jpeg": "libjpeg_turbo", "webp": "webp", "webp-lossless": "webp", "png": "zlib"}


class EncodeConfig(BaseModel):
    """How a view becomes a file; `mark` embeds the XMP statement that a model made it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    codec: Codec = Field("jpeg", description="of the image files")
    quality: int = Field(95, ge=1, le=100, description="of the lossy codecs")
    mark: bool = Field(False, description="embed the XMP statement that a model made the image")

    @model_validator(mode="after")
    def _check(self) -> EncodeConfig:
        if self.codec not in LOSSY and self.quality != EncodeConfig.model_fields["quality"].default:
            raise ValueError(f"no quality beside codec {self.codec}, which keeps every pixel; found {self.quality}")
        return self


def encode(pixels: np.ndarray, config: EncodeConfig) -> bytes:
    """Encode one uint8 [H, W, 3] image.

    Raises: ValueError for any other shape or dtype.
    """
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected uint8 [H, W, 3] pixels, got {pixels.dtype} {list(pixels.shape)}")
    buffer = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(buffer, **_options(config), **_mark(config))
    return buffer.getvalue()


def _options(config: EncodeConfig) -> dict[str, Any]:
    """Name every setting that a codec would otherwise choose: a default may change with a release."""
    match config.codec:
        case "jpeg":
            return {"format": "JPEG", "quality": config.quality, "subsampling": "4:4:4", "optimize": False}
        case "webp":
            return {"format": "WEBP", "quality": config.quality, "lossless": False, "method": 4}
        case "webp-lossless":
            # Method 0 costs about 15 % in size beside method 4 and is 50 times as fast.
            return {"format": "WEBP", "quality": 0, "lossless": True, "method": 0, "exact": True}
        case "png":
            return {"format": "PNG", "compress_level": 6, "optimize": False}


def _mark(config: EncodeConfig) -> dict[str, Any]:
    if not config.mark:
        return {}
    if config.codec != "png":
        return {"xmp": XMP_MARK}
    from PIL.PngImagePlugin import PngInfo

    chunk = PngInfo()
    chunk.add_itxt("XML:com.adobe.xmp", XMP_MARK.decode())
    return {"pnginfo": chunk}


def extension(config: EncodeConfig) -> Extension:
    """Return the file name's ending, without the dot."""
    return EXTENSIONS[config.codec]


def encoder_fingerprint(config: EncodeConfig) -> dict[str, str]:
    """Name the encoder, its library's version and its settings: what a file depends on besides the pixels."""
    library = LIBRARIES[config.codec]
    version = features.version(library) or "unknown"
    settings = ",".join(f"{key}={value}" for key, value in sorted(_options(config).items()) if key != "format")
    return {"codec": config.codec, "encoder": f"pillow {pillow_version} {library} {version}", "settings": settings}
