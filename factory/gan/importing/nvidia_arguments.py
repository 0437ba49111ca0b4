"""What NVIDIA's networks were built with, in the words of our constructors.

An argument that ours do not know is refused by name rather than left out: the images would differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from factory.gan.importing.nvidia_pickle import Module
from factory.gan.importing.pickles import RefusedPickleError
from factory.generators.networks.stylegan2 import channels_at, resolutions
from manifests.terminal import printable

MAX_NUMBER = 1 << 20
WITHOUT_EFFECT = ("fp16_channels_last", "fused_modconv_default", "magnitude_ema_beta", "w_avg_beta", "freeze_layers")
OF_MODULES = ("conv_clamp", "num_fp16_res")  # their defaults differ between releases: the modules say what was meant


class Arguments:
    """Keyword arguments from a file, taken one by one; what nobody took is refused in the end."""

    def __init__(self, owner: str, *tables: Mapping[Any, Any]) -> None:
        self._owner = owner
        self._left: dict[Any, Any] = {name: value for table in tables for name, value in table.items()}

    def count(self, name: str, default: int | None = None) -> int:
        value = self._left.pop(name, default)
        if type(value) is not int or not 0 <= value <= MAX_NUMBER:
            raise self._error(name, f"a whole number up to {MAX_NUMBER}")
        return value

    def number(self, name: str, default: float) -> float:
        value = self._left.pop(name, default)
        if type(value) not in (int, float) or not abs(value) <= MAX_NUMBER:
            raise self._error(name, f"a number up to {MAX_NUMBER}")
        return float(value)

    def flag(self, name: str, default: bool) -> bool:
        value = self._left.pop(name, default)
        if type(value) is not bool:
            raise self._error(name, "true or false")
        return value

    def only(self, name: str, *allowed: Any) -> Any:
        """Take a value that must be one of a few; the first is the default."""
        value = self._left.pop(name, allowed[0])
        if type(value) not in (str, int, type(None)) or value not in allowed:
            raise self._error(name, " or ".join(str(one) for one in allowed))
        return value

    def taps(self, name: str) -> list[float]:
        value = self._left.pop(name, [1, 3, 3, 1])
        if type(value) is not list or len(value) > 16 or any(type(one) not in (int, float) for one in value):
            raise self._error(name, "a short list of numbers")
        return [float(one) for one in value]

    def table(self, name: str) -> dict[Any, Any]:
        value = self._left.pop(name, {})
        if type(value) is not dict:
            raise self._error(name, "a table")
        return value

    def finish(self) -> None:
        """Refuse what is left over, but for what changes no image and what the modules tell."""
        left = [name for name in self._left if name not in WITHOUT_EFFECT + OF_MODULES]
        if left:
            raise RefusedPickleError(f"argument {printable(str(left[0])[:80])} of {self._owner} is not known here")

    def _error(self, name: str, expected: str) -> RefusedPickleError:
        return RefusedPickleError(f"argument {name} of {self._owner}: expected {expected}")


def generator_family(network: Module) -> str:
    """Tell StyleGAN3, which starts from Fourier features, from StyleGAN2."""
    return "stylegan3" if "input" in network.child("synthesis").children() else "stylegan2"


def stylegan2_arguments(network: Module) -> dict[str, Any]:
    """Return the arguments of our StyleGAN2 generator."""
    synthesis = network.arguments.get("synthesis_kwargs", {})  # older releases keep these apart
    given = Arguments("the generator", _without(network.arguments, "synthesis_kwargs"), synthesis)
    given.only("architecture", "skip")
    given.only("activation", "lrelu")
    arguments = _of_both(given, mapping_layers=8) | {
        "conv_clamp": _clamp(network.child("synthesis.b4.conv1")),
        "resample_filter": given.taps("resample_filter"),
        "use_noise": given.flag("use_noise", True),
    }
    blocks = [network.child(f"synthesis.b{size}") for size in resolutions(arguments["resolution"])]
    given.finish()
    return arguments | {"half_layers": sum(block.state.get("use_fp16") is True for block in blocks)}


def stylegan3_arguments(network: Module) -> dict[str, Any]:
    """Return the arguments of our StyleGAN3 generator."""
    given = Arguments("the generator", network.arguments)
    arguments = _of_both(given, mapping_layers=2) | {
        "layers": given.count("num_layers", 14),
        "critical_layers": given.count("num_critical", 2),
        "first_cutoff": given.number("first_cutoff", 2.0),
        "first_stopband": given.number("first_stopband", 2**2.1),
        "last_stopband_rel": given.number("last_stopband_rel", 2**0.3),
        "margin_size": given.count("margin_size", 10),
        "output_scale": given.number("output_scale", 0.25),
        "conv_kernel": given.count("conv_kernel", 3),
        "filter_size": given.count("filter_size", 6),
        "lrelu_upsampling": given.count("lrelu_upsampling", 2),
        "use_radial_filters": given.flag("use_radial_filters", False),
    }
    given.finish()
    synthesis = network.child("synthesis")
    first = next(name for name in synthesis.children() if name.startswith("L0_"))
    half_layers = Arguments("the generator", synthesis.state).count("num_fp16_res", 4)
    return arguments | {"half_layers": half_layers, "conv_clamp": _clamp(synthesis.child(first))}


def discriminator_arguments(network: Module) -> dict[str, Any]:
    """Return the arguments of our discriminator."""
    given = Arguments("the discriminator", network.arguments)
    resolution, num_classes = _image(given)
    base, most = given.count("channel_base", 32768), given.count("channel_max", 512)
    block = Arguments("the discriminator's blocks", given.table("block_kwargs"))
    block.only("activation", "lrelu")
    epilogue = Arguments("the discriminator's end", given.table("epilogue_kwargs"))
    epilogue.only("activation", "lrelu")
    width = given.only("cmap_dim", None, *range(1, 4097)) or channels_at(4, base, most)
    blocks = [network.child(f"b{size}") for size in resolutions(resolution)[1:]]
    arguments = {
        "resolution": resolution,
        "num_classes": num_classes,
        "channel_base": base,
        "channel_max": most,
        "architecture": given.only("architecture", "resnet", "orig"),
        "conv_clamp": _clamp(blocks[0].child("conv0")),
        "half_layers": sum(block.state.get("use_fp16") is True for block in blocks),
        "resample_filter": block.taps("resample_filter"),
        "group_images": epilogue.only("mbstd_group_size", 4, None, *range(1, 1025)),
        "statistics_channels": epilogue.count("mbstd_num_channels", 1),
    }
    mapping = _mapping(given.table("mapping_kwargs"), width, layers=8)
    for one in (given, block, epilogue):
        one.finish()
    return arguments | ({"projection_dim": width, **mapping} if num_classes else {})


def _of_both(given: Arguments, *, mapping_layers: int) -> dict[str, Any]:
    """Take what StyleGAN2 and StyleGAN3 share."""
    resolution, num_classes = _image(given)
    w_dim = given.count("w_dim")
    return {
        "resolution": resolution,
        "num_classes": num_classes,
        "z_dim": given.count("z_dim"),
        "w_dim": w_dim,
        "channel_base": given.count("channel_base", 32768),
        "channel_max": given.count("channel_max", 512),
        **_mapping(given.table("mapping_kwargs"), w_dim, layers=mapping_layers),
    }


def _image(given: Arguments) -> tuple[int, int]:
    given.only("img_channels", 3)
    return given.count("img_resolution"), given.count("c_dim")


def _mapping(table: Mapping[Any, Any], width: int, *, layers: int) -> dict[str, Any]:
    given = Arguments("the mapping network", table)
    given.only("activation", "lrelu")
    given.only("embed_features", None, width)
    given.only("layer_features", None, width)
    found = {
        "mapping_layers": given.count("num_layers", layers),
        "mapping_lr_multiplier": given.number("lr_multiplier", 0.01),
    }
    given.finish()
    return found


def _clamp(layer: Module) -> float | None:
    value = layer.state.get("conv_clamp")
    return None if value is None else Arguments("a layer", layer.state).number("conv_clamp", 0.0)


def _without(table: Mapping[Any, Any], name: str) -> dict[Any, Any]:
    return {key: value for key, value in table.items() if key != name}
