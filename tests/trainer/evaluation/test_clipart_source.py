"""Cliparts: which class a path names, and what a rendered drawing looks like."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manifests.errors import UserError
from trainer.evaluation import clipart_source
from trainer.evaluation.clipart26 import CAP_PER_CLASS, choose
from trainer.evaluation.clipart_source import (
    CLASS_FOLDERS,
    Drawing,
    class_of,
    drawings,
    label_of,
    render,
    title_in,
    unpack_packages,
)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("food/fruit/apple.png", "fruit_veg"),
        ("recreation/games/cards/white/white_c_k.png", "card_game"),
        ("tools/weapons/knife.png", "tool_weapon"),
        ("buildings/furniture/chair.png", None),
        ("computer/icons/lemon/flag.png", None),
        ("foods/fruit/apple.png", None),
    ],
)
def test_the_folder_is_the_class(path: str, expected: str | None) -> None:
    assert class_of(Path(path)) == expected


def test_a_drawing_filed_under_two_classes_has_no_label() -> None:
    assert label_of([Path("animals/birds/hen.png"), Path("unsorted/hen.png")]) == "bird"
    assert label_of([Path("animals/birds/hen.png"), Path("food/meats_and_eggs/hen.png")]) is None
    assert label_of([Path("transportation/aiga-symbols/taxi.png"), Path("transportation/vehicles/taxi.png")]) is None


def test_there_are_26_classes_and_no_folder_names_two() -> None:
    folders = [folder for folders in CLASS_FOLDERS.values() for folder in folders]
    assert len(CLASS_FOLDERS) == 26
    assert len(set(folders)) == len(folders)


def save(path: Path, colour: tuple[int, int, int, int], box: tuple[int, int, int, int]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    page = Image.new("RGBA", (300, 200), (0, 0, 0, 0))
    page.paste(colour, box)
    page.save(path)
    return path


def test_a_drawing_is_cut_to_its_ink_and_centred_on_white(tmp_path: Path) -> None:
    pixels = render(save(tmp_path / "a.png", (255, 0, 0, 255), (200, 100, 280, 140)))
    assert pixels is not None
    assert pixels.shape == (64, 64, 3)
    is_red = pixels[..., 1] < 128
    rows, columns = np.flatnonzero(is_red.any(1)), np.flatnonzero(is_red.any(0))
    assert np.abs(np.array([columns[0], columns[-1], rows[0], rows[-1]]) - [2, 61, 17, 46]).max() <= 1
    assert (pixels[0] == 255).all()


def test_what_is_blank_or_white_or_too_large_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert render(save(tmp_path / "blank.png", (0, 0, 0, 0), (0, 0, 9, 9))) is None
    assert render(save(tmp_path / "white.png", (255, 255, 255, 255), (0, 0, 9, 9))) is None
    drawn = save(tmp_path / "drawn.png", (0, 0, 0, 255), (0, 0, 9, 9))
    monkeypatch.setattr(clipart_source, "MAX_SOURCE_PIXELS", 300 * 200 - 1)
    assert render(drawn) is None


def test_a_copy_is_read_once_and_a_drawing_with_a_missing_part_not_at_all(tmp_path: Path) -> None:
    birds = tmp_path / "png/animals/birds"
    save(birds / "hen.png", (255, 0, 0, 255), (10, 10, 90, 60))
    (birds / "hen_again.png").symlink_to("hen.png")
    save(birds / "torn.png", (0, 0, 255, 255), (10, 10, 90, 90))
    twins = tmp_path / "svg/animals/birds"
    twins.mkdir(parents=True)
    (twins / "hen.svg").write_text("<svg><dc:title>Hen (B &amp;amp; W)</dc:title></svg>")
    (twins / "torn.svg").write_text('<svg><image xlink:href="C:/photo.png"/></svg>')
    found = list(drawings(tmp_path))
    assert [drawing.path.name for drawing in found] == ["hen.png"]
    assert (found[0].label, found[0].title, found[0].title_key) == ("bird", "Hen (B & W)", "hen")


def test_keys_are_the_same_for_versions_of_one_drawing() -> None:
    blank = np.zeros((64, 64, 3), np.uint8)
    colour, outline = (
        Drawing(Path(f"food/desserts/{name}.png"), "dessert_bread", title, blank)
        for name, title in [("flan_balin_01", "Flan"), ("flan_bw_balin_01", "flan_bw")]
    )
    assert colour.path_key == outline.path_key
    assert colour.title_key == outline.title_key
    assert title_in("<svg/>") == ""


def test_a_class_above_the_cap_is_thinned_and_another_is_not() -> None:
    draw = np.random.default_rng(0)
    star = draw.integers(0, 256, (64, 64, 3), np.uint8)
    stars = [Drawing(Path(f"shapes/stars/{i}.png"), "star", "", star) for i in range(CAP_PER_CLASS + 1)]
    hens = [Drawing(Path(f"animals/birds/{i}.png"), "bird", "", star) for i in range(4)]
    labels = [drawing.label for drawing in choose([*stars, *hens])]
    assert (labels.count("star"), labels.count("bird")) == (1, 4)


def test_a_machine_without_apt_gets_one_clear_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="Debian"):
        unpack_packages(tmp_path)
