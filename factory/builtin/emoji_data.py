"""Renders the emoji drawings into captioned images: six styles, one white 64x64 picture each.

Order is fixed (Unicode's order, then style), so that an image's number means the same in every checkpoint.
"""

from __future__ import annotations

import io
import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from factory.builtin.emoji_sources import NAMES, STYLES, Emoji, IconSet, base_emoji, fetch, icon_set
from factory.builtin.emoji_split import split_of
from manifests.adopt import adopt
from manifests.card import CardFacts

SIZE_PX = 64
LICENCE = "Apache-2.0 AND MIT AND CC-BY-4.0"
GROUPS = (
    "smileys-emotion",
    "people-body",
    "animals-nature",
    "food-drink",
    "travel-places",
    "activities",
    "objects",
    "symbols",
)


@dataclass(frozen=True)
class Drawing:
    """What is known of one picture; the x_ columns stand in the data set's rows under these names."""

    caption: str
    label: int
    x_emoji: str
    x_style: str
    x_group: str
    x_subgroup: str
    x_tags: str
    split: str

    @property
    def file(self) -> str:
        """The picture's file name, unique among all."""
        return f"{self.x_emoji.lower()}.{self.x_style}.png"


Planned = tuple[Drawing, str]  # with its SVG


def build(out: str | Path, cache: Path, watched: Callable[[list[Planned]], Iterable[Planned]]) -> str:
    """Fetch and render every drawing, and adopt them as a data set at `out`; return its root.

    `watched` passes the drawings through while they are rendered, for a progress bar.

    Raises: UserError where a package cannot be fetched, or `out` holds something else.
    """
    emoji = base_emoji(fetch(NAMES, cache))
    icon_sets = {style: icon_set(fetch(package, cache)) for style, package in STYLES.items()}
    planned = list(drawings(emoji, icon_sets))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for drawing, svg in watched(planned):
            (folder / drawing.file).write_bytes(render_png(svg))
        return adopt_folder(folder, [drawing for drawing, _ in planned], out)


def adopt_folder(folder: Path, rows: list[Drawing], out: str | Path) -> str:
    """Make a data set of a folder of pictures, one group each, in the rows' order; return its root."""
    table = folder / "captions.jsonl"
    lines = [json.dumps({"file": row.file, **asdict(row)}, ensure_ascii=False) + "\n" for row in rows]
    table.write_text("".join(lines), encoding="utf-8")
    facts = CardFacts(
        summary="Emoji drawings in six styles with their Unicode names; a fifth of the identities is held out as test.",
        sources=[f"{style}: {package.name} {package.version} ({package.licence})" for style, package in STYLES.items()],
        command="python -m factory builtin emoji-data OUT",
    )
    return adopt(folder, out, table=table, name="emoji", licence=LICENCE, label_names=GROUPS, card=facts)


def drawings(emoji: list[Emoji], icon_sets: dict[str, IconSet]) -> Iterator[Planned]:
    """Yield every drawing with its SVG, by emoji and then by style."""
    for one in emoji:
        shared_names = [icons.names[one.code_points] for icons in icon_sets.values() if one.code_points in icons.names]
        for style, icons in icon_sets.items():
            own_name = [icons.names[one.code_points]] if one.code_points in icons.names else []
            found = icons.find(own_name or [*shared_names, one.slug])
            if found is not None:
                yield _describe(one, style), icons.svg(found)


def render_png(svg: str) -> bytes:
    """Render an SVG on white, padded to a square.

    Shapes: 64x64 RGB.
    """
    import resvg_py
    from PIL import Image

    drawn = bytes(resvg_py.svg_to_bytes(svg_string=svg, width=SIZE_PX, height=SIZE_PX))
    with Image.open(io.BytesIO(drawn)) as image:
        rgba = image.convert("RGBA")
    square = Image.new("RGBA", (SIZE_PX, SIZE_PX), "white")
    square.alpha_composite(rgba, ((SIZE_PX - rgba.width) // 2, (SIZE_PX - rgba.height) // 2))
    encoded = io.BytesIO()
    square.convert("RGB").save(encoded, "PNG", optimize=True)
    return encoded.getvalue()


def _describe(emoji: Emoji, style: str) -> Drawing:
    return Drawing(
        caption=emoji.label,
        label=GROUPS.index(emoji.group),
        x_emoji=emoji.hexcode,
        x_style=style,
        x_group=emoji.group,
        x_subgroup=emoji.subgroup,
        x_tags=", ".join(emoji.tags),
        split=split_of(emoji.label),
    )
