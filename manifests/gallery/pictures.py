"""Small pictures of many groups in one file: a row a group, a column a view."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from manifests.dataset import DataSet
from manifests.description import thumbnail
from manifests.errors import CorruptError
from manifests.images import decode_image
from manifests.target import replaced

_QUALITY = 82
_MOST_PX = 16_000  # a side of a WebP has at most 16,383


def write_sprite(dataset: DataSet, groups: Sequence[Sequence[dict[str, Any]]], path: Path, thumb_px: int) -> None:
    """Write the pictures of groups; one that cannot be read is grey.

    Shapes: len(groups) * thumb_px high, views * thumb_px wide.
    """
    views = min(max(map(len, groups)), _MOST_PX // thumb_px)
    page = Image.new("RGB", (views * thumb_px, len(groups) * thumb_px), "#888888")
    for line, rows in enumerate(groups):
        for column, row in enumerate(rows[:views]):
            try:
                picture = thumbnail(decode_image(dataset.peek(row)), thumb_px)
            except CorruptError:
                continue
            page.paste(picture, (column * thumb_px, line * thumb_px))
    with replaced(path) as part:
        page.save(part, "WEBP", quality=_QUALITY, method=2)
