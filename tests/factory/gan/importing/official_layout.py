"""Writes pickles in the layout of NVIDIA's network pickles, with networks of ours inside, by the stock pickler.

Modules of the official names exist only while it writes; none of them holds a line of the official code.
"""

import collections
import pickle
import re
import sys
import types
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

PROTOCOL = "torch_utils.persistence"
SOURCE = "raise SystemExit('the embedded source was run')\n"


def _reconstruct_persistent_obj(meta: Any) -> Any:
    raise AssertionError("the stock unpickler is not meant to read these")


class EasyDict(dict[str, Any]):
    """What configuration is kept in."""


class Persistent:
    """An instance of a class whose source is pickled with it."""

    def __init__(self, class_name: str, state: dict[str, Any], source: str = SOURCE) -> None:
        self.meta = {"type": "class", "version": 6, "module_src": source, "class_name": class_name, "state": state}

    def __reduce__(self) -> Any:
        return _reconstruct_persistent_obj, (self.meta,)


def write(path: Path, data: Any, protocol: int = 4) -> Path:
    """Pickle data as if the official packages had been at hand."""
    path.write_bytes(dumped(data, protocol))
    return path


def dumped(data: Any, protocol: int = 4) -> bytes:
    names = {"torch_utils": {}, PROTOCOL: {"_reconstruct_persistent_obj": _reconstruct_persistent_obj}}
    names |= {"dnnlib": {}, "dnnlib.util": {"EasyDict": EasyDict}}
    modules = {name: types.ModuleType(name) for name in names}
    for name, members in names.items():
        for key, value in members.items():
            setattr(modules[name], key, value)
            value.__module__ = name
    sys.modules.update(modules)
    try:
        return pickle.dumps(data, protocol)
    finally:
        for name in names:
            del sys.modules[name]


def persistent(class_name: str, network: nn.Module, official: Any, kwargs: dict[str, Any], extra: Any) -> Persistent:
    """Hang a network's tensors, by their official names, into a tree of modules; `extra` adds attributes by path."""
    root: dict[str, Any] = _state()
    root |= {"_init_args": (), "_init_kwargs": EasyDict(kwargs)}
    for name, tensor in network.state_dict().items():
        *path, last = official(name).split(".")
        is_parameter = name in dict(network.named_parameters())
        at = _at(root, path)
        value = nn.Parameter(tensor, requires_grad=False) if is_parameter else tensor
        at["_parameters" if is_parameter else "_buffers"][last] = value
    for path, attributes in extra.items():
        for name, value in attributes.items():
            at = _at(root, path.split("."))
            at["_buffers" if isinstance(value, torch.Tensor) else "attributes"][name] = value
    return _tree(class_name, root)


def _state() -> dict[str, Any]:
    return {"_modules": {}, "_parameters": {}, "_buffers": {}, "attributes": {}}


def _at(root: dict[str, Any], path: list[str]) -> dict[str, Any]:
    for name in path:
        if name:
            root = root["_modules"].setdefault(name, _state())
    return root


def _tree(class_name: str, node: dict[str, Any]) -> Persistent:
    children = collections.OrderedDict((name, _tree("Layer", child)) for name, child in node["_modules"].items())
    state = {
        "training": False,
        "_parameters": collections.OrderedDict(node["_parameters"], bias_that_is_not_there=None),
        "_buffers": collections.OrderedDict(node["_buffers"]),
        "_non_persistent_buffers_set": set(),
        "_modules": children,
        "weight_gain": np.float64(0.5),
        "size": np.array([4, 4]),
        **node["attributes"],
        **{name: node[name] for name in ("_init_args", "_init_kwargs") if name in node},
    }
    return Persistent(class_name, state)


def stylegan2_name(name: str) -> str:
    name = re.sub(r"mapping\.layers\.(\d+)", r"mapping.fc\1", name)
    found = re.match(r"blocks\.(\d+)\.(.*)", name)
    if not found:
        return name
    block, rest = int(found[1]), found[2].replace("to_rgb", "torgb")
    for i in (0, 1):
        rest = rest.replace(f"convolutions.{i}", "conv1" if block == 0 else f"conv{i}")
    return f"synthesis.b{4 << block}.{rest}"


def stylegan3_name(network: Any) -> Any:
    def named(name: str) -> str:
        name = re.sub(r"mapping\.layers\.(\d+)", r"mapping.fc\1", name)
        found = re.match(r"layers\.(\d+)\.(.*)", name)
        if found:
            return f"synthesis.L{found[1]}_36_{len(network.layers[int(found[1])].bias)}.{found[2]}"
        return f"synthesis.{name}" if name.startswith("input") else name

    return named


def discriminator_name(resolution: int) -> Any:
    def named(name: str) -> str:
        name = re.sub(r"mapping\.layers\.(\d+)", r"mapping.fc\1", name)
        found = re.match(r"blocks\.(\d+)\.(\w+)\.(.*)", name)
        if found:
            layer = {"conv": "conv0", "down": "conv1", "short_cut": "skip"}[found[2]]
            return f"b{resolution >> int(found[1])}.{layer}.{found[3]}"
        if name.startswith("from_rgb"):
            return name.replace("from_rgb", f"b{resolution}.fromrgb")
        return name if name.startswith("mapping") else "b4." + name.replace("dense", "fc")

    return named
