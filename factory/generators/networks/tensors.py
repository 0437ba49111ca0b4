"""Tensors from a file to a network: safetensors, or what `torch.load(weights_only=True)` reads; nothing is run.

The file is other people's: what unpacks to more than it weighs is refused, and every tensor must find its place.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from manifests.errors import UserError
from manifests.settings import nearest

COUNTERS = "num_batches_tracked"  # of a batch norm: says nothing about an image


def read_tensors(path: Path, key: str | None = None) -> dict[str, Tensor]:
    """Read a flat table of tensors; `key` chooses one of several in a checkpoint.

    Raises: UserError for whatever is no plain table of tensors.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; expected weights")
    if path.suffix == ".safetensors":
        table: Any = _read_safetensors(path)
    else:
        table = _read_pickled(path)
    return _checked(_chosen(table, key, path), path)


def renamed(tensors: Mapping[str, Tensor], names: Mapping[str, str]) -> dict[str, Tensor]:
    """Give tensors our names: `names` maps our prefixes to theirs; a key that fits none keeps its own."""
    ours = {theirs: our for our, theirs in names.items()}
    return {_renamed(key, ours): tensor for key, tensor in tensors.items() if key.rpartition(".")[2] != COUNTERS}


def load_into(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Fill all of a network's weights, as float32 where it has float32.

    Raises: UserError as `check_fit` does.
    """
    check_fit(network, tensors, where)
    network.load_state_dict(dict(tensors))


def check_fit(network: nn.Module, tensors: Mapping[str, Tensor], where: str) -> None:
    """Compare the names and shapes of tensors with those of a network, which may be a sketch.

    Raises: UserError that names the first tensors that lack, are left over, or have another shape.
    """
    expected = network.state_dict()
    _refuse(where, "lacks", expected.keys() - tensors.keys())
    _refuse(where, "has no place for", tensors.keys() - expected.keys())
    wrong = [name for name in expected if tensors[name].shape != expected[name].shape]
    if wrong:
        given, wanted = tuple(tensors[wrong[0]].shape), tuple(expected[wrong[0]].shape)
        raise UserError(f"{where}: {wrong[0]} has shape {given}, expected {wanted} by the arguments in generator.json")


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as safetensors: {' '.join(str(error).split())}") from None
    return tensors


def _read_pickled(path: Path) -> Any:
    _refuse_inflated(path)
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a broken or hostile pickle fails in as many ways as there are
        raise UserError(f"{path}: refused, as torch.load(weights_only=True) cannot read it: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Pick what was wrong from PyTorch's text, without its advice on how to run what a pickle says."""
    found = re.search(r"(trying to load )?unsupported [^\n]*", str(error), re.IGNORECASE)
    if found:
        return found[0].partition(" Please")[0]
    return type(error).__name__ if "weights_only" in str(error) else " ".join(str(error).split())[:200]


def _refuse_inflated(path: Path) -> None:
    """Refuse an archive whose members, compressed or overlapping, are larger than the file itself."""
    if not zipfile.is_zipfile(path):
        return
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked_bytes = sum(member.file_size for member in archive.infolist())
    except (zipfile.BadZipFile, OSError) as error:
        raise UserError(f"{path}: broken archive: {error}") from None
    if unpacked_bytes > path.stat().st_size:
        raise UserError(f"{path}: refused: {path.stat().st_size:,} bytes that unpack to {unpacked_bytes:,}")


def _chosen(table: Any, key: str | None, path: Path) -> Any:
    if key is None:
        return table
    if not isinstance(table, Mapping) or key not in table:
        names = [str(name) for name in table] if isinstance(table, Mapping) else []
        raise UserError(f"{path}: no weights_key {key!r} in it{nearest(key, names[:20])}")
    return table[key]


def _checked(table: Any, path: Path) -> dict[str, Tensor]:
    if not isinstance(table, Mapping):
        raise UserError(f"{path}: holds a {type(table).__name__}, expected a table of tensors by name")
    for name, value in table.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise UserError(f"{path}: {name!r} is a {kind}, expected a tensor; a table inside is chosen by weights_key")
        if not _is_plain(value):
            raise UserError(f"{path}: {name!r} is no plain tensor: expected dense numbers, all of them in the file")
    return dict(table)


def _is_plain(tensor: Tensor) -> bool:
    """Say whether the tensor's numbers are really there, and not one of them repeated a billion times."""
    is_dense = tensor.layout is torch.strided and tensor.device.type == "cpu" and not tensor.is_quantized
    return is_dense and tensor.numel() * tensor.element_size() <= tensor.untyped_storage().nbytes()


def _renamed(key: str, ours: Mapping[str, str]) -> str:
    """Exchange the longest prefix, up to a dot, that is known."""
    parts = key.split(".")
    for length in range(len(parts), 0, -1):
        prefix = ".".join(parts[:length])
        if prefix in ours:
            return ".".join([ours[prefix], *parts[length:]])
    return key


def _refuse(where: str, verb: str, names: Iterable[str]) -> None:
    listed = sorted(names)
    if listed:
        more = f" and {len(listed) - 3} more" if len(listed) > 3 else ""
        raise UserError(f"{where}: {verb} {', '.join(listed[:3])}{more}; the arguments in generator.json do not fit it")
