"""Networks that draw images from latents, built by their family's name from the plain JSON of a generator.json.

That JSON is other people's: names, types and sizes are checked before a byte of memory is taken for weights.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, create_model

from manifests.errors import UserError
from manifests.settings import nearest, validated

if TYPE_CHECKING:
    from torch import nn

    from factory.generators.networks.protocol import LatentNetwork

FAMILIES = ("stylegan2", "stylegan3", "biggan", "bigbigan", "dcgan")
MAX_NUMBER = 1 << 20  # of any size, count or width in arguments
MAX_ITEMS = 256  # of any list in arguments
MAX_WEIGHTS = 1 << 30  # 4 GiB as float32; the largest published network of these families has a quarter
MAX_SIDE_PX = 4096


def build(family: str, arguments: Mapping[str, Any], where: str = "generator.json") -> LatentNetwork:
    """Build a network with untrained weights, in evaluation mode.

    Raises: UserError that names what is wrong with family or arguments, beginning with `where`.
    """
    settings = checked(family, arguments, where)
    return typing.cast("LatentNetwork", network_class(family, where)(**settings).eval())


def checked(family: str, arguments: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Return the arguments as the network's constructor takes them, once it is known that it can and how much it costs.

    Raises: UserError as `build` does.
    """
    network = network_class(family, where)
    where = f"{where}: arguments of {family}"
    _check_small(arguments, where)
    settings = validated(_signature(network), arguments, where)
    taken = {name: getattr(settings, name) for name in settings.model_fields_set}
    _check_affordable(_sketched(network, taken, where), where)
    return taken


def sketch(family: str, arguments: Mapping[str, Any], where: str = "generator.json") -> LatentNetwork:
    """Build a network without memory for its weights: it tells sizes and names, and draws nothing.

    Raises: UserError as `build` does.
    """
    taken = checked(family, arguments, where)
    return typing.cast("LatentNetwork", _sketched(network_class(family, where), taken, where))


def network_class(family: str, where: str = "generator.json") -> type[nn.Module]:
    """Import a family's network, and nothing else."""
    if family not in FAMILIES:
        raise UserError(f"{where}: family {family!r} is unknown{nearest(str(family), FAMILIES)}")
    found: type[nn.Module] = import_module(f"factory.generators.networks.{family}").Generator
    return found


def _signature(network: type[nn.Module]) -> type[BaseModel]:
    """Turn a constructor's parameters into a model that checks them."""
    hints = typing.get_type_hints(network.__init__, include_extras=True)
    fields: dict[str, Any] = {
        name: (hints[name], ... if parameter.default is inspect.Parameter.empty else parameter.default)
        for name, parameter in inspect.signature(network).parameters.items()
    }
    return create_model(network.__name__, __config__=ConfigDict(extra="forbid", strict=False), **fields)


def _check_small(value: Any, where: str) -> None:
    """Refuse numbers and lists that would keep a constructor busy for ever."""
    if isinstance(value, Mapping | list | tuple):
        if len(value) > MAX_ITEMS:
            raise UserError(f"{where}: {len(value)} entries, expected at most {MAX_ITEMS}")
        for key, item in value.items() if isinstance(value, Mapping) else enumerate(value):
            _check_small(item, f"{where}.{key}")
    elif isinstance(value, int | float) and not abs(value) <= MAX_NUMBER:
        raise UserError(f"{where}: got {value!r}, expected a number of at most {MAX_NUMBER}")


def _sketched(network: type[nn.Module], arguments: Mapping[str, Any], where: str) -> nn.Module:
    """Build without memory, to learn how large the network would be."""
    import torch

    try:
        with torch.device("meta"):
            return network(**arguments)
    except (UserError, ValueError, RuntimeError, TypeError, IndexError, ZeroDivisionError) as error:
        raise UserError(f"{where}: no network can be built from them: {' '.join(str(error).split())}") from None


def _check_affordable(sketch: nn.Module, where: str) -> None:
    count = sum(tensor.numel() for tensor in (*sketch.parameters(), *sketch.buffers()))
    if count > MAX_WEIGHTS:
        raise UserError(f"{where}: {count:,} weights, expected at most {MAX_WEIGHTS:,}; check widths and sizes")
    height, width = typing.cast("LatentNetwork", sketch).image_size
    if max(height, width) > MAX_SIDE_PX:
        raise UserError(f"{where}: images of {width}x{height} px, expected at most {MAX_SIDE_PX} a side")
