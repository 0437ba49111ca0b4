"""Builds a labelled set of Tux Paint's stamps: python -m trainer.evaluation.stamps OUT (Debian or Ubuntu; 161 MB).

Photos and drawings in eight subjects, with English captions. They are under the GPL and licences of their own, so the
set is made where it is used and not shipped. Mirrored versions and look-alikes share an x_component.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
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
from trainer.evaluation.clipart_source import render
from trainer.evaluation.debian import folder_of
from trainer.evaluation.duplicates import components
from trainer.evaluation.partition import deal
from trainer.evaluation.sets import SPLITS

PACKAGES = {
    "tuxpaint-stamps-default": (
        "2022.06.04-1",
        "6db6c1bfc870a47f1499d6203b083522eacb57c5f9c87d468f2e92eb6d9d5f34",
    )
}
STAMPS = Path("usr/share/tuxpaint/stamps")
LABEL_NAMES = ["animals", "food", "household", "plants", "seasonal", "symbols", "town", "vehicles"]  # 30 or more each
_MIRRORED = "_mirror"

FACTS = CardFacts(
    summary="Tux Paint's stamps in eight subjects, 64x64 on white. `x_component` groups mirrored versions and "
    "look-alikes: keep a group on one side of any split. Labels are the collection's folders.",
    sources=[
        f"Tux Paint stamps {version}, GPL-2+ and others (Debian {name})" for name, (version, _) in PACKAGES.items()
    ],
    command="python -m trainer.evaluation.stamps OUT",
)


@dataclass(frozen=True)
class Stamp:
    """One picture of the collection. Shapes: pixels [64, 64, 3]."""

    path: Path  # in the collection's folder
    caption: str
    pixels: NDArray[np.uint8]

    @property
    def label(self) -> int:
        return LABEL_NAMES.index(self.path.parts[0])

    @property
    def family(self) -> str:
        """The path without the mark of a mirrored version."""
        return self.path.with_suffix("").as_posix().removesuffix(_MIRRORED)


def stamps(root: Path) -> Iterator[Stamp]:
    """Yield every stamp of the eight subjects that is neither blank nor too large, in order of path."""
    for path in sorted(root.rglob("*.png")):
        name = path.relative_to(root)
        if name.parts[0] in LABEL_NAMES and (pixels := render(path)) is not None:
            yield Stamp(name, caption(path), pixels)


def caption(picture: Path) -> str:
    """Return the first line of the text beside a picture, of which a mirrored one has none of its own."""
    for stem in (picture.stem, picture.stem.removesuffix(_MIRRORED)):
        text = picture.with_name(f"{stem}.txt")
        if text.is_file():
            return next(iter(text.read_text("utf-8", "replace").splitlines()), "").strip()
    return ""


def build(out: Path, root: Path, scratch: Path) -> str:
    """Build the data set at `out` from the collection's folder and return its root."""
    found = list(stamps(root))
    grouped = components(np.stack([stamp.pixels for stamp in found]), [stamp.family for stamp in found])
    sides = deal(np.array([stamp.label for stamp in found]), grouped, len(SPLITS), "stamps")
    (scratch / "images").mkdir(parents=True)
    with (scratch / "table.jsonl").open("w", encoding="utf-8") as table:
        for index, (stamp, component, side) in enumerate(zip(found, grouped.tolist(), sides.tolist(), strict=True)):
            file = f"{index:04d}.webp"
            Image.fromarray(stamp.pixels).save(scratch / "images" / file, lossless=True, quality=100, method=4)
            known = {"file": file, "caption": stamp.caption, "label": stamp.label, "split": SPLITS[side]}
            table.write(json.dumps({**known, "x_component": component, "x_path": str(stamp.path)}) + "\n")
    images, rows = scratch / "images", scratch / "table.jsonl"
    return adopt(images, out, table=rows, name="tuxpaint-stamps", label_names=LABEL_NAMES, card=FACTS)


app = new_app()


@app.command()
def main(
    out: Annotated[Path, typer.Argument(parser=local_path, help="Folder of the finished data set")],
    source: Annotated[
        Path | None, typer.Option(parser=local_path, help="Folder of stamps; Debian's package if not given")
    ] = None,
) -> None:
    """Take the stamps, group look-alikes, and write the data set."""
    check_folder(out)
    with tempfile.TemporaryDirectory() as packages, tempfile.TemporaryDirectory() as scratch:
        folder = source or folder_of(PACKAGES, STAMPS, Path(packages))
        typer.echo(build(out, folder, Path(scratch) / "set"))


if __name__ == "__main__":
    run_app(app)
