"""What is known of a source before its weights are loaded: its name, licence, fingerprint and classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from factory.generators.diffusion_config import DiffusionSource
from factory.generators.latent_config import LatentSource
from factory.generators.latent_folder import LatentFolder, find
from factory.views.protocol import LatentSpace
from manifests.errors import UserError

AnySource = DiffusionSource | LatentSource


@dataclass(frozen=True)
class SourceFacts:
    """What a recipe's plan, identity and card need to know of a source."""

    name: str
    licence: str
    fingerprint: dict[str, str]
    class_names: tuple[str, ...] = ()  # of a latent generator that has classes; numbers where they have no names
    space: LatentSpace | None = None  # None: it is driven by prompts


def facts_of(source: AnySource) -> SourceFacts:
    """Read a source's description and hash its weights.

    Raises: UserError for whatever is wrong with it, but for what only loading can tell.
    """
    return _latent(source) if isinstance(source, LatentSource) else _diffusion(source)


def _latent(source: LatentSource) -> SourceFacts:
    from factory.generators.latent_weights import sketch_network

    found = find(source)
    fingerprint = found.fingerprint()  # first: bytes that are not the pinned ones are not read further
    return facts_of_latent(found, source, fingerprint, sketch_network(found, source))


def facts_of_latent(
    found: LatentFolder, source: LatentSource, fingerprint: dict[str, str], network: Any
) -> SourceFacts:
    """Say what is known of a latent source from its folder and its network, sketched or loaded.

    Raises: UserError for class names that do not fit the network.
    """
    from factory.generators.latent import space_of

    names = _class_names(source.model, found.description.class_names, network.num_classes)
    name = found.name or f"local:{fingerprint['sha256'][:12]}"
    licence = source.licence or found.description.licence or "unknown"
    return SourceFacts(name, licence, fingerprint, names, space_of(found, source, network))


def _class_names(model: str, names: tuple[str, ...], num_classes: int) -> tuple[str, ...]:
    names = names or tuple(map(str, range(num_classes)))
    if len(names) != num_classes:
        raise UserError(f"{model}: {len(names)} class_names for {num_classes} classes")
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise UserError(f"{model}: class_names: {twice[0]!r} is there twice, but classes and labels go by name")
    return names


def _diffusion(source: DiffusionSource) -> SourceFacts:
    from factory.generators.precheck import check_configuration
    from factory.generators.weights import fingerprint, inventory, model_name

    items = inventory(source)
    check_configuration(source, items)
    weights = fingerprint(items)
    return SourceFacts(model_name(items, weights), items.licence, weights)
