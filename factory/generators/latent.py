"""Networks that draw images from latent vectors behind the Generator protocol: StyleGAN2 and 3, BigGAN, DCGAN.

A request carries its z; noise inputs come from the view's own seed. Every call has the planned batch's shape.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
import torch

from factory.generators.facts import facts_of_latent
from factory.generators.latent_config import LatentSource
from factory.generators.latent_folder import LatentFolder, find
from factory.generators.latent_weights import load_network
from factory.generators.pixels import resized, to_pixels
from factory.generators.protocol import Rendered, ViewRequest
from factory.views.protocol import LatentSpace
from manifests.seeds import normal


class Latent:
    """A latent generator and the law of its anchors."""

    def __init__(self, source: LatentSource, *, device: str) -> None:
        folder = find(source)
        self._fingerprint = folder.fingerprint()
        self._source, self._device = source, device
        self.network = load_network(folder, source, device)
        known = facts_of_latent(folder, source, self._fingerprint, self.network)
        self.name, self.licence = known.name, known.licence
        self.space: LatentSpace | None = known.space

    def fingerprint(self) -> dict[str, str]:
        return self._fingerprint

    def prepare(self, prompts: Sequence[tuple[str, str]]) -> None:
        """Nothing: no words to read."""

    def batch_key(self, request: ViewRequest) -> Hashable:
        """Classes, truncations and edits are a row's own: all may share a batch."""
        return None

    @torch.no_grad()
    def render(self, batch: Sequence[ViewRequest], batch_size: int) -> Rendered:
        padded = [*batch, *[batch[-1]] * (batch_size - len(batch))]
        images = self.synthesize(padded)[: len(batch)]  # [n, 3, H, W] in [-1, 1]
        finite = torch.isfinite(images).flatten(1).all(dim=1).cpu().numpy()
        pixels = to_pixels(images.clamp(-1, 1) / 2 + 0.5, finite)
        pixels = resized(pixels, self._source.resize_px, self._source.resize_filter)
        return Rendered(pixels, finite, np.zeros(len(batch), dtype=bool))

    def synthesize(self, batch: Sequence[ViewRequest]) -> Any:
        """Draw a batch of exactly its planned size, float32 [n, 3, H, W]."""
        class_ids = self._class_ids(batch)
        psi = self._tensor([one.columns.get("psi", 1.0) for one in batch])
        ws = self.network.map(self._tensor([one.latent for one in batch]), class_ids, psi, self._source.cutoff)
        ws = self._edited(ws, batch, class_ids, psi)
        return self.network.synthesize(ws, class_ids, psi, self._noise(batch))

    def row(self, request: ViewRequest) -> dict[str, Any]:
        return {"prompt": None, "negative_prompt": None, "guidance_scale": None}

    def close(self) -> None:
        del self.network
        if self._device.startswith("cuda"):
            torch.cuda.empty_cache()

    def _tensor(self, values: Sequence[Any]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.float32, device=self._device)

    def _class_ids(self, batch: Sequence[ViewRequest]) -> torch.Tensor | None:
        if not self.network.num_classes:
            return None
        return torch.tensor([one.class_id for one in batch], device=self._device)

    def _edited(
        self, ws: torch.Tensor, batch: Sequence[ViewRequest], class_ids: torch.Tensor | None, psi: torch.Tensor
    ) -> torch.Tensor:
        """Mix or move the styles of some rows; the second mapping runs on the whole batch, whose shape decides bits."""
        if not any(one.edit for one in batch):
            return ws
        mixing = [one.edit.vector if one.edit and one.edit.kind == "mix" else one.latent for one in batch]
        others = self.network.map(self._tensor(mixing), class_ids, psi, self._source.cutoff)
        edited = ws.clone()
        for row, one in enumerate(batch):
            if one.edit:
                layers = slice(one.edit.first_layer, one.edit.last_layer + 1)
                if one.edit.kind == "add":  # one vector for all layers, or one each
                    edited[row, layers] = ws[row, layers] + self._tensor(one.edit.vector).view(-1, ws.shape[2])
                else:
                    edited[row, layers] = others[row, layers]
        return edited

    def _noise(self, batch: Sequence[ViewRequest]) -> list[torch.Tensor] | None:
        if self._source.noise == "none" or not self.network.noise_shapes:
            return None
        if self._source.noise == "const":
            own = self.network.constant_noise()
            return None if own is None else [one.expand(len(batch), -1, -1, -1) for one in own]
        return [self._drawn(batch, layer, shape) for layer, shape in enumerate(self.network.noise_shapes)]

    def _drawn(self, batch: Sequence[ViewRequest], layer: int, shape: tuple[int, int]) -> torch.Tensor:
        drawn = np.stack([normal(one.seed, f"noise/{layer}", (1, *shape)) for one in batch])  # [n, 1, h, w]
        return torch.from_numpy(drawn).to(self._device)


def space_of(folder: LatentFolder, source: LatentSource, network: Any) -> LatentSpace:
    """Return the space that views are drawn in."""
    low, high = source.psi_range
    sizes = {"z_dim": network.z_dim, "w_dim": network.w_dim, "num_layers": network.num_layers}
    return LatentSpace(**sizes, tau=source.tau, bound=source.bound, psi=(low, high))
