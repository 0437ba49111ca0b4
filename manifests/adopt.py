"""Other people's images become a data set: taken byte for byte, with their captions, labels, splits and own columns.

They lie in a folder, in WebDataset tars or in Parquet files, and are laid into shards like all others. The stream's id
is a hash of the images and of all that is said of them, so adopting the same source again gives the same root, and an
interrupted run goes on where it stopped.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
from manifests.sources import read_source
from manifests.store import Store
from manifests.table import Columns, Entry
from manifests.version import publish

_NAMED = 5  # images in a message
_CODECS = {"jpg": "jpeg", "png": "png", "webp": "webp"}
Progress = Callable[[int, int], None]  # images done, images in all


@dataclass(frozen=True)
class _Picture:
    """An image that was looked at: its row's facts, and the reason if it cannot be used."""

    entry: Entry
    sha256: str
    extension: str
    facts: dict[str, Any]
    reason: str | None = None


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
    corrupt_budget: int = 0,
    card: CardFacts | None = None,
    progress: Progress = lambda done, total: None,
) -> str:
    """Make a data set of a folder of images, of WebDataset tars, or of Parquet files with images; return its root.

    A group of which an image cannot be used is quarantined, if such images are no more than `corrupt_budget`.
    Raises: UserError naming the file, member or column that is wrong; ConflictError if `out` holds another stream.
    """
    with tempfile.TemporaryDirectory() as spool:
        listing = read_source(source, table, columns or Columns(), label_names, Path(spool))
        pictures = _usable(source, _looked_at(listing.groups, progress), corrupt_budget)
        description = {
            "format": FORMAT,
            "kind": "adopted",
            "groups_per_shard": groups_per_shard,
            "label_names": listing.label_names,
            "columns": {name: str(type_) for name, type_ in sorted(listing.extra_types.items())},
            "content": _content_hash(pictures),
            **({"sources": listing.sources} if listing.sources else {}),
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


def _looked_at(groups: list[list[Entry]], progress: Progress) -> list[list[_Picture]]:
    """Decode every image once before anything is written."""
    total, done = sum(map(len, groups)), 0
    pictures = []
    for entries in groups:
        pictures.append([_picture(entry) for entry in entries])
        done += len(entries)
        progress(done, total)
    return pictures


def _usable(source: Path, groups: list[list[_Picture]], budget: int) -> list[list[_Picture]]:
    """Agree on one kind of image; what is of another, or unreadable, may be no more than the budget."""
    unreadable = [picture for group in groups for picture in group if picture.reason]
    kinds = Counter(picture.extension for group in groups for picture in group if not picture.reason)
    named = "; ".join(f"{picture.entry.image.file}: {picture.reason}" for picture in unreadable[:_NAMED])
    total = sum(map(len, groups))
    if len(unreadable) > budget or not kinds:
        raise UserError(
            f"{source}: {len(unreadable)} of {total} images cannot be used, the corrupt budget is {budget}: {named}"
        )
    kind = min(kinds, key=lambda name: (-kinds[name], name))
    if len(unreadable) + kinds.total() - kinds[kind] > budget:
        one_of = {picture.extension: picture.entry.image.file for group in groups for picture in group}
        found = ", ".join(f"{one_of[name]} is {name}" for name in sorted(kinds))
        raise UserError(
            f"{source}: images of several kinds ({found}): convert them to one kind, so all samples are alike"
        )
    return [[_of_kind(picture, kind) for picture in group] for group in groups]


def _of_kind(picture: _Picture, kind: str) -> _Picture:
    is_other = picture.reason is None and picture.extension != kind
    reason = f"it is {picture.extension}, most are {kind}" if is_other else picture.reason
    return replace(picture, extension=kind, reason=reason)


def _picture(entry: Entry) -> _Picture:
    image, data = entry.image, b""
    try:
        if image.piece is None:
            raise CorruptError(str(image.problem))
        data = image.piece.read()
        pixels = decode_image(data)
        with open_image(data) as opened:
            kind = str(opened.format)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename}: no such image (it stands in {image.where})") from error
    except OSError as error:
        raise UserError(f"{image.where}: {image.file}: {error}") from error
    except (CorruptError, Image.DecompressionBombError) as error:
        return _Picture(entry, sha256_hex(data), "", {"source": image.file}, str(error))
    extension = EXTENSIONS[kind]
    height, width, _ = pixels.shape
    facts = {"width": width, "height": height, "codec": _CODECS[extension], "source": image.file}
    if extension == "png":  # a lossy image's pixels depend on the decoder
        facts["pixel_hash"] = pixel_hash(pixels)
    return _Picture(entry, sha256_hex(data), extension, facts)


def _content_hash(pictures: list[list[_Picture]]) -> str:
    digest = hashlib.sha256()
    for group in pictures:
        try:
            digest.update(canonical_json([_described(picture) for picture in group]) + b"\n")
        except ValueError as error:
            raise UserError(
                f"{group[0].entry.image.where}: a value has no JSON form (NaN, infinity): {error}"
            ) from error
    return digest.hexdigest()


def _described(picture: _Picture) -> list[Any]:
    reason = [] if picture.reason is None else [picture.reason]
    return [picture.entry.image.file, picture.sha256, picture.entry.described(), *reason]


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
    row, image = {**picture.facts, **picture.entry.described()}, picture.entry.image
    if picture.reason is not None or image.piece is None:
        return View({**row, "reason": picture.reason}, None, picture.extension)
    data = image.piece.read()
    if sha256_hex(data) != picture.sha256:
        raise UserError(f"{image.file} changed while it was being adopted: run the same command again")
    return View(row, data, picture.extension)
