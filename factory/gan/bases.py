"""The generators that can be trained, each with the one discriminator that they share.

StyleGAN2's residual discriminator is StyleGAN3's too (arXiv:2106.12423, appendix D), and judges DCGAN's images here.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, field_validator


class _Base(BaseModel):
    """What the three have in common; the discriminator is as wide as the generator."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resolution: int = Field(default=64, ge=8, le=1024, description="side of the square images, a power of two")
    z_dim: int = Field(default=512, ge=1)
    channel_base: int = Field(default=32768, ge=64, description="channels at a resolution: base / resolution …")
    channel_max: int = Field(default=512, ge=1, description="… but no more than these")
    half_layers: int = Field(default=0, ge=0, description="resolutions in float16 on CUDA, from the top")

    @field_validator("resolution")
    @classmethod
    def _check_resolution(cls, resolution: int) -> int:
        if resolution & (resolution - 1):
            raise ValueError("a power of two")
        return resolution

    def discriminator_arguments(self, classes: int, mapping_layers: int) -> dict[str, Any]:
        """Return what the discriminator's class takes."""
        kept = self.model_dump(include={"resolution", "channel_base", "channel_max", "half_layers"})
        return {**kept, "num_classes": classes, "mapping_layers": mapping_layers, **self._clamp()}

    def _clamp(self) -> dict[str, float]:
        return {"conv_clamp": 256.0} if self.half_layers else {}


class StyleGan2Config(_Base):
    family: Literal["stylegan2"] = "stylegan2"
    w_dim: int = Field(default=512, ge=1)
    mapping_layers: int = Field(default=8, ge=1, le=16)

    def arguments(self, classes: int) -> dict[str, Any]:
        """Return what the network's class takes."""
        return {**self.model_dump(exclude={"family"}), "num_classes": classes, **self._clamp()}


class StyleGan3Config(_Base):
    family: Literal["stylegan3"] = "stylegan3"
    w_dim: int = Field(default=512, ge=1)
    mapping_layers: int = Field(default=2, ge=1, le=16)
    layers: int = Field(default=14, ge=2, le=64)
    critical_layers: int = Field(default=2, ge=1, le=16)
    margin_size: int = Field(default=10, ge=0, le=64, description="px around the image that are drawn and cut off")
    conv_kernel: Literal[1, 3] = Field(default=3, description="1 with radial filters: equivariant to rotation")
    use_radial_filters: bool = False

    def arguments(self, classes: int) -> dict[str, Any]:
        """Return what the network's class takes."""
        return {**self.model_dump(exclude={"family"}), "num_classes": classes}


class DcganConfig(_Base):
    family: Literal["dcgan"] = "dcgan"
    z_dim: int = Field(default=100, ge=1)

    def arguments(self, classes: int) -> dict[str, Any]:
        """Return what the network's class takes: from 4 px each layer doubles the side, the last one draws."""
        sides = [2**power for power in range(2, self.resolution.bit_length() - 1)]  # 4 … resolution / 2
        hidden = [{"channels": min(self.channel_base // side, self.channel_max)} for side in sides]
        hidden[0] |= {"stride": 1, "padding": 0}
        last = {"channels": 3, "bias": True, "norm": "none", "activation": "tanh"}
        return {"layers": [*hidden, last], "z_dim": self.z_dim, "num_classes": classes, "half_layers": self.half_layers}


def _family(value: Any) -> str:
    """Say which kind of generator was meant; without a word it is StyleGAN2."""
    return str(value.get("family", "stylegan2") if isinstance(value, dict) else value.family)


AnyBase = Annotated[
    Annotated[StyleGan2Config, Tag("stylegan2")]
    | Annotated[StyleGan3Config, Tag("stylegan3")]
    | Annotated[DcganConfig, Tag("dcgan")],
    Discriminator(_family),
]
