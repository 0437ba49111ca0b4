"""The bank: frozen vision models that see what a GAN draws, each with its own size, normalisation, levels and licence.

A model is named by a word, `clip-vit-b32`, `dino-vit-b16`, `vgg16`, `swin-t`, `efficientnet-lite0` (1, 2) or `random`;
as `timm:NAME` or `transformers:NAME`; or by a local folder of either kind, such as an encoder that the trainer
exported. `NAME@64` feeds it images of 64 px. Nothing is downloaded: weights are here, or it is said how to get them.
Weights are data: safetensors, or `torch.load(weights_only=True)`.
Paper: Kumari et al., arXiv:2112.09130, section 3.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from factory.gan.trunks import TimmTrunk, TransformersTrunk, Trunk
from manifests.errors import UserError
from manifests.shard import file_sha256

# Word: timm's name, and the licence of the weights as their authors give it.
PUBLISHED = {
    "clip-vit-b32": ("vit_base_patch32_clip_quickgelu_224.openai", "MIT"),  # the activation it was trained with
    "dino-vit-b16": ("vit_base_patch16_224.dino", "Apache-2.0"),
    "vgg16": ("vgg16.tv_in1k", "BSD-3-Clause"),
    "swin-t": ("swin_tiny_patch4_window7_224.ms_in1k", "MIT"),
}
PACKAGED = {"efficientnet-lite0": 224, "efficientnet-lite1": 240, "efficientnet-lite2": 280}
RANDOM = "random"
RANDOM_ARCHITECTURE = "tf_efficientnet_lite0"
WORDS = (*PUBLISHED, *PACKAGED, RANDOM)
_LITE_MEAN, _LITE_DEVIATION = (127 / 255,) * 3, (128 / 255,) * 3
_SIZED = re.compile(r"(?P<name>.+?)(@(?P<size>\d{1,4}))?")


@dataclass(frozen=True)
class Facts:
    """What a model is, for people and for the record; mean and deviation are of pixels in 0 … 1."""

    name: str
    licence: str
    sha256: str  # of the file of weights
    size_px: int
    mean: tuple[float, ...]
    deviation: tuple[float, ...]


@dataclass(frozen=True)
class Seen:
    """What a model makes of a batch.

    Shapes: levels [n, C, h, w] each, from shallow to deep; pooled [n, D].
    """

    levels: Sequence[Tensor]
    pooled: Tensor


class VisionModel(nn.Module):
    """A frozen model; gradients reach the images and stop there."""

    def __init__(self, facts: Facts, trunk: Trunk) -> None:
        super().__init__()
        self.facts = facts
        self.trunk = trunk.eval().requires_grad_(False)
        for name, values in (("mean", facts.mean), ("deviation", facts.deviation)):
            self.register_buffer(name, torch.tensor(values).view(1, 3, 1, 1), persistent=False)

    def forward(self, images: Tensor, *, is_clipped: bool = False) -> Seen:
        """Look at images in [-1, 1], of any size; what augmentation drove out of the range has its gradient too.

        `is_clipped` cuts off what resizing overshot. Shapes: [n, 3, H, W].
        """
        size = (self.facts.size_px,) * 2
        pixels = (images.float() + 1) / 2
        if pixels.shape[2:] != size:
            pixels = F.interpolate(pixels, size=size, mode="bicubic", antialias=True)
        if is_clipped:
            pixels = pixels.clamp(0, 1)
        mean, deviation = self.get_buffer("mean"), self.get_buffer("deviation")
        levels, pooled = self.trunk((pixels - mean) / deviation)
        return Seen(levels, pooled)

    def train(self, mode: bool = True) -> VisionModel:
        """Stay as it is: a frozen model has nothing to train, and its batch norms nothing to learn."""
        return super().train(False)

    def widths(self) -> tuple[list[int], int]:
        """Return the channels of each level, and the length of the pooled features."""
        with torch.no_grad():
            seen = self(torch.zeros(1, 3, 8, 8, device=self.get_buffer("mean").device))
        return [level.shape[1] for level in seen.levels], seen.pooled.shape[1]


@torch.inference_mode()
def embed(model: VisionModel, pixels: np.ndarray, batch_images: int = 64) -> np.ndarray:
    """Return the pooled features of pictures. Shapes: uint8 [N, H, W, 3] -> float32 [N, D]."""
    device = model.get_buffer("mean").device
    found = []
    for start in range(0, len(pixels), batch_images):
        batch = torch.from_numpy(pixels[start : start + batch_images]).to(device).permute(0, 3, 1, 2)
        found.append(model(batch.float() / 127.5 - 1, is_clipped=True).pooled.float().cpu().numpy())
    return np.concatenate(found)


def open_model(spec: str) -> VisionModel:
    """Load a model by its word, kind and name, or folder.

    Raises: UserError for an unknown one, and for missing weights with the way to get them.
    """
    named = _SIZED.fullmatch(spec)
    name, size_px = (named["name"], int(named["size"]) if named["size"] else None) if named else (spec, None)
    if size_px is not None and size_px < 8:
        raise UserError(f"{spec}: expected a size of at least 8 px")
    try:
        model = _opened(name, size_px, spec)
        model.widths()  # one look, so that a size that does not fit is said here
        return model
    except (RuntimeError, AssertionError, ValueError, TypeError) as error:
        told = (str(error) or type(error).__name__).splitlines()[0].rstrip(".")
        raise UserError(f"{spec}: this model does not load or does not fit: {told}") from None


def _opened(name: str, size_px: int | None, spec: str) -> VisionModel:
    kind, colon, rest = name.partition(":")
    if name in PUBLISHED:
        return _timm(PUBLISHED[name][0], size_px, spec, PUBLISHED[name][1])
    if name in PACKAGED:
        return _packaged(name, size_px or PACKAGED[name], spec)
    if name == RANDOM:
        return _random(size_px or 64, spec)
    if colon and kind == "timm":
        return _timm(rest, size_px, spec)
    if colon and kind == "transformers":
        return _transformers(rest, spec, size_px)
    if (folder := Path(name).expanduser()).is_dir():
        return _folder(folder, size_px, spec)
    raise UserError(f"{spec}: expected one of {', '.join(WORDS)}, timm:NAME, transformers:NAME or a folder")


def _packaged(name: str, size_px: int, spec: str) -> VisionModel:
    from factory.builtin.features import backbone, weights_file

    number = int(name[-1])
    facts = Facts(spec, "Apache-2.0", file_sha256(weights_file(number)), size_px, _LITE_MEAN, _LITE_DEVIATION)
    return VisionModel(facts, TimmTrunk(backbone(number)))


def _random(size_px: int, spec: str) -> VisionModel:
    """A network that has learned nothing: whoever cannot beat it has learned nothing of use."""
    import timm

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        net = timm.create_model(RANDOM_ARCHITECTURE, num_classes=0)
    return VisionModel(Facts(spec, "none", "seed 0", size_px, (0.5,) * 3, (0.5,) * 3), TimmTrunk(net))


def _timm(name: str, size_px: int | None, spec: str, licence: str | None = None) -> VisionModel:
    import timm

    if not timm.is_model(name.partition(".")[0]) or (config := timm.get_pretrained_cfg(name)) is None:
        raise UserError(f"{spec}: timm {timm.__version__} has no model {name!r}; timm.list_models() names those it has")
    file = _in_cache(str(config.hf_hub_id), "model.safetensors", spec)
    arguments: dict[str, Any] = {"img_size": size_px} if size_px and config.fixed_input_size else {}
    net = timm.create_model(
        name, pretrained=True, pretrained_cfg_overlay={"file": str(file)}, num_classes=0, **arguments
    )
    told = licence or str(config.license or "unknown")
    facts = Facts(spec, told, file_sha256(file), size_px or config.input_size[-1], config.mean, config.std)
    return VisionModel(facts, TimmTrunk(net))


def _in_cache(repository: str, file: str, spec: str) -> Path:
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file)
    if not isinstance(found, str):
        raise UserError(
            f"{spec}: its weights are not on this machine, and nothing is downloaded unasked: get them once with "
            f"`hf download {repository}`, or name a folder with config.json and model.safetensors"
        )
    return Path(found)


def _folder(folder: Path, size_px: int | None, spec: str) -> VisionModel:
    config = _read_config(folder, spec)
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{spec}: expected model.safetensors beside config.json; a pickle is not read")
    if "architecture" not in config:
        return _transformers(str(folder), spec, size_px)
    if config.get("split"):
        raise UserError(f"{spec}: an encoder of split colour channels cannot judge; expected one that sees RGB")
    import timm

    pixels = config["pretrained_cfg"]
    resized = {"img_size": size_px} if size_px and pixels.get("fixed_input_size") else {}
    net = timm.create_model(f"local-dir:{folder}", pretrained=True, num_classes=0, **resized)
    licence, size = str(pixels.get("license") or "unknown"), size_px or int(pixels["input_size"][-1])
    facts = Facts(
        spec, licence, file_sha256(folder / "model.safetensors"), size, *_normalisation(pixels, "mean", "std")
    )
    return VisionModel(facts, TimmTrunk(net))


def _transformers(name: str, spec: str, size_px: int | None) -> VisionModel:
    folder = Path(name).expanduser()
    if not folder.is_dir():
        folder = _in_cache(name, "config.json", spec).parent
    if not (folder / "model.safetensors").is_file():
        raise UserError(f"{spec}: expected model.safetensors in {folder}; get it with `hf download {name}`")
    trunk = TransformersTrunk.open(folder)
    if size_px not in (None, trunk.size_px):
        raise UserError(f"{spec}: this model sees {trunk.size_px} px; another size is for timm's models")
    path = folder / "preprocessor_config.json"
    told = (
        _read_config(folder, spec, path.name) if path.is_file() else {"image_mean": (0.5,) * 3, "image_std": (0.5,) * 3}
    )
    sha256 = file_sha256(folder / "model.safetensors")
    normalised = _normalisation(told, "image_mean", "image_std")
    return VisionModel(Facts(spec, "unknown", sha256, trunk.size_px, *normalised), trunk)


def _normalisation(told: dict[str, Any], mean: str, deviation: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    return tuple(map(float, told[mean])), tuple(map(float, told[deviation]))


def _read_config(folder: Path, spec: str, file: str = "config.json") -> dict[str, Any]:
    import json

    try:
        return dict(json.loads((folder / file).read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise UserError(f"{spec}: {folder / file} is not to be read ({error}): expected a model's folder") from None
