"""NVIDIA's network pickles (stylegan2-ada-pytorch, stylegan3) as trees of plain data.

The files hold the source code of their classes beside the weights; it is read as text and forgotten. A network is
here what its constructor was given, and its tensors by the official names.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from factory.gan.importing.pickles import Build, RefusedPickleError, Source, Stateful, read_pickle
from factory.gan.importing.storages import StorageLoader, TensorView, tensor_view
from manifests.errors import UserError
from manifests.terminal import printable

MAX_FILE_BYTES = 4 << 30  # the largest official file has 0.4 GB
MAX_DEPTH = 16  # modules inside of modules
MAX_MODULES = 10_000
EXPECTED = "a network pickle of NVIDIA's stylegan2-ada-pytorch or stylegan3"
LOAD = ("torch.storage", "_load_from_bytes")
CONVERT = "convert it once with the official stylegan3/legacy.py (python legacy.py --source=OLD.pkl --dest=NEW.pkl)"


@dataclass(frozen=True)
class Module:
    """An instance of one of NVIDIA's persistent classes: its class's name and its attributes."""

    class_name: str
    state: Mapping[str, Any]

    @property
    def arguments(self) -> dict[str, Any]:
        """Return the keyword arguments that it was built with."""
        given = self.state.get("_init_kwargs")
        if not isinstance(given, dict) or self.state.get("_init_args", ()) != ():
            raise RefusedPickleError(f"a {printable(self.class_name)} that does not say how it was built")
        return given

    def child(self, path: str) -> Module:
        found = self
        for name in path.split("."):
            inner = _table(found.state, "_modules").get(name)
            if not isinstance(inner, Module):
                raise RefusedPickleError(f"a {printable(self.class_name)} without {path[:80]}")
            found = inner
        return found

    def children(self) -> list[str]:
        return list(_table(self.state, "_modules"))

    def tensors(self) -> dict[str, TensorView]:
        """Return all parameters and buffers by their dotted names."""
        found: dict[str, TensorView] = {}
        for path, module in self._walk():
            for kind in ("_parameters", "_buffers"):
                for name, value in _table(module.state, kind).items():
                    if isinstance(value, TensorView):
                        found[f"{path}{name}"] = value
        return found

    def _walk(self) -> Iterator[tuple[str, Module]]:
        waiting, count = [("", self, 0)], 0
        while waiting:
            path, module, depth = waiting.pop()
            count += 1
            if depth > MAX_DEPTH or count > MAX_MODULES:
                raise RefusedPickleError(f"more than {MAX_MODULES:,} modules, or nested deeper than {MAX_DEPTH}")
            yield path, module
            children = _table(module.state, "_modules").items()
            waiting += [(f"{path}{name}.", child, depth + 1) for name, child in children if isinstance(child, Module)]


def read_networks(path: Path) -> dict[str, Module]:
    """Read G, D and G_ema of a network pickle, those that are there.

    Raises: UserError for whatever is no such pickle, names more than plain data, or is too large.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected a network pickle")
    size_bytes = path.stat().st_size
    if size_bytes > MAX_FILE_BYTES:
        raise UserError(f"{path}: {size_bytes:,} bytes, expected at most {MAX_FILE_BYTES:,}")
    try:
        with path.open("rb") as file:
            data = read_pickle(Source(file, size_bytes), GLOBALS | {LOAD: StorageLoader(size_bytes)})
    except RefusedPickleError as error:
        raise UserError(f"{path}: refused, and nothing of it was run: {error}; expected {EXPECTED}") from None
    networks = {name: data.get(name) for name in ("G", "D", "G_ema")} if isinstance(data, dict) else {}
    found = {name: network for name, network in networks.items() if isinstance(network, Module)}
    if "G_ema" not in found:
        raise UserError(f"{path}: holds no network G_ema; expected {EXPECTED}")
    return found


class _Forgotten(Stateful):
    """An object of which nothing is needed."""


class _Dtype(Stateful):
    """A numpy dtype; official files are written on little-endian machines."""

    def __init__(self, code: Any, *_: Any) -> None:
        if code not in ("f8", "f4", "i8", "i4", "b1"):
            raise RefusedPickleError("a numpy dtype that is no number")
        self.numpy = np.dtype(f"<{code}")

    def set_state(self, state: Any) -> None:
        if type(state) is not tuple or len(state) < 2 or state[1] not in ("<", "|"):
            raise RefusedPickleError("a numpy dtype that is not little-endian")


def _module(meta: Any) -> Module:
    if not isinstance(meta, dict) or meta.get("type") != "class" or not isinstance(meta.get("state"), dict):
        raise RefusedPickleError("a persistent object that is no instance of a class")
    name = meta.get("class_name")
    return Module(name[:80] if isinstance(name, str) else "?", meta["state"])


def _scalar(dtype: Any, data: Any) -> Any:
    if not isinstance(dtype, _Dtype) or type(data) is not bytes or len(data) != dtype.numpy.itemsize:
        raise RefusedPickleError("a numpy number without its bytes")
    return np.frombuffer(data, dtype.numpy)[0].item()


def _parameter(tensor: Any, *_: Any) -> Any:
    return tensor


def _empty_table(*arguments: Any) -> dict[Any, Any]:
    if arguments:
        raise RefusedPickleError("a table that is not filled item by item")
    return {}


def _forgotten(*_: Any) -> _Forgotten:
    return _Forgotten()


def _old_network(*_: Any) -> Any:
    raise RefusedPickleError(f"a network of TensorFlow (dnnlib.tflib.network.Network): {CONVERT}")


def _table(state: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = state.get(kind)
    return found if isinstance(found, dict) and all(type(name) is str for name in found) else {}


GLOBALS: dict[tuple[str, str], Build] = {
    ("torch_utils.persistence", "_reconstruct_persistent_obj"): _module,
    ("torch._utils", "_rebuild_tensor_v2"): tensor_view,
    ("torch._utils", "_rebuild_parameter"): _parameter,
    ("collections", "OrderedDict"): _empty_table,
    ("dnnlib.util", "EasyDict"): _empty_table,
    ("builtins", "set"): _forgotten,
    ("numpy", "dtype"): _Dtype,
    ("numpy", "ndarray"): _forgotten,
    **{(f"numpy.{core}.multiarray", "scalar"): _scalar for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "_reconstruct"): _forgotten for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): _forgotten for core in ("core", "_core")},
    ("dnnlib.tflib.network", "Network"): _old_network,
}
