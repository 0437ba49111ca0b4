"""What is known of a source before its weights are loaded: its name, licence, fingerprint and classes."""

from __future__ import annotations

from dataclasses import dataclass

from factory.generators.diffusion_config import DiffusionSource
from factory.generators.latent_config import LatentSource
from manifests.errors import UserError

AnySource = DiffusionSource | LatentSource


@dataclass(frozen=True)
class SourceFacts:
    """What a recipe's plan, identity and card need to know of a source."""

    name: str
    licence: str
    fingerprint: dict[str, str]
    class_names: tuple[str, ...] = ()  # of a latent generator that has classes; numbers where they have no names


def facts_of(source: AnySource) -> SourceFacts:
    """Read a source's description and hash its weights.

    Raises: UserError for whatever is wrong with it, but for what only loading can tell.
    """
    return _latent(source) if isinstance(source, LatentSource) else _diffusion(source)


def _latent(source: LatentSource) -> SourceFacts:
    from factory.generators.latent_folder import find

    found = find(source)
    fingerprint = found.fingerprint()
    names = found.description.class_names or tuple(map(str, range(found.num_classes)))
    if len(names) != found.num_classes:
        raise UserError(f"{source.model}: {len(names)} class_names for {found.num_classes} classes")
    licence = source.licence or found.description.licence or "unknown"
    return SourceFacts(found.name or f"local:{fingerprint['sha256'][:12]}", licence, fingerprint, names)


def _diffusion(source: DiffusionSource) -> SourceFacts:
    from factory.generators.precheck import check_configuration
    from factory.generators.weights import fingerprint, inventory, model_name

    items = inventory(source)
    check_configuration(source, items)
    weights = fingerprint(items)
    return SourceFacts(model_name(items, weights), items.licence, weights)
