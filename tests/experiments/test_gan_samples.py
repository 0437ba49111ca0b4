"""What is compared is what a run draws at its end, not the best that its folder holds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from experiments.gan_samples import GAP_PX, SHEET_COLUMNS, drawings, drawn, measure, newest, samples_sheet
from factory.gan import quality
from tests.factory.gan import tiny
from tests.factory.gan.conftest import make, picture
from tests.factory.gan.test_bank import exported


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows: list[dict[str, object]] = [{"file": f"{number:02}.png"} for number in range(48)]
    return str(make(tmp_path_factory.mktemp("drawings"), rows, [picture(number) for number in range(48)]))


@pytest.fixture(scope="module")
def run(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that got worse and worse by its judge."""
    out, worse = tmp_path_factory.mktemp("run") / "gan", iter(range(1, 9))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(quality.Yardstick, "measure", lambda *_: {quality.MEASURE: float(next(worse))})
        measured = "{every_images: 8, samples_images: 8}"
        tiny.run(
            Path(data), out, images=24, cooldown_images=1, conditional=False, quality=measured, checkpoint_images=8
        ).go()
    return out


def test_the_newest_average_is_measured_and_once(data: str, run: Path, tmp_path: Path) -> None:
    described = (run / "generator.json").read_text()
    assert '"images_seen": 8' in described, "the folder holds the best"
    seen, net = newest(run)
    assert seen == 24
    judge = str(exported(tmp_path / "judge", img_size=16, patch_size=8, depth=1, num_heads=2, embed_dim=8))
    found = measure(run, data, judge, 16)
    assert found["images_seen"] == 24
    assert found["frechet"] > 0
    written = (run / "newest-24-16.json").stat().st_mtime_ns
    assert measure(run, data, judge, 16) == found
    assert (run / "newest-24-16.json").stat().st_mtime_ns == written
    assert torch.equal(torch.tensor(drawn(net, 3)), torch.tensor(drawn(newest(run)[1], 3)))


def test_the_sheet_shows_real_drawings_and_those_of_each_generator(data: str, run: Path) -> None:
    net = newest(run)[1]
    sheet = np.asarray(samples_sheet([net, net], data))
    side_px = 16
    pitch_px = 2 * side_px + GAP_PX
    assert sheet.shape == (3 * pitch_px, SHEET_COLUMNS * side_px, 3)
    real, generated = drawings(data, 2 * SHEET_COLUMNS, side_px), drawn(net, 2 * SHEET_COLUMNS)
    np.testing.assert_array_equal(sheet[:side_px, :side_px], real[0])
    for start in (pitch_px, 2 * pitch_px):
        np.testing.assert_array_equal(sheet[start : start + side_px, -side_px:], generated[SHEET_COLUMNS - 1])
