"""DCGAN: a chain of transposed convolutions, described wholly in JSON.

A class is told as a one-hot vector behind z.

Paper: Radford, Metz, Chintala 2016, Unsupervised Representation Learning with Deep Convolutional GANs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import Tensor, nn
from torch.nn import functional as F

from factory.generators.networks.biggan_layers import half_where

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "relu": nn.ReLU,
    "leaky_relu": lambda: nn.LeakyReLU(0.2),
    "tanh": nn.Tanh,
    "none": nn.Identity,
}


class Layer(BaseModel):
    """One transposed convolution with what follows it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channels: Annotated[int, Field(ge=1, le=8192)]
    kernel: Annotated[int, Field(ge=1, le=64)] = 4
    stride: Annotated[int, Field(ge=1, le=16)] = 2
    padding: Annotated[int, Field(ge=0, le=32)] = 1
    bias: bool = False
    norm: Literal["batch", "none"] = "batch"
    activation: Literal["relu", "leaky_relu", "tanh", "none"] = "relu"

    def size_after(self, size_px: int) -> int:
        return (size_px - 1) * self.stride - 2 * self.padding + self.kernel


class FixedBatchNorm(nn.Module):
    """A batch norm with its running statistics, so that a row never sees its neighbours; `train-gan` finds them."""

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.is_learning = False
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        is_found_now = self.training and self.is_learning
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, training=is_found_now)


class Stage(nn.Module):
    """A layer's convolution, norm and activation."""

    def __init__(self, channels: int, layer: Layer) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(
            channels, layer.channels, layer.kernel, layer.stride, layer.padding, bias=layer.bias
        )
        self.norm = FixedBatchNorm(layer.channels) if layer.norm == "batch" else nn.Identity()
        self.activation = ACTIVATIONS[layer.activation]()

    def forward(self, x: Tensor) -> Tensor:
        drawn: Tensor = self.activation(self.norm(self.conv(x)))
        return drawn


class Generator(nn.Module):
    """The generator: z, and the class where there are some, as one pixel that grows layer by layer."""

    noise_shapes: tuple[tuple[int, int], ...] = ()
    num_layers = 1

    def __init__(
        self,
        *,
        layers: Annotated[Sequence[Layer], Field(min_length=1, max_length=32)],
        z_dim: Annotated[int, Field(ge=1, le=4096)] = 100,
        num_classes: Annotated[int, Field(ge=0)] = 0,
        half_layers: Annotated[int, Field(ge=0)] = 0,
    ) -> None:
        super().__init__()
        self.z_dim, self.w_dim, self.num_classes = z_dim, z_dim, num_classes
        self.image_size = (_final_size(layers),) * 2
        self._half_layers = half_layers
        widths = [z_dim + num_classes, *(layer.channels for layer in layers)]
        self.layers = nn.ModuleList(Stage(before, layer) for before, layer in zip(widths, layers, strict=False))

    def map(self, z: Tensor, class_ids: Tensor | None, psi: Tensor, cutoff: int | None = None) -> Tensor:
        return z[:, None]  # [n, 1, z_dim]

    def synthesize(
        self, ws: Tensor, class_ids: Tensor | None, psi: Tensor, noise: Sequence[Tensor] | None = None
    ) -> Tensor:
        x = self._told(ws[:, 0], class_ids)[:, :, None, None]  # [n, z_dim + num_classes, 1, 1]
        for i, layer in enumerate(self.layers):
            with half_where(x, i >= len(self.layers) - self._half_layers):
                x = layer(x)
        return x.float()  # [n, 3, H, W]

    def learn_statistics(self) -> None:
        """Normalise by each batch from now on, in training mode, and let the running statistics follow."""
        for module in self.modules():
            if isinstance(module, FixedBatchNorm):
                module.is_learning = True

    def constant_noise(self) -> None:
        return None

    def _told(self, z: Tensor, class_ids: Tensor | None) -> Tensor:
        if not self.num_classes:
            return z
        if class_ids is None:
            raise ValueError("this DCGAN draws classes: class_ids is None, expected int64 [n]")
        return torch.cat([z, F.one_hot(class_ids, self.num_classes).to(z.dtype)], dim=1)


def _final_size(layers: Sequence[Layer]) -> int:
    size_px = 1
    for i, layer in enumerate(layers):
        size_px = layer.size_after(size_px)
        if size_px < 1:
            raise ValueError(f"layer {i} leaves {size_px} px, expected at least 1; lessen its padding")
    if layers[-1].channels != 3:
        raise ValueError(f"the last layer gives {layers[-1].channels} channels, expected 3 (red, green, blue)")
    return size_px
