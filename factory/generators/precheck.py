"""What a model's configuration files tell to be wrong with a source: seen before a folder is claimed for its images."""

from __future__ import annotations

from typing import Any

from factory.generators.diffusion_config import DiffusionSource
from factory.generators.geometry import check_size
from factory.generators.weights import Inventory, read_json
from manifests.errors import UserError


def check_configuration(source: DiffusionSource, items: Inventory) -> None:
    """Check the size and the sampler that a source asks for; no weight is read.

    Raises: UserError naming the setting.
    """
    if source.height and source.width:
        vae, denoiser = (_config(source, items, f"{name}/config.json") for name in ("vae", items.layout.denoiser))
        try:
            factor = 2 ** (len(vae.get("block_out_channels", [64])) - 1)
            check_size(source.height, source.width, factor, items.layout, denoiser)
        except (TypeError, ValueError) as error:
            raise UserError(f"{source.model}: broken configuration of its networks: {error}") from error
    if source.scheduler or source.scheduler_options or source.eta:  # else the loader's check is soon enough
        import diffusers

        from factory.generators.noise import make_scheduler

        diffusers.utils.logging.set_verbosity_error()  # its remarks are about keys that other schedulers have
        make_scheduler(_config(source, items, "scheduler/scheduler_config.json"), items.scheduler, source)


def _config(source: DiffusionSource, items: Inventory, role: str) -> dict[str, Any]:
    path = items.files.get(role)
    if path is None:
        raise UserError(f"{source.model}: {role} is missing")
    return read_json(path.parent, path.name, f"{source.model}: broken {role}")
