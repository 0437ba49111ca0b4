"""Public-domain cliparts out of two Debian packages: which folder is which class, and how a drawing becomes 64x64 RGB.

The packages hold 8,121 PNG paths (6,900 files, the rest links) sorted into folders by subject. The folders are the
labels, so they are only as clean as the library's editors left them. A drawing filed under two of our classes has no
label and is left out.
"""

import hashlib
import html
import re
import warnings
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.evaluation.debian import folder_of

PACKAGES = {
    "openclipart-png": ("1:0.18+dfsg-19", "f07f1545a2970c2cf3fa339bc2405da1a95cf2b1827bfa05bf73eb1c20291c02"),
    "openclipart-svg": ("1:0.18+dfsg-19", "989712d90d57dfa3230049f553bb43b76c30ee4d4b8c5f6e106e33f7db5cbdc5"),
}
CLIPARTS = Path("usr/share/openclipart")

CLASS_FOLDERS: dict[str, tuple[str, ...]] = {
    "arrow": ("shapes/arrows",),
    "beverage": ("food/beverages",),
    "bird": ("animals/birds",),
    "bug": ("animals/bugs",),
    "building": ("buildings",),
    "card_game": ("recreation/games",),
    "clothing": ("people/clothing",),
    "dessert_bread": ("food/desserts", "food/breads_and_carbs"),
    "flag": ("signs_and_symbols/flags",),
    "fruit_veg": ("food/fruit", "food/vegetables"),
    "hardware": ("computer/hardware",),
    "mammal": ("animals/mammals",),
    "map_symbol": ("signs_and_symbols/map_symbols",),
    "meat_egg_dairy": ("food/meats_and_eggs", "food/dairy"),
    "music": ("recreation/music",),
    "party_holiday": ("recreation/party", "recreation/holiday"),
    "person": ("people/stickmen",),
    "plant": ("plants",),
    "roadsign": ("transportation/roadsigns",),
    "sea_reptile": ("animals/fish", "animals/amphibian", "animals/dinosaurs"),
    "smiley": ("people/smilies",),
    "sport": ("recreation/sports",),
    "star": ("shapes/stars",),
    "tool_weapon": ("tools",),
    "vehicle": ("transportation/vehicles",),
    "weather": ("signs_and_symbols/weather",),
}
# Pictograms and icons: the same drawings are filed under maps, signs, hardware and others, so they name no subject.
LABELLESS_FOLDERS = ("transportation/aiga-symbols", "computer/icons", "buildings/furniture", "unsorted")

SIZE_PX = 64
MAX_SOURCE_PIXELS = 64_000_000  # two files of the package are larger than 160 Mpx
INK_BELOW = 250  # of 255: what is lighter counts as paper
MARGIN_FRACTION = 1 / 32  # white on each side
BLANK_DEVIATION = 6.0  # of 255: standard deviation of the rendered pixels


@dataclass(frozen=True)
class Drawing:
    """One distinct file of the package and the class its folders give it."""

    path: Path  # relative to the package's png folder
    label: str
    title: str
    pixels: NDArray[np.uint8]  # [64, 64, 3]

    @property
    def title_key(self) -> str:
        """The title without case, punctuation and "(B and W)"."""
        return _words(re.sub(r"\([^)]*\)", " ", self.title))

    @property
    def path_key(self) -> str:
        """The path without the mark of a black and white or outlined version."""
        return _words(self.path.with_suffix("").as_posix())


_VARIANTS = {"bw", "contour"}


def _words(name: str) -> str:
    return " ".join(word for word in re.findall(r"[a-z0-9/]+", name.lower()) if word not in _VARIANTS)


def unpack_packages(scratch: Path) -> Path:
    """Find both packages, installed or downloaded; return the folder that holds png/ and svg/.

    Raises: UserError where apt is missing or a package is not the one that was checked.
    """
    return folder_of(PACKAGES, CLIPARTS, scratch)


def class_of(path: Path) -> str | None:
    """Return the class of a path such as food/fruit/apple.png, None where its folder names no class."""
    folder = path.parent.as_posix() + "/"
    if any(folder.startswith(f"{prefix}/") for prefix in LABELLESS_FOLDERS):
        return None
    return next((c for c, prefixes in CLASS_FOLDERS.items() if any(folder.startswith(f"{p}/") for p in prefixes)), None)


def label_of(paths: list[Path]) -> str | None:
    """Return the one class of all places where the same bytes are filed, None where there is none or more than one."""
    if any(path.as_posix().startswith(LABELLESS_FOLDERS[0]) for path in paths):
        return None
    classes = {name for path in paths if (name := class_of(path))}
    return classes.pop() if len(classes) == 1 else None


def drawings(root: Path) -> Iterator[Drawing]:
    """Yield every distinct, labelled, complete and non-blank clipart under `root`, in order of path."""
    by_content: dict[str, list[Path]] = defaultdict(list)
    for path in sorted((root / "png").rglob("*.png")):
        by_content[hashlib.md5(path.read_bytes()).hexdigest()].append(path.relative_to(root / "png"))
    for paths in by_content.values():
        label = label_of(paths)
        if label is None:
            continue
        svg = _text(root / "svg" / paths[0].with_suffix(".svg"))
        pixels = None if _LINKED_IMAGE.search(svg) else render(root / "png" / paths[0])
        if pixels is not None:
            yield Drawing(paths[0], label, title_in(svg), pixels)


_LINKED_IMAGE = re.compile(r'<image[^>]*xlink:href="(?!data:)[^"]')  # a file that the package lacks: its tile says so


def _text(svg: Path) -> str:
    return svg.read_text("utf-8", "replace") if svg.is_file() else ""


def render(path: Path) -> NDArray[np.uint8] | None:
    """Return the drawing, cut to its ink, on a white square; None for what is blank or too large to decode."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        try:
            image = Image.open(path)
        except Image.DecompressionBombError:
            return None
    if image.width * image.height > MAX_SOURCE_PIXELS:
        return None
    drawn = image.convert("RGBA")
    page = Image.alpha_composite(Image.new("RGBA", drawn.size, "white"), drawn).convert("RGB")
    box = page.convert("L").point(lambda level: 255 * (level < INK_BELOW)).getbbox()
    return _framed(page.crop(box)) if box else None


def _framed(ink: Image.Image) -> NDArray[np.uint8] | None:
    side = round(max(ink.size) / (1 - 2 * MARGIN_FRACTION))
    square = Image.new("RGB", (side, side), "white")
    square.paste(ink, ((side - ink.width) // 2, (side - ink.height) // 2))
    pixels = np.asarray(square.resize((SIZE_PX, SIZE_PX), Image.Resampling.LANCZOS))
    return pixels if pixels.std() > BLANK_DEVIATION else None


def title_in(svg: str) -> str:
    """Return the title in an SVG's metadata, "" where there is none."""
    found = re.search(r"<dc:title[^>]*>([^<]*)</dc:title>", svg)
    return " ".join(html.unescape(html.unescape(found.group(1))).split()) if found else ""
