"""Other people's WebDataset tars: each is hashed and its headers are read once, then members are read at their offsets.

As in webdataset, members that lie together and are called alike up to the first dot are a sample, and the rest of the
name says what they are: images are views, .txt is the caption, .cls the label, .json has columns. Headers are read
here, and not by a library: a tar that was cut, or that goes on after its end, must not pass for a shorter one.
"""

from __future__ import annotations

import json
import os
import re
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa

from manifests.errors import CorruptError, UserError
from manifests.shard import HEADER_BYTES, file_sha256
from manifests.table import SUFFIXES, Columns, Image, Listing, Piece, described

_MOST_TEXT_BYTES = 1 << 20
_MOST_NAME = 1000
_FILES = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}
_SAMPLE = re.compile(r"(?P<key>(?:.*/)?[^./][^./]*)\.(?P<ending>[^/]+)")
_NUMBER = re.compile(r"-1|[0-9]{1,18}")
_META = re.compile(r"__[^/]*__($|/)")
_SPLIT = re.compile(r"(?P<split>\w+)-\d{5,}-of-\d{5,}(-[0-9a-f]+)?\.\w+")

Facts = dict[str, Any]


@dataclass(frozen=True)
class _Member:
    name: str
    offset: int
    size: int


def read_tars(files: Sequence[Path], base: Path, columns: Columns, label_names: Sequence[str] | None) -> Listing:
    """List the samples of tars; a row's source is the tar's path under `base`, then the member's name.

    Raises: UserError for a tar that is cut, names that lead elsewhere, or values that no column can hold.
    """
    images: list[list[Image]] = []
    facts: list[Facts] = []
    for path in files:
        name = path.relative_to(base).as_posix()
        for sample in _samples(path):
            found, said = _read_sample(path, name, sample, columns)
            images.append(found)
            facts.append({columns.split: split_of(path), **said})
    if not images:
        raise UserError(f"{files[0]}: no sample in {len(files)} tars")
    rows = _rows(facts, files[0])
    sources = [source_file(path, base) for path in files]
    return replace(described(rows, images, columns, label_names, files[0]), sources=sources)


def source_file(path: Path, base: Path) -> Facts:
    """Say which file something was adopted from."""
    return {"name": path.relative_to(base).as_posix(), "sha256": file_sha256(path), "size": path.stat().st_size}


def split_of(path: Path) -> str | None:
    """Return the split in a file's name, as Hugging Face writes it: train-00000-of-00005.parquet."""
    match = _SPLIT.fullmatch(path.name)
    return match["split"] if match else None


def _rows(facts: list[Facts], where: Path) -> pa.Table:
    names = dict.fromkeys(name for row in facts for name, value in row.items() if value is not None)
    columns = {}
    for name in names or ["caption"]:
        try:
            columns[name] = pa.array([row.get(name) for row in facts])
        except (pa.ArrowException, OverflowError) as error:
            raise UserError(f"{where}: the values of {name!r} are of several types: {error}") from error
    return pa.table(columns)


def _read_sample(path: Path, tar: str, sample: dict[str, _Member], columns: Columns) -> tuple[list[Image], Facts]:
    first = next(iter(sample.values())).name
    where = f"{path}, {first}"
    problem, said = None, {}
    try:
        said = _said(path, sample, columns)
    except (CorruptError, ValueError, RecursionError) as error:
        problem = f"what is said of it is unreadable: {error}"
    endings = columns.images or sorted(name for name in sample if f".{name.rpartition('.')[2]}" in SUFFIXES)
    images = []
    for ending in endings:
        if ending in sample:
            member = sample[ending]
            images.append(Image(f"{tar}/{member.name}", where, Piece(path, member.offset, member.size)))
        else:
            images.append(Image(f"{tar}/{first}", where, problem=f"its sample has no {ending}, but {sorted(sample)}"))
    images = images or [Image(f"{tar}/{first}", where, problem=f"its sample has no image, but {sorted(sample)}")]
    return [replace(image, piece=None, problem=problem) for image in images] if problem else images, said


def _said(path: Path, sample: dict[str, _Member], columns: Columns) -> Facts:
    found: Facts = {}
    if "json" in sample:
        value = json.loads(_text(path, sample["json"]))
        if not isinstance(value, dict):
            raise CorruptError("its .json is no object")
        found = {k: v for k, v in value.items() if k in columns.known - {columns.file} or columns.own_name(k)}
    if "txt" in sample:
        found[columns.caption] = _text(path, sample["txt"]).rstrip("\r\n")
    if "cls" in sample:
        label = _text(path, sample["cls"]).strip()
        found[columns.label] = int(label) if _NUMBER.fullmatch(label) else label
    return {name: value for name, value in found.items() if not _is_none(name, value, columns)}


def _is_none(name: str, value: Any, columns: Columns) -> bool:
    """Say whether a value stands for none, where a writer wants the same keys and types in all samples."""
    return (name == columns.label and value == -1) or (name in (columns.split, columns.caption) and value == "")


def _text(path: Path, member: _Member) -> str:
    if member.size > _MOST_TEXT_BYTES:
        raise CorruptError(f"{member.name} has {member.size} bytes, a text at most {_MOST_TEXT_BYTES}")
    return Piece(path, member.offset, member.size).read().decode("utf-8")


def _samples(path: Path) -> Iterator[dict[str, _Member]]:
    """Gather members that lie together, by ending; what webdataset passes over is passed over."""
    seen: set[str] = set()
    key, sample = "", dict[str, _Member]()
    for member in _members(path):
        match = _SAMPLE.fullmatch(member.name)
        if match is None or _META.search(member.name):
            continue
        if match["key"] != key:
            if sample:
                yield sample
            key, sample = match["key"], {}
            if key in seen:
                raise UserError(f"{path}: the members of {key!r} do not lie together, or are there twice")
            seen.add(key)
        ending = match["ending"].lower()
        if ending in sample:
            raise UserError(f"{path}: {member.name!r} is there twice")
        sample[ending] = member
    if sample:
        yield sample


def _members(path: Path) -> Iterator[_Member]:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        long: dict[str, str] = {}
        while True:
            place = file.tell()
            block = file.read(HEADER_BYTES)
            if len(block) < HEADER_BYTES or not block.strip(b"\0"):
                _check_end(path, file, place, len(block))
                return
            header = _header(path, block, place)
            length = int(long.get("size", header.size))
            if not 0 <= length <= size - place - HEADER_BYTES:
                raise UserError(f"{path} is cut: it ends inside {header.name!r}, at byte {size}: fetch it again")
            if header.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME):
                long |= _long(path, header, file.read(length) if length <= _MOST_TEXT_BYTES else b"")
            elif header.type in _FILES:
                yield _Member(_checked(path, long.get("path", header.name)), place + HEADER_BYTES, length)
                long = {}
            elif header.type == tarfile.DIRTYPE:
                length, long = 0, {}
            elif header.type != tarfile.XGLTYPE:
                raise UserError(f"{path}: {header.name!r} is a link or device: expected plain files only")
            file.seek(place + HEADER_BYTES + -(-length // HEADER_BYTES) * HEADER_BYTES)


def _header(path: Path, block: bytes, place: int) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise UserError(f"{path}: no readable tar at byte {place}: {error} (is it cut, or compressed?)") from error


def _long(path: Path, header: tarfile.TarInfo, data: bytes) -> dict[str, str]:
    """Read the name and size that a long-name or PAX header gives to the next member."""
    if header.type == tarfile.GNUTYPE_LONGNAME:
        return {"path": data.rstrip(b"\0").decode("utf-8", "surrogateescape")}
    found, place = {}, 0
    while match := re.compile(rb"(\d{1,7}) ([^=]+)=").match(data, place):
        end = place + int(match[1])
        found[match[2].decode("utf-8", "replace")] = data[match.end() : end - 1].decode("utf-8", "surrogateescape")
        if end <= match.end() or data[end - 1 : end] != b"\n":
            break
        place = end
    if place != len(data) or not data or any(name.startswith("GNU.sparse") for name in found):
        raise UserError(f"{path}: {header.name!r} is an extended header that is damaged, too long, or of a sparse file")
    if not found.get("size", "0").isdecimal():
        raise UserError(f"{path}: {header.name!r} gives the size {found['size']!r}")
    return {name: value for name, value in found.items() if name in ("path", "size")}


def _checked(path: Path, name: str) -> str:
    plain = name.removeprefix("./")
    is_text = not any("\ud800" <= letter <= "\udfff" or letter < " " for letter in plain)
    if plain.startswith("/") or ".." in plain.split("/") or "\\" in plain or len(plain) > _MOST_NAME or not is_text:
        raise UserError(f"{path}: the member's name {name[:_MOST_NAME]!r} is no plain, relative path")
    return plain


def _check_end(path: Path, file: BinaryIO, place: int, length: int) -> None:
    """A tar ends with zeros, and with nothing else."""
    if length < HEADER_BYTES:
        raise UserError(f"{path} is cut: it ends at byte {place + length} without the blocks that end a tar")
    while block := file.read(1 << 20):
        if block.strip(b"\0"):
            raise UserError(f"{path} goes on after its end at byte {place}: was it put together from several tars?")
