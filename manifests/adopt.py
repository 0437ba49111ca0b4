"""Other people's images become a data set: taken byte for byte, with their captions, labels, splits and own columns.

The stream's id is a hash of the images and of all that the table says of them, so adopting the same folder again gives
the same root, and an interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from PIL import Image

from manifests.canonical import canonical_json, sha256_hex
from manifests.card import CardFacts
from manifests.commit import Group, View, commit_shard, winners
from manifests.documents import CommitRecord, VersionDoc, VersionShard
from manifests.errors import ConflictError, CorruptError, UserError
from manifests.images import EXTENSIONS, decode_image, open_image, pixel_hash
from manifests.schema import FORMAT
from manifests.store import Store
from manifests.table import Columns, Entry, read_entries
from manifests.version import publish

_CODECS = {"jpg": "jpeg", "png": "png", "webp": "webp"}
Progress = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True)
class _Picture:
    """An image file that was found sound, and its row's facts."""

    entry: Entry
    path: Path
    sha256: str
    extension: str
    facts: dict[str, Any]


def adopt(
    source: Path,
    out: str | Path,
    *,
    table: Path | None = None,
    columns: Columns | None = None,
    groups_per_shard: int = 1024,
    name: str = "",
    licence: str | None = None,
    label_names: Sequence[str] | None = None,
    card: CardFacts | None = None,
    progress: Progress = lambda done, total: None,
) -> str:
    """Make a data set of the images in a folder and return its root; without a table, of all of them in path order.

    Raises: UserError naming the file or column that is wrong; ConflictError if `out` holds another stream.
    """
    listing = read_entries(source, table, columns or Columns(), label_names)
    pictures = _looked_at(source, listing.groups, progress)
    description = {
        "format": FORMAT,
        "kind": "adopted",
        "groups_per_shard": groups_per_shard,
        "label_names": listing.label_names,
        "columns": {name: str(type_) for name, type_ in sorted(listing.extra_types.items())},
        "content": _content_hash(pictures),
    }
    stream_id = sha256_hex(canonical_json(description))
    store = Store.open(out, create=True)
    _claim(store, stream_id, description)
    records = _committed(store, stream_id, pictures, groups_per_shard, listing.extra_types)
    version = VersionDoc(
        kind="adopted",
        shards=[VersionShard.of(record) for record in records],
        views_per_group=len(pictures[0]),
        extension=pictures[0][0].extension,
        label_names=listing.label_names,
        licence=licence,
        name=name,
    )
    return publish(store, version, card=card)


def _looked_at(source: Path, groups: list[list[Entry]], progress: Progress) -> list[list[_Picture]]:
    """Decode every image once before anything is written."""
    total, done = sum(map(len, groups)), 0
    pictures = []
    for entries in groups:
        pictures.append([_picture(source, entry) for entry in entries])
        done += len(entries)
        progress(done, total)
    kinds = {picture.extension: picture.entry.file for group in pictures for picture in group}
    if len(kinds) > 1:
        found = ", ".join(f"{file} is {kind}" for kind, file in sorted(kinds.items()))
        raise UserError(
            f"{source}: images of several kinds ({found}): convert them to one kind, so all samples are alike"
        )
    return pictures


def _picture(source: Path, entry: Entry) -> _Picture:
    path = source / entry.file
    try:
        data = path.read_bytes()
        pixels = decode_image(data)
        with open_image(data) as image:
            kind = str(image.format)
    except FileNotFoundError as error:
        raise UserError(f"{path}: no such image (it stands in {entry.where})") from error
    except (OSError, CorruptError, Image.DecompressionBombError) as error:
        raise UserError(f"{path}: {error}") from error
    extension = EXTENSIONS[kind]
    height, width, _ = pixels.shape
    facts = {"width": width, "height": height, "codec": _CODECS[extension], "source": entry.file}
    if extension == "png":  # a lossy image's pixels depend on the decoder
        facts["pixel_hash"] = pixel_hash(pixels)
    return _Picture(entry, path, sha256_hex(data), extension, facts)


def _content_hash(pictures: list[list[_Picture]]) -> str:
    digest = hashlib.sha256()
    for group in pictures:
        try:
            digest.update(canonical_json([[p.entry.file, p.sha256, p.entry.described()] for p in group]) + b"\n")
        except ValueError as error:
            raise UserError(f"{group[0].entry.where}: a value has no JSON form (NaN, infinity): {error}") from error
    return digest.hexdigest()


def _claim(store: Store, stream_id: str, description: dict[str, Any]) -> None:
    others = [name for name, _ in store.list("recipes") if name != f"recipes/{stream_id}.json"]
    if others:
        raise ConflictError(
            f"{store.url} already holds another data set ({others[0]}): adopt into an empty folder, "
            "or give the same images, table and options to go on with it"
        )
    store.put_bytes(canonical_json(description), f"recipes/{stream_id}.json")


def _committed(
    store: Store,
    stream_id: str,
    pictures: list[list[_Picture]],
    groups_per_shard: int,
    extra_types: dict[str, pa.DataType],
) -> list[CommitRecord]:
    done = winners(store, stream_id)
    for index, first in enumerate(range(0, len(pictures), groups_per_shard)):
        if index in done:
            continue
        part = pictures[first : first + groups_per_shard]
        with tempfile.TemporaryDirectory() as scratch:
            done[index] = commit_shard(
                store,
                stream_id=stream_id,
                index=index,
                first_group=first,
                groups=[_group(first + place, group) for place, group in enumerate(part)],
                numerics={},
                extra_types=extra_types,
                scratch=Path(scratch),
            )
    return [done[index] for index in sorted(done)]


def _group(number: int, pictures: list[_Picture]) -> Group:
    return Group(number, [_view(picture) for picture in pictures])


def _view(picture: _Picture) -> View:
    data = picture.path.read_bytes()
    if sha256_hex(data) != picture.sha256:
        raise UserError(f"{picture.path} changed while it was being adopted: run the same command again")
    return View({**picture.facts, **picture.entry.described()}, data, picture.extension)
