"""Tar shards whose bytes are a function of their members: USTAR, the members' order, nothing of the machine.

Offsets are known while writing (a member's data begin 512 bytes after its header), so readers never scan a tar.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from manifests.canonical import sha256_hex
from manifests.errors import CorruptError

HEADER_BYTES = 512
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")


@dataclass(frozen=True)
class Member:
    """One file in a tar: where its data begin and how long they are, in bytes."""

    name: str
    offset: int
    size: int
    sha256: str


def check_member_name(name: str) -> str:
    """Return `name` if it is plain and relative: ASCII letters, digits, `._-`, no hidden or parent folder.

    Raises: CorruptError.
    """
    if len(name) > 100 or not _NAME.fullmatch(name):
        raise CorruptError(f"the name {name!r} is not plain and relative (A-Z a-z 0-9 . _ - /, at most 100 characters)")
    return name


def write_tar(path: Path, members: Iterable[tuple[str, bytes]]) -> list[Member]:
    """Write members in the order given and fsync; equal members give equal bytes on every machine.

    Raises: CorruptError for a name that is not plain or occurs twice.
    """
    written: dict[str, Member] = {}
    with path.open("wb") as file, tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in members:
            if check_member_name(name) in written:
                raise CorruptError(f"{path.name}: the member {name!r} was given twice")
            written[name] = Member(name, tar.offset + HEADER_BYTES, len(data), sha256_hex(data))
            tar.addfile(_header(name, len(data)), io.BytesIO(data))
        tar.close()
        file.flush()
        os.fsync(file.fileno())
    return list(written.values())


def padded(size: int) -> int:
    """Return what so many bytes take in a tar."""
    return -(-size // HEADER_BYTES) * HEADER_BYTES


def member_offsets(sizes: Iterable[int], start: int = 0) -> list[int]:
    """Return where the data of members of these sizes begin, in a tar or from a header on."""
    offsets = []
    for size in sizes:
        offsets.append(start + HEADER_BYTES)
        start = offsets[-1] + padded(size)
    return offsets


def _header(name: str, size: int) -> tarfile.TarInfo:
    header = tarfile.TarInfo(name)  # mtime, uid and gid are 0 and the names empty
    header.size, header.mode = size, 0o444
    return header


def read_headers(path: Path) -> list[Member]:
    """List the members that a tar's own headers name, without their hashes.

    Raises: CorruptError naming the shard and how far it could be read.
    """
    found: list[Member] = []
    try:
        with tarfile.open(path, mode="r:") as tar:
            for info in tar:
                is_plain = info.isreg() and info.size >= 0  # below 0, some releases of tarfile go back for ever
                if not is_plain or info.pax_headers or info.offset_data != info.offset + HEADER_BYTES:
                    raise CorruptError(f"{path.name}: the member {info.name!r} is no plain file with a USTAR header")
                found.append(Member(info.name, info.offset_data, info.size, ""))
    except (tarfile.TarError, OSError, ValueError) as error:
        end = found[-1].offset + found[-1].size if found else 0
        raise CorruptError(f"{path.name}: no readable tar after byte {end}: {error}") from error
    return found


def file_sha256(path: Path) -> str:
    """Return the hex SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
