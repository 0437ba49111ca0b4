"""--runtime-env: a YAML mapping, handed to Ray as it stands, and there in every worker."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from factory import job
from factory.__main__ import _environment
from factory.cluster import actor_options, needs_of
from manifests.errors import UserError
from tests.factory import cheap
from tests.factory.cheap import CheapWorkshop


def test_what_ray_is_told_is_the_needs_and_the_environment() -> None:
    needs = {"num_gpus": 0.5, "num_cpus": 1, "resources": {"A100": 0.01}}
    environment = {"env_vars": {"HF_TOKEN": "secret"}}
    assert actor_options(needs, None) == actor_options(needs, {}) == needs
    assert actor_options(needs, environment) == {**needs, "runtime_env": environment}
    assert needs_of(actor_options(needs, environment)) == needs_of(needs)
    assert "runtime_env" not in needs  # which are shown where no worker fits


def test_the_file_is_a_yaml_mapping(tmp_path: Path) -> None:
    path = tmp_path / "env.yaml"
    path.write_text("env_vars: {HF_TOKEN: secret}\n")
    assert _environment(None) is None
    assert _environment(path) == {"env_vars": {"HF_TOKEN": "secret"}}
    path.write_text("- HF_TOKEN\n")
    with pytest.raises(UserError, match="a runtime environment is a mapping"):
        _environment(path)
    path.write_text("env_vars: {HF_TOKEN: [\n")
    with pytest.raises(UserError, match="no YAML"):
        _environment(path)


class Telling(CheapWorkshop):
    """Tells a variable of its process."""

    def open(self) -> dict[str, str]:
        return {**super().open(), "told": os.environ.get("VIEWMILL_TEST_TOLD", "nothing")}


@pytest.mark.ray
def test_every_worker_has_the_variables(ray_cluster: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("factory.crew.Workshop", Telling)
    options = job.Options(workers=1, runtime_env={"env_vars": {"VIEWMILL_TEST_TOLD": "this"}})
    work = job.begin(cheap.recipe(), str(tmp_path), options)
    job.run(work)
    assert work.seen_numerics == [{"device": "none", "told": "this"}]
    assert "VIEWMILL_TEST_TOLD" not in os.environ
