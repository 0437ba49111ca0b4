"""Builds the labelled test set: python -m trainer.evaluation.clipart26 OUT (Debian or Ubuntu; downloads 156 MB).

26 classes of public-domain cliparts, at most 300 a class, near-duplicates grouped in x_component, split by component
into `dev` (for choosing anything) and `test` (for published results only). Classes above the cap are thinned first: of
drawings that look alike one stays, since nearly all of the 1,358 stars are one drawing with other numbers of points.
"""

import json
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from manifests.adopt import adopt
from manifests.card import CardFacts
from manifests.command_line import new_app, run_app
from manifests.target import check_folder, local_path
from trainer.evaluation.clipart_source import CLASS_FOLDERS, PACKAGES, Drawing, drawings, unpack_packages
from trainer.evaluation.duplicates import components, near, thinned
from trainer.evaluation.partition import deal, name_order

CAP_PER_CLASS = 300
LABEL_NAMES = sorted(CLASS_FOLDERS)
SPLITS = ("dev", "test")


FACTS = CardFacts(
    summary="Cliparts in 26 classes, 64x64 on white. `x_component` groups near-duplicates: keep a group on one side of "
    "any split. Choose on `dev`; `test` is for published results. Labels are the library's folders.",
    sources=[f"Open Clip Art Library 0.18, public domain dedication (Debian package {name})" for name in PACKAGES],
    command="python -m trainer.evaluation.clipart26 OUT",
)


def build(out: Path, scratch: Path) -> str:
    """Build the data set at `out` and return its root."""
    folder = scratch / "clipart26"
    write_folder(choose(list(drawings(unpack_packages(scratch)))), folder)
    return adopt_folder(folder, out)


def adopt_folder(folder: Path, out: Path) -> str:
    """Make the data set of what `write_folder` wrote."""
    table = folder / "table.jsonl"
    return adopt(
        folder / "images", out, table=table, name="clipart26", licence="CC-PDDC", label_names=LABEL_NAMES, card=FACTS
    )


def choose(found: list[Drawing]) -> list[Drawing]:
    """Return at most CAP_PER_CLASS drawings a class, in order of path."""
    kept: list[Drawing] = []
    for label in LABEL_NAMES:
        members = [drawing for drawing in found if drawing.label == label]
        order = name_order([str(drawing.path) for drawing in members])
        if len(members) > CAP_PER_CLASS:
            order = thinned(near(np.stack([drawing.pixels for drawing in members])), order)[:CAP_PER_CLASS]
        kept += [members[index] for index in order]
    return sorted(kept, key=lambda drawing: drawing.path)


def write_folder(chosen: list[Drawing], folder: Path) -> None:
    """Write images/ (lossless WebP) and table.jsonl for `adopt`."""
    names = [d.title_key for d in chosen], [d.path_key for d in chosen]
    grouped = components(np.stack([d.pixels for d in chosen]), *names)
    labels = np.array([LABEL_NAMES.index(drawing.label) for drawing in chosen])
    sides = deal(labels, grouped, len(SPLITS), "clipart26")
    (folder / "images").mkdir(parents=True)
    rows = [_row(index, d, labels, grouped, sides) for index, d in enumerate(chosen)]
    for row, drawing in zip(rows, chosen, strict=True):
        image = Image.fromarray(drawing.pixels)
        image.save(folder / "images" / str(row["file"]), lossless=True, quality=100, method=4)
    (folder / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def _row(
    index: int, drawing: Drawing, labels: NDArray[np.int64], grouped: NDArray[np.int64], sides: NDArray[np.int64]
) -> dict[str, str | int]:
    return {
        "file": f"{index:05d}.webp",
        "label": int(labels[index]),
        "split": SPLITS[sides[index]],
        "x_component": int(grouped[index]),
        "x_path": str(drawing.path),
        "x_title": drawing.title,
    }


app = new_app()


@app.command()
def main(
    out: Annotated[Path, typer.Argument(parser=local_path, help="Folder of the finished data set")],
) -> None:
    """Download the cliparts, choose and group them, and write the data set clipart26."""
    check_folder(out)
    with tempfile.TemporaryDirectory() as scratch:
        typer.echo(build(out, Path(scratch)))


if __name__ == "__main__":
    run_app(app)
