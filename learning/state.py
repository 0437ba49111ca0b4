"""A training state as plain JSON beside a flat table of tensors, and back without loss.

JSON knows neither integer keys nor tuples, and both stand in optimizer states: so every container is written as
{"dict": [[key, value], ...]}, {"list": [...]} or {"tuple": [...]}, a tensor as {"tensor": its name}, scalars plain.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def encode_state(state: Any) -> tuple[Any, dict[str, Tensor]]:
    """Return (JSON value, tensors by name); one tensor that stands in several places is stored once.

    Raises: TypeError for anything but dicts, lists, tuples, tensors, numbers, bools, strings and None.
    """
    tensors: dict[str, Tensor] = {}
    names: dict[tuple[Any, ...], str] = {}
    return _encode(state, tensors, names), tensors


def decode_state(value: Any, tensors: dict[str, Tensor]) -> Any:
    """Return what `encode_state` was given."""
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "dict":
        return {key: decode_state(item, tensors) for key, item in content}
    items = [decode_state(item, tensors) for item in content]
    return items if kind == "list" else tuple(items)


def _encode(value: Any, tensors: dict[str, Tensor], names: dict[tuple[Any, ...], str]) -> Any:
    if isinstance(value, Tensor):
        return {"tensor": _store(value, tensors, names)}
    if isinstance(value, dict):
        return {"dict": [[_key(key), _encode(item, tensors, names)] for key, item in value.items()]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [_encode(item, tensors, names) for item in value]}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(
        f"a state holds a {type(value).__name__}, expected tensors, numbers, strings and containers of them"
    )


def _key(key: Any) -> str | int:
    if isinstance(key, str | int) and not isinstance(key, bool):
        return key
    raise TypeError(f"a state has the key {key!r} of type {type(key).__name__}, expected str or int")


def _store(tensor: Tensor, tensors: dict[str, Tensor], names: dict[tuple[Any, ...], str]) -> str:
    identity = (tensor.device, tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
    if tensor.numel() and identity in names:  # tied weights
        return names[identity]
    name = names[identity] = f"{len(tensors):06d}"
    # A copy of its own: safetensors refuses views, and an asynchronous step must not change what is being written.
    tensors[name] = tensor.detach().to("cpu", copy=True, memory_format=torch.contiguous_format)
    return name
