"""A union with weights is drawn from as several data sets, and nobody trains on what was taken down."""

from pathlib import Path

import pytest

from manifests import open_dataset
from manifests.errors import ConflictError
from manifests.merge import merge
from manifests.takedown import takedown
from tests.trainer.data import make_dataset
from trainer.config import load_config
from trainer.mixture import mixture
from trainer.run import open_run


@pytest.fixture
def sets(tmp_path: Path) -> list[str]:
    return [
        make_dataset(tmp_path / name, groups=groups, stream_id=name * 32, size_px=size_px)
        for name, groups, size_px in (("ab", 12, 32), ("cd", 6, 24), ("ef", 6, 16))
    ]


def test_a_union_divides_its_share_by_its_weights(sets: list[str], tmp_path: Path) -> None:
    one, two, three = map(open_dataset, sets)
    union = merge([one, two], tmp_path / "union", weights=[3, 1])
    drawn, weights = mixture([union, three], None)
    assert [len(part.groups()) for part in drawn] == [len(part.groups()) for part, _ in union.parts()] + [6]
    total = union.version.groups_ok
    assert weights == pytest.approx((total * 0.75, total * 0.25, 6.0))
    assert mixture([union, three], [2.0, 1.0])[1] == pytest.approx((1.5, 0.5, 1.0))


def test_without_weights_a_union_is_one_data_set(sets: list[str], tmp_path: Path) -> None:
    union = merge(list(map(open_dataset, sets[:2])), tmp_path / "union")
    assert mixture([union], None) == ([union], None)
    assert mixture([union], (1.0,)) == ([union], (1.0,))


def test_a_run_on_data_that_lost_a_group_is_refused(sets: list[str], tmp_path: Path) -> None:
    config, data = load_config("simclr", ["images=64", "batch_images=8"]), open_dataset(sets[0])
    union = merge([data, open_dataset(sets[1])], tmp_path / "union")
    open_run(tmp_path / "run", config, [union.url])
    takedown(data, keys=[data.groups().key[0]])
    with pytest.raises(ConflictError, match=r"has 1 groups that were taken down since .*merge again"):
        open_run(tmp_path / "run", config, [union.url])
    open_run(tmp_path / "other", config, [sets[0]])
