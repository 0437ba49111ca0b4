from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manifests.adopt import adopt

SIDE_PX = 16
CLASSES = ("discs", "bars")


def picture(number: int) -> np.ndarray:
    """Draw a disc or a bar in a colour of its own on white."""
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    middle = 5 + number % 6
    is_disc = (rows - middle) ** 2 + (columns - 8) ** 2 < 16
    is_thing = is_disc if number % 2 == 0 else abs(columns - middle) < 3
    colour = [number * 9 % 200, 40 + number * 5 % 150, 200 - number * 7 % 180]
    return np.where(is_thing[:, :, None], colour, 255).astype(np.uint8)


def make(folder: Path, rows: list[dict[str, object]], pictures: list[np.ndarray]) -> Path:
    source = folder / "pictures"
    source.mkdir(parents=True)
    for row, pixels in zip(rows, pictures, strict=True):
        Image.fromarray(pixels).save(source / str(row["file"]))
    table = source / "table.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    adopt(source, folder / "data", table=table, name="shapes", licence="CC0-1.0", label_names=CLASSES)
    return folder / "data"


@pytest.fixture(scope="session")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of thirty pictures in two classes, the last six of them held out."""
    rows: list[dict[str, object]] = [
        {"file": f"{number:02}.png", "label": CLASSES[number % 2], "split": "train" if number < 24 else "test"}
        for number in range(30)
    ]
    return make(tmp_path_factory.mktemp("shapes"), rows, [picture(number) for number in range(30)])
