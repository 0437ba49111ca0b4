"""What an augmentation does, as numbers; presets carry the figures of the papers they are named after."""

from __future__ import annotations

from dataclasses import dataclass, replace

Range = tuple[float, float]


@dataclass(frozen=True)
class Jitter:
    """Half widths of the factors' ranges around 1; hue in turns around 0."""

    brightness: float
    contrast: float
    saturation: float
    hue: float
    probability: float


@dataclass(frozen=True)
class RandAugment:
    """Operations an image undergoes, each with the probability, at a normal magnitude cut to 0 .. 10."""

    operations: int
    magnitude: float
    magnitude_std: float
    probability: float


@dataclass(frozen=True)
class Augmentation:
    """In order: downsample, crop, flip, jitter, blur, RandAugment, grayscale, solarize.

    Without a crop the whole image is resized. Grayscale and blur commute, so that this is also the order of SimCLR and
    BYOL (grayscale, blur, solarize); InfoMin has blur, RandAugment, grayscale.
    """

    downsample_to: tuple[float, ...] = ()  # shares of the side, one of which is drawn; then enlarged again
    downsample_probability: float = 0.0
    crop_area: Range | None = None  # share of the image
    crop_aspect: Range = (3 / 4, 4 / 3)  # width over height, drawn log-uniformly
    flip_probability: float = 0.0
    jitter: Jitter | None = None
    blur_probability: float = 0.0
    blur_sigma_px: Range = (0.1, 2.0)  # at 224 px; scaled with the output's side, so that all sizes are blurred alike
    rand_augment: RandAugment | None = None
    grayscale_probability: float = 0.0
    solarize_probability: float = 0.0


# SimCLR, arXiv:2002.05709, appendix A, strength 1.
_SIMCLR = Augmentation(
    crop_area=(0.08, 1.0),
    flip_probability=0.5,
    jitter=Jitter(0.8, 0.8, 0.8, 0.2, probability=0.8),
    grayscale_probability=0.2,
    blur_probability=0.5,
)
# BYOL, arXiv:2006.07733, appendix B: an image's two crops are blurred and solarized unequally often.
_BYOL = replace(_SIMCLR, jitter=Jitter(0.4, 0.4, 0.2, 0.1, probability=0.8), blur_probability=1.0)
PRESETS = {
    "simclr": _SIMCLR,
    # StableRep, arXiv:2306.00984: MoCo v2's jitter, and 256 px images now and then brought to 64 or 128 px and back.
    "stablerep": replace(
        _SIMCLR,
        jitter=Jitter(0.4, 0.4, 0.4, 0.1, probability=0.8),
        downsample_to=(1 / 4, 1 / 2),
        downsample_probability=0.05,
    ),
    # InfoMin, arXiv:2005.10243: SimCLR's colours, crops of a fifth or more, RandAugment n2 m10 mstd0.5.
    "infomin": replace(_SIMCLR, crop_area=(0.2, 1.0), rand_augment=RandAugment(2, 10.0, 0.5, probability=0.5)),
    "byol": _BYOL,
    "weak": Augmentation(crop_area=(0.5, 1.0), flip_probability=0.5),
    "none": Augmentation(),
}
_SECOND_CROPS = {"byol": replace(_BYOL, blur_probability=0.1, solarize_probability=0.2)}


def preset(name: str) -> Augmentation:
    """Return the augmentation of that name.

    Raises: ValueError naming those there are.
    """
    if name not in PRESETS:
        raise ValueError(f"augmentation preset is {name!r}, expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def with_knobs(recipe: Augmentation, *, crop_area: float | None = None, jitter: float | None = None) -> Augmentation:
    """Return a recipe whose crops show at least a share of the image, and whose colours vary by a strength.

    Strength 1 is SimCLR's, 0 none at all. These are the knobs of InfoMin, arXiv:2005.10243 section 4.3.
    """
    if crop_area is not None:
        recipe = replace(recipe, crop_area=(crop_area, 1.0))
    if jitter is not None:
        recipe = replace(recipe, jitter=_jitter(jitter) if jitter else None)
    return recipe


def _jitter(strength: float) -> Jitter:
    wide = 0.8 * strength
    return Jitter(wide, wide, wide, min(0.2 * strength, 0.5), probability=0.8)


def preset_pair(name: str) -> tuple[Augmentation, Augmentation]:
    """Return the augmentations of an image's first and second crop: the same one, except for byol.

    Raises: ValueError naming those there are.
    """
    return preset(name), _SECOND_CROPS.get(name, preset(name))
