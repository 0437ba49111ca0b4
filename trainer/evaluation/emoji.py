"""Builds the second labelled set: python -m trainer.evaluation.emoji DATA OUT, from the finished emoji data set.

Takes the identities that no generator was trained on (split `test` of DATA), in all six drawing styles, with eight
groups as labels. All drawings of one emoji, its variants for woman, man and person, and all that look alike share an
x_component and lie on one side of dev and test.
"""

import json
import re
import tempfile
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from PIL import Image

from manifests.adopt import adopt
from manifests.card import CardFacts
from manifests.command_line import new_app, run_app
from manifests.dataset import DataSet, open_dataset
from manifests.errors import UserError
from manifests.target import check_folder, local_path
from trainer.evaluation.duplicates import connected, name_pairs, near
from trainer.evaluation.partition import deal, name_order
from trainer.evaluation.sets import SPLITS

HELD_OUT = "test"
COMPONENT_CAP = 18  # three emoji in six styles: else 24 clock faces would be half of their class
_COLUMNS = ["prompt", "label", "split", "x_emoji", "x_style", "x_group", "x_subgroup"]
_PLACE = ["key", "view", "stream_id", "shard", "offset", "size", "sha256", "status"]
_PERSON = re.compile(r"\b(man|woman|person|men|women|people|boy|girl|boys|girls)\b")


def build(source: str, out: Path, scratch: Path) -> str:
    """Build the data set at `out` and return its root.

    Raises: UserError if `source` is no emoji data set.
    """
    dataset = open_dataset(source)
    rows = held_out(dataset)
    groups = {row["label"]: row["x_group"] for row in rows}
    write_folder(rows, np.stack([dataset.image(row) for row in rows]), scratch)
    return adopt(
        scratch / "images",
        out,
        table=scratch / "table.jsonl",
        name="emoji-identities",
        licence=dataset.version.licence,
        label_names=[groups[label] for label in sorted(groups)],
        card=CardFacts(
            summary="Emoji that no generator of this project was trained on, 64x64, six drawing styles, labelled with "
            "their group. `x_component` joins variants: keep it on one side of any split.",
            sources=[f"the emoji data set {dataset.root[:12]}; attributions in ATTRIBUTION.md beside this folder"],
            command="python -m trainer.evaluation.emoji DATA OUT",
        ),
    )


def held_out(dataset: DataSet) -> list[dict[str, Any]]:
    """Return the rows of held-out emoji, in the data set's order."""
    rows = dataset.rows([*_COLUMNS, *_PLACE], ok_only=True).to_pylist()
    chosen = [row for row in rows if row["split"] == HELD_OUT]
    if not chosen:
        raise UserError(f"{dataset.url} has no rows with split {HELD_OUT!r}: expected the emoji data set")
    return chosen


def write_folder(rows: list[dict[str, Any]], images: NDArray[np.uint8], scratch: Path) -> None:
    """Write images/ (lossless WebP) and table.jsonl for `adopt`."""
    components = identities(rows, images)
    kept = capped(components, [f"{row['x_emoji']}.{row['x_style']}" for row in rows])
    sides = deal(np.array([rows[index]["label"] for index in kept]), components[kept], len(SPLITS), "emoji")
    (scratch / "images").mkdir(parents=True)
    with (scratch / "table.jsonl").open("w", encoding="utf-8") as table:
        for index, side in zip(kept.tolist(), sides.tolist(), strict=True):
            row = _described(rows[index], int(components[index]), SPLITS[side])
            Image.fromarray(images[index]).save(scratch / "images" / row["file"], lossless=True, quality=100)
            table.write(json.dumps(row, ensure_ascii=False) + "\n")


def identities(rows: list[dict[str, Any]], images: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the component of each row: one emoji, captions that differ in person words only, or looks alike."""
    names = [row["x_emoji"] for row in rows], [_family(row) for row in rows]
    pairs = [name_pairs(each, limit=len(rows)) for each in names]
    return connected(len(rows), np.concatenate([*pairs, np.argwhere(np.triu(near(images), 1))]))


def capped(components: NDArray[np.int64], names: list[str]) -> NDArray[np.int64]:
    """Return the indices, in order, of at most COMPONENT_CAP rows of each component."""
    held: Counter[int] = Counter()
    kept = []
    for index in name_order(names).tolist():
        held[int(components[index])] += 1
        if held[int(components[index])] <= COMPONENT_CAP:
            kept.append(index)
    return np.array(sorted(kept), np.int64)


def _described(row: dict[str, Any], component: int, split: str) -> dict[str, Any]:
    kept = {name: row[name] for name in ("label", "x_emoji", "x_style", "x_subgroup")}
    file = f"{row['x_emoji'].lower()}.{row['x_style']}.webp"
    return {"file": file, "caption": row["prompt"], "split": split, "x_component": component, **kept}


def _family(row: dict[str, Any]) -> str:
    name = " ".join(_PERSON.sub(" ", row["prompt"].lower().split(":")[0]).split())
    return name or "person"


app = new_app()


@app.command()
def main(
    data: Annotated[str, typer.Argument(help="The finished emoji data set")],
    out: Annotated[Path, typer.Argument(parser=local_path, help="Folder of the new data set")],
) -> None:
    """Take the held-out identities out of the emoji data set."""
    check_folder(out)
    with tempfile.TemporaryDirectory() as scratch:
        typer.echo(build(data, out, Path(scratch)))


if __name__ == "__main__":
    run_app(app)
