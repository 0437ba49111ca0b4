from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from factory.builtin.emoji_data import GROUPS, Drawing, adopt_folder

LABELS = ("red heart", "pizza", "cat face", "soccer ball", "smile", "house", "o’clock: one", "owl", "fire", "rocket")


@pytest.fixture(scope="session")
def drawings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of twenty made-up drawings in two styles, eighteen of them for training."""
    folder, out = tmp_path_factory.mktemp("drawings"), tmp_path_factory.mktemp("data") / "emoji"
    rows = [_drawing(number, style) for number in range(len(LABELS)) for style in ("noto", "twemoji")]
    for number, row in enumerate(rows):
        pixels = np.full((64, 64, 3), 255, np.uint8)
        pixels[8 + number : 50, 10:50] = [number * 12, 200 - number * 9, 80]
        Image.fromarray(pixels).save(folder / row.file)
    adopt_folder(folder, rows, out)
    return out


def _drawing(number: int, style: str) -> Drawing:
    return Drawing(
        caption=LABELS[number],
        label=number % len(GROUPS),
        x_emoji=f"{number:04X}",
        x_style=style,
        x_group=GROUPS[number % len(GROUPS)],
        x_subgroup="made-up",
        x_tags="red, shape, thing",
        split="test" if number == 9 else "train",
    )
