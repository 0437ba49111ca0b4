"""Features of a data set's images, as Parquet side-cars `embeddings/<extractor>-<sha256>-<root>.parquet`.

A side-car says through what the images were seen, by name and by the hash of the weights, and of which version they
are: features of unlike extractors are never compared. No version names a side-car; it can be made again.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from manifests.dataset import DataSet
from manifests.distances import Features
from manifests.errors import CorruptError, UserError
from manifests.store import Store

FOLDER = "embeddings"
_DIGITS = 12
_NAME = re.compile(rf"{FOLDER}/(?P<extractor>.+)-(?P<sha256>[0-9a-f]{{12}})-(?P<root>[0-9a-f]{{12}})\.parquet")
_KEYS = ("extractor", "extractor_sha256", "root")
_COLUMNS = ("key", "group", "view", "label", "features")


@dataclass(frozen=True)
class Extractor:
    """What images are seen through: a name for people, and a hash of the weights and their preprocessing."""

    name: str
    sha256: str

    def __str__(self) -> str:
        return f"{self.name}-{self.sha256[:_DIGITS]}"


@dataclass(frozen=True)
class Embeddings:
    """The features of a version's images, a row an image.

    Shapes: features float32 [N, D]; rows has key, group, view, label.
    """

    extractor: Extractor
    root: str
    rows: pa.Table
    features: Features

    def named(self, index: int) -> str:
        """Name an image as `factory rerender` takes it."""
        row = self.rows.slice(index, 1).to_pylist()[0]
        return f"{row['key']}.v{row['view']:02d}"


def object_name(extractor: Extractor, root: str) -> str:
    """Return the side-car's name in its data set."""
    return f"{FOLDER}/{extractor}-{root[:_DIGITS]}.parquet"


def schema(extractor: Extractor, root: str, dimensions: int) -> pa.Schema:
    """Return the columns, with what identifies the side-car as metadata."""
    types = {"key": pa.string(), "group": pa.int64(), "view": pa.int16(), "label": pa.int64()}
    told = dict(zip(_KEYS, (extractor.name, extractor.sha256, root), strict=True))
    return pa.schema([*types.items(), ("features", pa.list_(pa.float32(), dimensions))], metadata=told)


def read_embeddings(source: Path | bytes, where: str) -> Embeddings:
    """Read a side-car.

    Raises: CorruptError for what is none.
    """
    try:
        table = pq.read_table(io.BytesIO(source) if isinstance(source, bytes) else source)
        told = {name.decode(): value.decode() for name, value in (table.schema.metadata or {}).items()}
        extractor, root = Extractor(told["extractor"], told["extractor_sha256"]), told["root"]
        features = np.stack(table["features"].to_numpy(zero_copy_only=False))
        rows = table.select(_COLUMNS[:-1])
    except (pa.ArrowException, KeyError, ValueError, OSError) as error:
        raise CorruptError(f"{where} is no side-car of embeddings ({error}): embed the data set again") from None
    return Embeddings(extractor, root, rows, features)


def find_embeddings(data: DataSet, name: str) -> Embeddings:
    """Read the side-car of this version that was made by the extractor of a name, or of its first letters.

    Raises: UserError saying which there are, and how to make one.
    """
    store = Store.open(data.url)
    made = [named for entry, _ in store.list(FOLDER) if (named := _NAME.fullmatch(entry))]
    ours = [named for named in made if data.root.startswith(named["root"])]
    match = [named for named in ours if f"{named['extractor']}-{named['sha256']}".startswith(name)]
    if len(match) != 1 or not name:
        there = sorted(f"{named['extractor']}-{named['sha256']}" for named in ours) or "none"
        raise UserError(
            f"{data.url}: no single embeddings {name!r} of version {data.root[:_DIGITS]}: there are {there};"
            f" make them with python -m trainer embed ENCODER {data.url}"
        )
    where = f"{data.url}/{match[0][0]}"
    found = read_embeddings(store.get_bytes(match[0][0]), where)
    if found.root != data.root or not found.extractor.sha256.startswith(match[0]["sha256"]):
        raise CorruptError(f"{where} holds the embeddings of another version or extractor than its name says")
    return found


def check_alike(first: Embeddings, second: Embeddings) -> None:
    """Refuse to compare what was seen through unlike extractors.

    Raises: UserError naming both.
    """
    if first.extractor.sha256 != second.extractor.sha256:
        raise UserError(
            f"embeddings of unlike extractors cannot be compared: {first.extractor} and {second.extractor};"
            " embed both data sets with the same encoder"
        )
