"""The encoder: a timm backbone without its classifier, together with the preprocessing it was trained with.

The two are one thing: features of a backbone fed otherwise than in training are silently worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from learning.augment import normalise
from manifests.errors import CorruptError, UserError
from manifests.settings import nearest
from trainer.config import EncoderConfig
from trainer.exported import export_folder, read_export_config
from trainer.splits import Split, build_split, exported_split
from trainer.timed import TimedBackbone


class Preprocessing(NamedTuple):
    """What happens to pixels in 0 … 1 before the backbone: resize to size_px, subtract the mean, divide by the std."""

    size_px: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Encoder(nn.Module):
    """Maps normalised images to features; with a split, two backbones see a colour space's first and other channels.

    With `timed` the features are E(x0, t), and t in [0, 1] is given, or the backbone's default.
    Shapes: [n, 3, size_px, size_px], [n] -> [n, dimensions].
    """

    def __init__(
        self,
        architecture: str,
        arguments: Mapping[str, Any],
        preprocessing: Preprocessing,
        split: Split | None = None,
        timed: bool = False,
    ) -> None:
        super().__init__()
        self.architecture, self.arguments = architecture, dict(arguments)
        self.preprocessing, self.cut, self.timed = preprocessing, split, timed
        self.split = None if split is None else split.name
        self.backbone: nn.Module
        if split is not None:
            self.backbone = SplitBackbone(architecture, arguments, split.channels)
        else:
            model = _create(architecture, arguments)
            self.backbone = TimedBackbone(model) if timed else model
        channels = 3 if split is None else sum(split.channels)
        self.dimensions = _feature_count(self.backbone, architecture, preprocessing.size_px, channels)

    def normalize(self, images: Tensor) -> Tensor:
        """Return images in 0 … 1 as the backbone wants them. Shapes: [n, …, 3, H, W]."""
        if self.cut is not None:
            return self.cut.prepared(images.flatten(0, -4)).reshape(images.shape)
        return normalise(images, self.preprocessing.mean, self.preprocessing.std)

    def forward(self, images: Tensor, times: Tensor | None = None) -> Tensor:
        if self.cut is not None:
            images = self.cut(images)
        features: Tensor = self.backbone(images) if times is None else self.backbone(images, times)
        return features


class SplitBackbone(nn.Module):
    """Two backbones with joined features: for the first channels, and for the others (CMC, arXiv:1906.05849)."""

    def __init__(self, architecture: str, arguments: Mapping[str, Any], channels: tuple[int, int]) -> None:
        super().__init__()
        self.channels = channels
        self.first = _create(architecture, {**arguments, "in_chans": channels[0]})
        self.others = _create(architecture, {**arguments, "in_chans": channels[1]})

    def forward(self, images: Tensor) -> Tensor:
        first, others = torch.split(images, list(self.channels), dim=1)
        return torch.cat([self.first(first), self.others(others)], dim=1)


def build_encoder(config: EncoderConfig) -> Encoder:
    """Return a randomly initialised encoder; torch's generator decides the weights."""
    preprocessing = Preprocessing(config.size_px, config.mean, config.std)
    return Encoder(config.backbone, config.arguments, preprocessing, build_split(config), config.timed)


def load_encoder(source: str | Path, *, trained: bool = True) -> tuple[Encoder, Preprocessing]:
    """Load the encoder of an export, a run (its export), or of any folder that timm's save_for_hf wrote.

    `trained=False` gives the same architecture with fresh weights: the random baseline.
    Raises: UserError saying what the folder lacks; CorruptError for weights that do not fit their config.
    """
    folder = export_folder(Path(source))
    encoder = encoder_from_config(read_export_config(folder), folder)
    if trained:
        try:
            encoder.backbone.load_state_dict(load_file(folder / "model.safetensors"))
        except (RuntimeError, OSError, ValueError, SafetensorError) as error:
            raise CorruptError(
                f"{folder}/model.safetensors does not fit its config.json: {_first_line(error)}"
            ) from None
    return encoder.eval(), encoder.preprocessing


def encoder_from_config(config: Mapping[str, Any], folder: Path) -> Encoder:
    """Build the architecture that the folder's timm `config.json` describes, with fresh weights behind its split."""
    pixels = config["pretrained_cfg"]
    preprocessing = Preprocessing(int(pixels["input_size"][-1]), tuple(pixels["mean"]), tuple(pixels["std"]))
    split, timed = exported_split(config, folder), bool(config.get("timed"))
    return Encoder(config["architecture"], config.get("model_args", {}), preprocessing, split, timed)


def _create(architecture: str, arguments: Mapping[str, Any]) -> nn.Module:
    if not timm.is_model(architecture):
        hint = nearest(architecture, timm.list_models()) or "; timm.list_models() names those it has"
        raise UserError(f"timm has no backbone {architecture!r}{hint}")
    try:
        model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=0, **arguments)
    except (TypeError, AssertionError, ValueError, KeyError) as error:
        raise UserError(f"{architecture} refuses encoder.arguments {dict(arguments)}: {_first_line(error)}") from None
    return model


def _feature_count(backbone: nn.Module, architecture: str, size_px: int, channels: int) -> int:
    """Width of the features, from one blank image: what timm reports is not what every family returns."""
    was_training = backbone.training
    try:
        with torch.no_grad():
            features = backbone.eval()(torch.zeros(1, channels, size_px, size_px))
    except (AssertionError, RuntimeError) as error:
        raise UserError(
            f"{architecture} cannot take {size_px} px images: {_first_line(error)}; "
            f"set encoder.size_px, or encoder.arguments.img_size={size_px} where the model has it"
        ) from None
    backbone.train(was_training)
    return int(features.shape[1])


def _first_line(error: BaseException) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]
