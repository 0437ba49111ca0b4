"""Where a run begins that is to better a generator: both players of a folder that train-gan or import wrote.

Its moments are not there, so the rates rise from 0 again; all else goes on.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from factory.gan.config import GanConfig
from factory.gan.discriminator import Discriminator
from factory.gan.learner import GanLearner
from factory.generators.latent_config import LatentSource
from factory.generators.latent_folder import LatentFolder, find
from factory.generators.networks import network_class
from factory.generators.networks.tensors import load_into, read_tensors
from factory.generators.weights import file_sha256
from factory.recipe import difference
from manifests.errors import ConflictError, UserError


@dataclass(frozen=True)
class Start:
    """The files to begin with: the averaged generator, and both players as they were trained."""

    model: str
    average: Path
    drawer: Path
    judge: Path

    def facts(self) -> dict[str, str]:
        """Return what the run's record says of it."""
        files = {"average": self.average, "G": self.drawer, "D": self.judge}
        return {"model": self.model, **{name: file_sha256(path) for name, path in files.items()}}

    def take_up(self, learner: GanLearner, pinned: dict[str, str]) -> None:
        """Give a learner these weights.

        Raises: ConflictError when they are no longer those that the run was begun with.
        """
        if lines := difference({**pinned, "model": self.model}, self.facts()):
            raise ConflictError(f"start: {self.model} has changed since this run began: {'; '.join(lines)}")
        nets = {self.average: learner.average.module, self.drawer: learner.generator, self.judge: learner.discriminator}
        for path, net in nets.items():
            load_into(net, read_tensors(path), str(path))


def open_start(config: GanConfig, class_names: Sequence[str]) -> Start | None:
    """Find what a run begins with, and see that it is what the config trains; None for a fresh one.

    Raises: UserError for a folder without its discriminator, of other networks or of other classes.
    """
    if config.start is None:
        return None
    found = find(LatentSource.model_validate({"family": "latent", "model": config.start}))
    training = found.weights.parent / "training"
    start = Start(config.start, found.weights, training / "G.safetensors", training / "D.safetensors")
    for path in (start.drawer, start.judge):
        if not path.is_file():
            raise UserError(
                f"start: {config.start} has no training/{path.name}: training goes on with both players; expected a "
                "folder of train-gan, or an import of a file that holds G and D"
            )
    _check_same(found, config, class_names)
    return start


def _check_same(found: LatentFolder, config: GanConfig, class_names: Sequence[str]) -> None:
    there, base, classes = found.description, config.generator, len(class_names)
    if there.family != base.family:
        raise UserError(f"start: {config.start} is a {there.family}; got generator.family={base.family}")
    lines = difference(list(there.class_names), list(class_names), "classes")
    lines += _differing(network_class(base.family, "start"), there.arguments, base.arguments(classes), "generator")
    asked = base.discriminator_arguments(classes, config.discriminator.mapping_layers)
    lines += _differing(Discriminator, there.discriminator or {}, asked, "discriminator")
    if lines:
        raise UserError(f"start: {config.start} holds other networks than the config: {'; '.join(lines)}")


def _differing(network: type, there: dict[str, Any], here: dict[str, Any], name: str) -> list[str]:
    """Compare what two sets of arguments build, with what they leave to the network's defaults."""
    parameters = inspect.signature(network).parameters.values()
    defaults = {one.name: one.default for one in parameters if one.default is not inspect.Parameter.empty}
    return difference({**defaults, **there}, {**defaults, **here}, name)
