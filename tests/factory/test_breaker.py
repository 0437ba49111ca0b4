"""A run that is refused wholesale stops; a few bad images among many, or a bad start, do not stop it."""

from __future__ import annotations

from pathlib import Path

import pytest

from factory import job
from factory.breaker import is_tripped, quarantined_fraction
from factory.retry import retry
from factory.telemetry import Telemetry
from manifests.errors import UserError
from manifests.store import Store
from tests.factory import cheap
from tests.factory.cheap import CheapWorkshop, Noise


def test_the_share_is_of_the_views_that_were_refused_themselves() -> None:
    assert quarantined_fraction({"ok": 2, "dropped": 1, "quarantined": 1}) == 0.25
    assert quarantined_fraction({}) == 0.0


def test_a_hundred_views_say_something_and_fewer_do_not() -> None:
    assert is_tripped({"quarantined": 51, "ok": 49}, 0.5)
    assert not is_tripped({"quarantined": 50, "ok": 50}, 0.5)
    assert not is_tripped({"quarantined": 99}, 0.5)
    assert not is_tripped({"quarantined": 999}, 1.0)


class Flagging(CheapWorkshop):
    """Its safety checker sees something in every first view."""

    def open(self) -> dict[str, str]:
        numerics = super().open()
        spoilt = {(group, 0): ("flagged", "nan", "nan") for group in range(200)}
        self._generators = [Noise(spoilt, batch_s=0.0)]
        return numerics


def run(out: Path, limit: float) -> job.Job:
    recipe = cheap.recipe(groups=200, groups_per_shard=20, batch=20)
    work = job.begin(recipe, str(out), job.Options(inline=True, max_quarantined=limit))
    job.run(work, telemetry=Telemetry())
    return work


def test_a_job_stops_before_it_has_spent_everything_and_retry_forgets_what_was_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("factory.crew.Workshop", Flagging)
    with pytest.raises(job.QuarantineError, match=r"50% of \d+ views were refused, more than --max-quarantined 0.4"):
        run(tmp_path, 0.4)
    store = Store.open(tmp_path)
    refused = [name for name, _ in store.list("commits")]
    assert 3 <= len(refused) <= 5

    with pytest.raises(UserError, match=r"no view was quarantined for 'blank'; quarantined: flagged, 2 x nan \(\d+\)"):
        retry(store, "blank")
    assert retry(store, "nan", dry_run=True).forgotten == refused
    assert [name for name, _ in store.list("commits")] == refused

    monkeypatch.setattr("factory.crew.Workshop", CheapWorkshop)
    monkeypatch.setattr(CheapWorkshop, "batch_s", 0.0)
    assert retry(store, "flagged").views == 20 * len(refused)
    work = run(tmp_path, 0.4)
    assert {views for record in work.records.values() for views in record.views} == {"ok"}
    job.finish(work)


def test_what_a_version_names_is_not_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factory.crew.Workshop", Flagging)
    job.finish(run(tmp_path, 1.0))
    store = Store.open(tmp_path)
    done = retry(store, "nan")
    assert (done.forgotten, done.kept_shards) == ([], 10)
    assert len(store.list("commits")) == 10
