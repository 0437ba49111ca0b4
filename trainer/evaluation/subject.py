"""What is evaluated, by what one types: a run, an exported encoder, a timm model with or without weights, or pixels.

PATH                  finished run, exported encoder, or any folder that timm's save_for_hf wrote
random:PATH           its architecture with fresh weights and recalibrated normalisation
timm:NAME             that architecture with fresh weights, the same way
timm:NAME@FILE        with local weights in safetensors
imagenet, pixels      EfficientNet-lite0; the images themselves, 16x16
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import timm
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from manifests.canonical import canonical_json, sha256_hex
from manifests.errors import CorruptError, UserError
from trainer.embed import embed_images
from trainer.encoders import Encoder, Preprocessing, load_encoder
from trainer.evaluation.features import imagenet_encoder, pixels, recalibrated
from trainer.evaluation.pool import Pool
from trainer.exported import export_folder

_RECALIBRATION_IMAGES = 2_000


@dataclass(frozen=True)
class Subject:
    """One set of weights, or pixels, which have none; `sha256` covers all that decides features."""

    name: str
    sha256: str
    encoder: Encoder | None
    folder: Path | None = None  # of an export, with heads beside the encoder
    is_random: bool = False

    def features(self, pool: Pool) -> Tensor:
        """Embed every image of a pool, [N, D]."""
        rows = np.arange(len(pool))
        if self.encoder is None:
            return torch.cat([torch.cat([pixels(image[None]) for image in batch]) for batch in pool.batches(rows)])
        return torch.cat([torch.from_numpy(embed_images(self.encoder, batch)) for batch in pool.batches(rows)])

    def calibrated(self, pool: Pool) -> Subject:
        """Give random weights the normalisation statistics of the images they will see; others have their own."""
        if not self.is_random or self.encoder is None:
            return self
        rows = np.linspace(0, len(pool) - 1, min(len(pool), _RECALIBRATION_IMAGES)).astype(np.int64)
        encoder = recalibrated(self.encoder, pool.images(rows))
        return Subject(self.name, self.sha256, encoder, self.folder, self.is_random)


def open_subject(name: str, *, seed: int = 0, size_px: int | None = None) -> Subject:
    """Open what is evaluated; `seed` draws random weights, `size_px` is the side of a timm model's input.

    Raises: UserError for what there is not; CorruptError for weights that do not fit.
    """
    kind, colon, rest = name.partition(":")
    if name == "pixels":
        return Subject(name, sha256_hex(b"pixels"), None)
    if name == "imagenet":
        return _subject(name, imagenet_encoder())
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if colon and kind == "timm":
            return _timm(name, rest, size_px)
        if colon and kind == "random":
            return _subject(name, load_encoder(rest, trained=False)[0], is_random=True)
    return _subject(name, load_encoder(name)[0], folder=export_folder(Path(name)))


def _subject(name: str, encoder: Encoder, *, folder: Path | None = None, is_random: bool = False) -> Subject:
    heads = folder / "heads.safetensors" if folder else None
    known = {"heads": sha256_hex(heads.read_bytes())} if heads and heads.is_file() else {}
    return Subject(name, _fingerprint(encoder, known), encoder.to(_device()).eval(), folder, is_random)


def _timm(name: str, rest: str, size_px: int | None) -> Subject:
    architecture, at, weights = rest.partition("@")
    if not timm.is_model(architecture):
        raise UserError(f"timm has no model {architecture!r}; `timm.list_models()` names them")
    known = timm.get_pretrained_cfg(architecture)
    size = size_px or int((known.input_size if known else (3, 224, 224))[-1])
    mean, std = (tuple(value) for value in ((known.mean, known.std) if known else ((0.5,) * 3, (0.5,) * 3)))
    arguments = {"img_size": size} if size_px and known and known.fixed_input_size else {}
    encoder = Encoder(architecture, arguments, Preprocessing(size, mean, std))
    if not at:
        return _subject(name, encoder, is_random=True)
    _load(encoder, Path(weights))
    return _subject(name, encoder)


def _load(encoder: Encoder, path: Path) -> None:
    """Load weights of the same architecture; a classifier on top is left out."""
    try:
        state = load_file(path)
    except (OSError, SafetensorError) as error:
        raise UserError(f"{path} cannot be read as safetensors: {error}") from None
    own = encoder.backbone.state_dict()
    wrong = [key for key, value in own.items() if key not in state or state[key].shape != value.shape]
    if wrong:
        raise CorruptError(f"{path} does not fit {encoder.architecture}: {wrong[0]} and {len(wrong) - 1} others differ")
    encoder.backbone.load_state_dict({key: state[key] for key in own})


def _fingerprint(encoder: Encoder, known: Mapping[str, str]) -> str:
    digest = hashlib.sha256()
    learned = {} if encoder.cut is None else {f"cut.{key}": value for key, value in encoder.cut.state_dict().items()}
    for key, value in sorted({**encoder.backbone.state_dict(), **learned}.items()):
        digest.update(canonical_json([key, str(value.dtype), list(value.shape)]))
        digest.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    split = encoder.cut.described() if encoder.cut else ""
    shape = [encoder.architecture, encoder.arguments, list(encoder.preprocessing), split]
    return sha256_hex(canonical_json([shape, digest.hexdigest(), dict(known)]))


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
