"""The numbers of tensors in a pickle: payloads of `torch.storage._load_from_bytes`, and views onto them.

A payload is what torch.save wrote for one storage, in its old format (four small pickles, then the numbers) or as a
zip. Nothing is copied or allocated here: a tensor stays a view of the bytes that are really there.
"""

from __future__ import annotations

import io
import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from factory.gan.importing.pickles import Build, RefusedPickleError, Source, read_pickle

_MAGIC, _PROTOCOL = 0x1950A86A20F9469CFC6C, 1001  # of the old format of torch.save
MAX_ARCHIVE_MEMBERS = 16
MAX_DIMENSIONS = 8
DTYPES = {
    "FloatStorage": "<f4",
    "DoubleStorage": "<f8",
    "HalfStorage": "<f2",
    "LongStorage": "<i8",
    "IntStorage": "<i4",
    "ShortStorage": "<i2",
    "CharStorage": "|i1",
    "ByteStorage": "|u1",
    "BoolStorage": "|b1",
}


@dataclass(frozen=True)
class Storage:
    """A flat run of numbers."""

    dtype: np.dtype[Any]
    data: memoryview

    @property
    def count(self) -> int:
        return len(self.data) // self.dtype.itemsize


@dataclass(frozen=True)
class TensorView:
    """A tensor as the file describes it; it lies wholly inside of its storage and repeats none of it."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    @property
    def size_bytes(self) -> int:
        return math.prod(self.shape) * self.storage.dtype.itemsize

    def array(self) -> NDArray[Any]:
        """Show the numbers where they lie."""
        size_bytes = self.storage.dtype.itemsize
        strides = tuple(stride * size_bytes for stride in self.strides)
        return np.ndarray(self.shape, self.storage.dtype, self.storage.data, self.offset * size_bytes, strides)


def tensor_view(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> TensorView:
    """Stand in for `torch._utils._rebuild_tensor_v2`; what it says about gradients and hooks is left out.

    Raises: RefusedPickleError for a view that leaves its storage or is larger than it.
    """
    if not isinstance(storage, Storage) or not _are_counts((offset,)):
        raise RefusedPickleError("a tensor without a storage")
    if not _are_counts(shape) or not _are_counts(strides) or len(shape) != len(strides):
        raise RefusedPickleError("a tensor whose sizes are no list of counts")
    count = math.prod(shape)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    if count > storage.count or (count and last >= storage.count):
        raise RefusedPickleError(f"a tensor of {count:,} numbers in a storage of {storage.count:,}")
    return TensorView(storage, offset, tuple(shape), tuple(strides))


def _are_counts(values: Any) -> bool:
    if type(values) is not tuple or len(values) > MAX_DIMENSIONS:
        return False
    return all(type(value) is int and 0 <= value < 2**48 for value in values)


class StorageLoader:
    """Stands in for `torch.storage._load_from_bytes`; all payloads together may weigh what the file does, and no more.

    Raises: RefusedPickleError unless a payload holds one storage and its numbers.
    """

    def __init__(self, file_bytes: int) -> None:
        self._left_bytes = file_bytes

    def __call__(self, payload: Any) -> Storage:
        if type(payload) is not bytes:
            raise RefusedPickleError("a storage that is no bytes")
        self._left_bytes -= len(payload)
        if self._left_bytes < 0:
            raise RefusedPickleError("storages that weigh more than the file: one is loaded again and again")
        return _from_zip(payload) if payload[:2] == b"PK" else _from_old_format(payload)


def _from_old_format(payload: bytes) -> Storage:
    source = Source(io.BytesIO(payload), len(payload))
    if (read_pickle(source, {}), read_pickle(source, {})) != (_MAGIC, _PROTOCOL):
        raise RefusedPickleError("no storage as torch.save writes it")
    system = read_pickle(source, {})
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise RefusedPickleError("a storage that is not little-endian")
    key, dtype, count = read_pickle(source, _TYPES, _described)
    if read_pickle(source, {}) != [key]:
        raise RefusedPickleError("a storage whose key is not listed")
    if int.from_bytes(source.read(8), "little") != count:
        raise RefusedPickleError("a storage that gives two sizes")
    size_bytes = count * dtype.itemsize
    start = source.tell()
    if size_bytes > len(payload) - start:
        raise RefusedPickleError(f"cut short: a storage of {size_bytes:,} bytes has {len(payload) - start:,}")
    return Storage(dtype, memoryview(payload)[start : start + size_bytes])


def _from_zip(payload: bytes) -> Storage:
    try:
        with zipfile.ZipFile(io.BytesIO(payload)) as archive:
            members = _plain_members(archive, len(payload))
            source = members["data.pkl"]
            key, dtype, count = read_pickle(Source(io.BytesIO(source), len(source)), _TYPES, _described)
            numbers = members[f"data/{key}"]
            if members.get("byteorder", b"little") != b"little":
                raise RefusedPickleError("a storage that is not little-endian")
    except KeyError:
        raise RefusedPickleError("a storage's archive lacks its numbers or their description") from None
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError):
        raise RefusedPickleError("a storage's archive is broken") from None
    if len(numbers) != count * dtype.itemsize:
        raise RefusedPickleError(f"a storage of {count * dtype.itemsize:,} bytes has {len(numbers):,}")
    return Storage(dtype, memoryview(numbers))


def _plain_members(archive: zipfile.ZipFile, size_bytes: int) -> dict[str, bytes]:
    """Read an archive's members, by their names in its one folder, once it is known that they are not compressed."""
    listed = archive.infolist()
    if len(listed) > MAX_ARCHIVE_MEMBERS or sum(member.file_size for member in listed) > size_bytes:
        raise RefusedPickleError("a storage's archive unpacks to more than it weighs")
    if any(member.compress_type != zipfile.ZIP_STORED for member in listed):
        raise RefusedPickleError("a storage's archive is compressed")
    return {member.filename.partition("/")[2]: archive.read(member) for member in listed}


def _described(identity: Any) -> tuple[str, np.dtype[Any], int]:
    """Check a persistent id: ("storage", type, key, location, count), and None or nothing for a view."""
    if type(identity) is not tuple or len(identity) not in (5, 6) or identity[5:] not in ((), (None,)):
        raise RefusedPickleError("a persistent id that describes no storage")
    kind, dtype, key, _, count = identity[:5]
    known = getattr(dtype, "build", None)
    if kind != "storage" or not isinstance(known, _StorageType) or type(key) is not str or not _are_counts((count,)):
        raise RefusedPickleError("a persistent id that describes no storage")
    return key, known.dtype, count


@dataclass(frozen=True)
class _StorageType:
    dtype: np.dtype[Any]

    def __call__(self, *_: Any) -> Any:
        raise RefusedPickleError("a storage that is made by calling its type")


_TYPES: Mapping[tuple[str, str], Build] = {
    ("torch", name): _StorageType(np.dtype(code)) for name, code in DTYPES.items()
}
