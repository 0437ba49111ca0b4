"""Generators behind one protocol: open one by its source."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factory.generators.diffusion_config import DiffusionSource
from factory.generators.facts import AnySource
from factory.generators.latent_config import LatentSource
from factory.generators.protocol import Generator, Rendered, ViewRequest
from manifests.errors import UserError
from manifests.settings import validated

__all__ = ["Generator", "Rendered", "ViewRequest", "open_generator"]

SOURCES: dict[str, type[DiffusionSource] | type[LatentSource]] = {"diffusion": DiffusionSource, "latent": LatentSource}


def open_generator(source: AnySource | Mapping[str, Any], *, device: str = "cpu", threads: int = 1) -> Generator:
    """Load a source's weights onto a device; `threads` counts for the whole process.

    Raises: UserError for whatever is wrong with the source.
    """
    import torch

    torch.set_num_threads(threads)
    parsed = _parsed(source)
    if isinstance(parsed, LatentSource):
        from factory.generators.latent import Latent

        return Latent(parsed, device=device)
    from factory.generators.diffusion import Diffusion

    return Diffusion(parsed, device=device)


def _parsed(source: AnySource | Mapping[str, Any]) -> AnySource:
    if not isinstance(source, Mapping):
        return source
    family = source.get("family", "diffusion")
    if family not in SOURCES:
        raise UserError(f"source: family {family!r} is unknown; expected {', '.join(SOURCES)}")
    return validated(SOURCES[family], source, "source")
