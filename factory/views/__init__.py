"""What makes several images views of one thing: one small file per strategy, all behind one Protocol."""

from typing import Annotated

from pydantic import Field

from factory.views.angular import Angular
from factory.views.ball import Ball
from factory.views.chunks import Chunks
from factory.views.diffusion import Guidance, ImageToImage, Noise, Variants
from factory.views.gaussian import Gaussian
from factory.views.independent import Independent
from factory.views.layers import Layers, Mixing
from factory.views.navigator import Navigator
from factory.views.protocol import Draw, Drawer, Edit, LatentSpace, Place, Strategy, Subject
from factory.views.same import Same
from factory.views.steer import Steer

AnyStrategy = Annotated[
    Independent
    | Same
    | Gaussian
    | Angular
    | Ball
    | Chunks
    | Layers
    | Mixing
    | Steer
    | Navigator
    | Guidance
    | Noise
    | Variants
    | ImageToImage,
    Field(discriminator="name"),
]

__all__ = [
    "AnyStrategy",
    "Draw",
    "Drawer",
    "Edit",
    "ImageToImage",
    "Independent",
    "LatentSpace",
    "Place",
    "Same",
    "Strategy",
    "Subject",
]
