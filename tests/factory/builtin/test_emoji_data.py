"""From packages to pictures, on small packages made here: what is fetched, joined, rendered and adopted."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from factory.builtin import emoji_data, emoji_sources, folder
from factory.builtin.emoji_data import Drawing, render_png
from factory.builtin.emoji_sources import Emoji, IconSet, Package, base_emoji, fetch, icon_set
from factory.builtin.images import load
from manifests.errors import UserError

SQUARE = '<rect width="16" height="16" fill="#f00"/>'


def _tarball(path: Path, files: dict[str, Any]) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, value in files.items():
            data = json.dumps(value).encode()
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


def _emoji(hexcode: str, label: str) -> Emoji:
    return Emoji(hexcode, label, ("tag",), "objects", "tool")


def test_a_tarball_with_another_hash_is_never_opened(tmp_path: Path) -> None:
    package = Package("@scope/name", "1.0.0", sha256="0" * 64, licence="MIT")
    (tmp_path / package.file_name).write_bytes(b"not what was pinned")
    with pytest.raises(UserError, match="expected 0000"):
        fetch(package, tmp_path)


def test_the_base_list_has_neither_flags_nor_parts_nor_what_came_later(tmp_path: Path) -> None:
    def row(label: str, order: int, group: int | None, version: float) -> dict[str, Any]:
        place = {} if group is None else {"group": group, "subgroup": 0}
        return {"hexcode": f"1F{order}", "label": label, "order": order, "version": version, "tags": ["x"], **place}

    data = [row("b", 2, 0, 1), row("a", 1, 1, 16), row("flag", 3, 9, 1), row("hair", 4, 2, 1), row("new", 5, 0, 17)]
    meta = {"groups": {"0": "objects", "1": "symbols", "2": "component", "9": "flags"}, "subgroups": {"0": "tool"}}
    tarball = _tarball(
        tmp_path / "names.tgz", {"en/data.json": [*data, row("letter", 6, None, 0)], "meta/groups.json": meta}
    )
    assert [one.label for one in base_emoji(tarball)] == ["a", "b"]


def test_drawings_are_joined_by_code_point_then_by_a_name_another_style_gives_then_by_slug(tmp_path: Path) -> None:
    icons = {name: {"body": SQUARE} for name in ("hammer-tool", "open-box", "saw")}
    coded = icon_set(
        _tarball(tmp_path / "a.tgz", {"icons.json": {"icons": icons}, "chars.json": {"1f528": "hammer-tool"}})
    )
    named = IconSet(icons, {"box": {"parent": "open-box"}, "turned": {"parent": "saw", "rotate": 1}}, {}, 16, 16)
    emoji = [_emoji("1F528-FE0F", "hammer"), _emoji("1F4E6", "box"), _emoji("1F6E0", "turned")]
    found = [(one.caption, one.x_style) for one, _ in emoji_data.drawings(emoji, {"noto": coded, "noto-v1": named})]
    assert found == [("hammer", "noto"), ("hammer", "noto-v1"), ("box", "noto-v1")]


def test_a_wide_drawing_is_padded_with_white_to_a_square() -> None:
    icons = IconSet({"wide": {"body": SQUARE, "width": 16, "height": 8}}, {}, {}, 16, 16)
    pixels = np.asarray(Image.open(io.BytesIO(render_png(icons.svg("wide")))))
    assert pixels.shape == (64, 64, 3)
    assert (pixels[32, 32] == [255, 0, 0]).all()
    assert (pixels[[0, -1]] == 255).all()


def test_the_data_set_gives_back_rows_and_pixels_in_order(drawings: Path) -> None:
    loaded = load(drawings)
    assert [row.x_emoji for row in loaded.rows[:4]] == ["0000", "0000", "0001", "0001"]
    assert isinstance(loaded.rows[0], Drawing)
    assert (loaded.pixels[3, 30, 30] == [3 * 12, 200 - 3 * 9, 80]).all()
    assert len(loaded.part("test").rows) == 2


def test_another_data_set_is_refused(tmp_path: Path) -> None:
    from manifests.adopt import adopt

    (tmp_path / "in").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "in" / "a.png")
    adopt(tmp_path / "in", tmp_path / "out")
    with pytest.raises(UserError, match="emoji-data"):
        load(tmp_path / "out")


def test_an_unknown_built_in_name_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="builtin:emoji-diffusion"):
        folder("builtin:emoji-difusion")


def test_every_pinned_package_is_openly_licensed_without_share_alike() -> None:
    for package in (emoji_sources.NAMES, *emoji_sources.STYLES.values()):
        assert package.licence in {"MIT", "Apache-2.0", "CC-BY-4.0"}
        assert len(package.sha256) == 64
