"""Builds a data set of idx files, the format of MNIST and its kin: python -m trainer.evaluation.idx OUT [--source …].

Without a source it takes Debian's dataset-fashion-mnist, installed or downloaded. Pixels are stored in PNGs without
compression, so that the data set's root depends on no library's version.
"""

from __future__ import annotations

import gzip
import json
import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from manifests.adopt import adopt
from manifests.card import CardFacts
from manifests.command_line import new_app, run_app
from manifests.errors import CorruptError, UserError
from manifests.target import check_folder, local_path
from trainer.evaluation.debian import folder_of

PACKAGES = {
    "dataset-fashion-mnist": (
        "0.0~git20200523.55506a9-1",
        "39e172fe32dd318ebb3e512220c3beea2fa47d7e20bab348fb4e0922d6beefc0",
    )
}
FASHION = Path("usr/share/datasets/fashion-mnist")
FASHION_LABELS = "t-shirt,trouser,pullover,dress,coat,sandal,shirt,sneaker,bag,ankle boot"
GROUPS_PER_SHARD = 8192
_MOST_BYTES = 1 << 30
_BYTES_TYPE = 0x08  # of an idx file's third byte
_STORED_BLOCK = 0xFFFF


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an idx file of bytes, packed by gzip or not.

    Raises: CorruptError for what is no such file, is cut, or would unfold to more than a gigabyte.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            zero, kind, dimensions = struct.unpack(">HBB", file.read(4))
            shape = struct.unpack(f">{dimensions}I", file.read(4 * dimensions))
            size = int(np.prod(shape, dtype=object))
            if zero or kind != _BYTES_TYPE or size > _MOST_BYTES:
                raise CorruptError(f"{path}: expected bytes in idx form, at most {_MOST_BYTES}")
            data = file.read(size + 1)
    except (OSError, EOFError, struct.error, zlib.error) as error:
        raise CorruptError(f"{path} is no idx file: {error}") from None
    if len(data) != size:
        raise CorruptError(f"{path} holds {'more' if len(data) > size else 'less'} than the {size} bytes it promises")
    return np.frombuffer(data, np.uint8).reshape(shape)


def plain_png(pixels: NDArray[np.uint8]) -> bytes:
    """Write gray pixels [H, W] as a PNG whose bytes follow from them alone: nothing is compressed."""
    height, width = pixels.shape
    lines = np.concatenate([np.zeros((height, 1), np.uint8), pixels], axis=1).tobytes()  # filter 0 in front of each
    pieces = [lines[start : start + _STORED_BLOCK] for start in range(0, len(lines), _STORED_BLOCK)]
    stored = b"".join(
        struct.pack("<BHH", number == len(pieces) - 1, len(piece), len(piece) ^ 0xFFFF) + piece
        for number, piece in enumerate(pieces)
    )
    packed = b"\x78\x01" + stored + struct.pack(">I", zlib.adler32(lines))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", packed) + _chunk(b"IEND", b"")


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def pairs(source: Path) -> Iterator[tuple[str, Path, Path]]:
    """Yield split, images and labels: files whose names say images and labels; t10k and test are the test split.

    Raises: UserError where there are none, or images without labels.
    """
    found = [path for path in sorted(source.glob("*images*idx3*")) if path.is_file()]
    if not found:
        raise UserError(f"{source} holds no idx images: expected names such as train-images-idx3-ubyte.gz")
    for images in found:
        labels = source / images.name.replace("images", "labels").replace("idx3", "idx1")
        if not labels.is_file():
            raise UserError(f"{labels} is absent, but {images.name} is there")
        yield ("test" if "t10k" in images.name or "test" in images.name else "train"), images, labels


def build(out: Path, source: Path, scratch: Path, *, name: str, label_names: list[str], licence: str | None) -> str:
    """Build the data set at `out` and return its root."""
    found = sorted(pairs(source), key=lambda pair: pair[0] != "train")
    (scratch / "images").mkdir(parents=True)
    with (scratch / "table.jsonl").open("w", encoding="utf-8") as table:
        for split, images, labels in found:
            for row in _written(split, images, labels, scratch / "images"):
                table.write(json.dumps(row) + "\n")
    facts = CardFacts(
        summary=f"Gray images with labels, {name}, out of idx files.",
        sources=[f"{images.name} and {labels.name}" for _, images, labels in found],
        command="python -m trainer.evaluation.idx OUT",
    )
    return adopt(
        scratch / "images",
        out,
        table=scratch / "table.jsonl",
        name=name,
        licence=licence,
        label_names=label_names,
        groups_per_shard=GROUPS_PER_SHARD,
        card=facts,
    )


def _written(split: str, images: Path, labels: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """Write each image as a file and yield what is said of it."""
    pixels, named = read_idx(images), read_idx(labels)
    if pixels.ndim != 3 or named.shape != pixels.shape[:1]:
        raise CorruptError(f"{images}: {pixels.shape} images and {named.shape} labels; expected [N, H, W] and [N]")
    for number, (image, label) in enumerate(zip(pixels, named.tolist(), strict=True)):
        file = f"{split}-{number:06d}.png"
        (folder / file).write_bytes(plain_png(image))
        yield {"file": file, "label": label, "split": split}


app = new_app()


@app.command()
def main(
    out: Annotated[Path, typer.Argument(parser=local_path, help="Folder of the finished data set")],
    source: Annotated[
        Path | None, typer.Option(parser=local_path, help="Folder of idx files; Debian's Fashion-MNIST if not given")
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the data set")] = "fashion-mnist",
    label_names: Annotated[str, typer.Option(help="Names of the labels 0, 1, …, with commas")] = FASHION_LABELS,
) -> None:
    """Turn idx files into a data set with splits train and test."""
    check_folder(out)
    with tempfile.TemporaryDirectory() as packages, tempfile.TemporaryDirectory() as scratch:
        folder = source or folder_of(PACKAGES, FASHION, Path(packages))
        licence = None if source else "MIT"
        names = label_names.split(",")
        typer.echo(build(out, folder, Path(scratch), name=name, label_names=names, licence=licence))


if __name__ == "__main__":
    run_app(app)
