"""A store that fails for a while costs no rendering; one that stays down ends the job in a line, a mistake at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory import job
from factory.job import Options, begin, finish
from factory.recipe import Recipe
from factory.runs import read_runs
from manifests import verify
from manifests.errors import StoreError, UserError
from manifests.patience import WAITS_S, PatientStore
from manifests.store import Store
from tests.factory import recipes
from tests.factory.cheap import CheapWorkshop


@pytest.fixture(autouse=True)
def cheap(monkeypatch: pytest.MonkeyPatch) -> None:
    """Render noise, and wait for nothing."""
    monkeypatch.setattr("factory.crew.Workshop", CheapWorkshop)
    monkeypatch.setattr("manifests.patience.WAITS_S", (0.0,) * len(WAITS_S))


def failing(monkeypatch: pytest.MonkeyPatch, put: str, prefix: str, error: Exception, times: float) -> list[str]:
    """Let the first puts of objects with a prefix fail; returns the names that were tried, as they are."""
    tried: list[str] = []
    real = getattr(Store, put)

    def faulty(store: Store, thing: Path | bytes, name: str) -> None:
        if name.startswith(prefix):
            tried.append(name)
            if len(tried) <= times:
                raise error
        real(store, thing, name)

    monkeypatch.setattr(Store, put, faulty)
    return tried


def make(out: Path) -> str:
    work = begin(Recipe.model_validate(recipes.settings()), str(out), Options(inline=True))
    job.run(work)
    return finish(work)


@pytest.mark.parametrize(
    ("put", "prefix"), [("put_file", "shards/"), ("put_bytes", "commits/"), ("replace_bytes", "dataset.json")]
)
def test_a_store_that_fails_for_a_while_costs_no_rendering(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, put: str, prefix: str
) -> None:
    root = make(tmp_path / "undisturbed")
    tried = failing(monkeypatch, put, prefix, StoreError("s3://b/x: reset"), times=len(WAITS_S))
    assert make(tmp_path / "data") == root
    assert len(tried) > len(WAITS_S)
    assert read_runs(Store.open(tmp_path / "data")).rendered == 3
    assert verify(tmp_path / "data", deep=True).problems == []


def test_a_store_that_stays_down_ends_the_job_in_one_line_and_the_next_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        tried = failing(patch, "put_file", "shards/", StoreError("s3://b/x: reset"), times=float("inf"))
        with pytest.raises(StoreError, match=r"^s3://b/x: reset$"):
            make(tmp_path / "data")
    assert len(tried) <= 3 * 3 * (1 + len(WAITS_S))  # three attempts at each of three shards
    assert make(tmp_path / "data") == make(tmp_path / "undisturbed")


def test_a_mistake_of_the_user_ends_the_job_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = failing(monkeypatch, "put_file", "shards/", UserError("s3://b/x: access denied"), times=float("inf"))
    with pytest.raises(UserError, match=r"^s3://b/x: access denied$"):
        make(tmp_path / "data")
    assert len(set(tried)) == len(tried) <= 2  # the second shard may have been under way


def test_a_put_that_fails_every_time_waits_longer_and_longer_and_gives_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []
    monkeypatch.setattr("manifests.patience.WAITS_S", WAITS_S)
    monkeypatch.setattr("time.sleep", slept.append)
    tried = failing(monkeypatch, "put_bytes", "a", StoreError("down"), times=float("inf"))
    with pytest.raises(StoreError, match="down"):
        PatientStore.open(tmp_path).put_bytes(b"x", "a")
    assert (slept, len(tried)) == (list(WAITS_S), 1 + len(WAITS_S))
    assert slept == sorted(slept)


def test_a_stored_recipe_that_cannot_be_reached_is_not_called_corrupt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make(tmp_path / "data")

    def down(store: Store, name: str, offset: int = 0, size: int | None = None) -> bytes:
        raise StoreError(f"{name}: reset")

    monkeypatch.setattr(Store, "get_bytes", down)
    with pytest.raises(StoreError, match="reset"):
        make(tmp_path / "data")
