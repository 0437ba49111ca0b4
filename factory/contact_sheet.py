"""A contact sheet: one group a row, its prompt above, to look at before spending hours."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from factory.generators import open_generator
from factory.numerics import pick_device
from factory.plan import plan_shard
from factory.render import Bench, draw_shard
from factory.resolve import Stream
from factory.segments import Segment
from manifests.commit import Group
from manifests.images import decode_image
from manifests.target import replaced

GAP_PX = 4
TEXT_PX = 14
MAX_SIDE_PX = 256


def contact_sheet(stream: Stream, groups: int, path: Path) -> Path:
    """Render the first groups of a stream and write them as one PNG; no data set is written."""
    import torch

    recipe = stream.recipe
    torch.set_num_threads(recipe.threads)
    segment = Segment(stream_id=stream.stream_id, first_group=0, groups=groups, groups_per_shard=groups, first_shard=0)
    device = pick_device(recipe.device)
    generators = [open_generator(source, device=device, threads=recipe.threads) for source in recipe.sources]
    try:
        drawn = draw_shard(
            plan_shard(recipe, stream.subjects, segment, 0),
            Bench(recipe, dict(enumerate(generators)), stream.fingerprints, stream.learned()),
        )
    finally:
        for generator in generators:
            generator.close()
    page = sheet([_title(group, stream) for group in drawn], [_pictures(group) for group in drawn])
    with replaced(path) as part:
        page.save(part, format="PNG")
    return path


def _title(group: Group, stream: Stream) -> str:
    names = stream.subjects.label_names
    return group.prompt or (names[group.label] if group.label is not None and names else f"group {group.group}")


def _pictures(group: Group) -> list[np.ndarray | str]:
    return [view.row["reason"] if view.data is None else decode_image(view.data) for view in group.views]


def sheet(titles: Sequence[str], rows: Sequence[Sequence[np.ndarray | str]]) -> Image.Image:
    """Lay out rows of images under their titles; a text stands where there is no image.

    Shapes: each image uint8 [H, W, 3]; a row's texts take the size of the row's largest image.
    """
    thumbs = [[cell if isinstance(cell, str) else _thumbnail(cell) for cell in row] for row in rows]
    sizes = [cell.size for row in thumbs for cell in row if not isinstance(cell, str)] or [(64, 64)]
    width, height = max(w for w, _ in sizes), max(h for _, h in sizes)
    columns = max(len(row) for row in rows)
    line_px = TEXT_PX + height + 2 * GAP_PX
    page = Image.new("RGB", (GAP_PX + columns * (width + GAP_PX), GAP_PX + len(rows) * line_px), "white")
    pen = ImageDraw.Draw(page)
    for number, (title, row) in enumerate(zip(titles, thumbs, strict=True)):
        top = GAP_PX + number * line_px
        pen.text((GAP_PX, top), title[: page.width // 6], fill="black")
        for column, cell in enumerate(row):
            corner = (GAP_PX + column * (width + GAP_PX), top + TEXT_PX)
            if isinstance(cell, str):
                pen.rectangle((*corner, corner[0] + width - 1, corner[1] + height - 1), fill="#dddddd")
                pen.text(corner, cell, fill="black")
            else:
                page.paste(cell, corner)
    return page


def _thumbnail(pixels: np.ndarray) -> Image.Image:
    image = Image.fromarray(pixels)
    image.thumbnail((MAX_SIDE_PX, MAX_SIDE_PX))
    return image
