"""The changes of an image that walks are learned for: their names, how far they go, and what one step means.

Source: GenRep (Jahanian et al., ICLR 2022), whose 100 px at 256 are a fraction of the side here; SimCLR's jitter and
crop at the strengths that GenRep trains with.
"""

from __future__ import annotations

import math
from typing import Literal

from factory.walks.file import AlphaLaw

Imitated = Literal["genrep", "simclr"]

ROT3D_DEG, ROT2D_DEG, SHIFT_SIDES = 60.0, 30.0, 100 / 256

GENREP = {
    "rot3d": AlphaLaw(low=-1, high=1, unit=f"{ROT3D_DEG:g} degrees about the vertical axis"),
    "rot2d": AlphaLaw(low=-1, high=1, unit=f"{ROT2D_DEG:g} degrees clockwise"),
    "zoom": AlphaLaw(low=-math.log(4), high=math.log(4), unit="e times as large", shape="zoom"),
    "shift_x": AlphaLaw(low=-1, high=1, unit=f"{SHIFT_SIDES:g} sides to the right"),
    "shift_y": AlphaLaw(low=-1, high=1, unit=f"{SHIFT_SIDES:g} sides down"),
    "red": AlphaLaw(low=-0.5, high=0.5, unit="half of the range from black to white more red"),
    "green": AlphaLaw(low=-0.5, high=0.5, unit="half of the range from black to white more green"),
    "blue": AlphaLaw(low=-0.5, high=0.5, unit="half of the range from black to white more blue"),
}
JITTER = {
    "brightness": AlphaLaw(low=-0.4, high=0.4, unit="twice as bright"),
    "contrast": AlphaLaw(low=-0.4, high=0.4, unit="twice the contrast"),
    "saturation": AlphaLaw(low=-0.4, high=0.4, unit="twice the saturation"),
    "hue": AlphaLaw(low=-0.1, high=0.1, unit="a turn of hue"),
}
CROP = {
    "crop_x": AlphaLaw(low=-1, high=1, unit="the box from the middle of its free room to the right end"),
    "crop_y": AlphaLaw(low=-1, high=1, unit="the box from the middle of its free room to the lower end"),
    "crop_area": AlphaLaw(low=0.2, high=1, unit="the box as large as the image"),
    "crop_aspect": AlphaLaw(low=-math.log(4 / 3), high=math.log(4 / 3), unit="the box e times as wide as high"),
}
FAMILIES: dict[Imitated, dict[str, AlphaLaw]] = {"genrep": GENREP, "simclr": {**JITTER, **CROP}}
