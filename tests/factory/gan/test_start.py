"""Bettering a generator that is there: its weights, its provenance, and what is refused."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from factory.gan import phases, quality
from factory.gan.config import load_config
from factory.gan.start import open_start
from manifests.errors import ConflictError, UserError
from tests.factory.gan import tiny
from tests.factory.gan.test_train import KILLED_AT_STEP, command, start

MEASURED = {"quality": "{every_images: 20, samples_images: 12}", "checkpoint_images": 20}


@pytest.fixture(scope="module")
def plain(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A generator that is there already."""
    out = tmp_path_factory.mktemp("plain") / "gan"
    tiny.run(shapes, out, images=20, dtype="float32").go()
    return out


def test_it_begins_with_both_players_and_the_average_of_the_folder(shapes: Path, plain: Path, tmp_path: Path) -> None:
    run = tiny.run(shapes, tmp_path / "gan", start=plain)
    run._pin()
    run._start(phases.phases(run.config, run.out / "training")[0])
    nets = {"generator": run.learner.average.module, "training/G": run.learner.generator}
    nets["training/D"] = run.learner.discriminator
    for file, net in nets.items():
        there = load_file(plain / f"{file}.safetensors")
        assert all(torch.equal(value, there[name]) for name, value in net.state_dict().items()), file


def test_the_average_does_not_forget_a_start_as_it_forgets_random_weights(
    shapes: Path, plain: Path, tmp_path: Path
) -> None:
    there = load_file(plain / "generator.safetensors")

    def share_kept(**settings: object) -> float:
        run = tiny.run(shapes, tmp_path / f"gan-{len(settings)}", **settings)
        run.learner.average.module.load_state_dict(there)
        before = there["mapping.layers.0.weight"]
        with torch.no_grad():
            run.learner.generator.mapping.layers[0].weight.copy_(before + 1)
        run.learner._average(None, 4, 4)
        moved = run.learner.average.module.state_dict()["mapping.layers.0.weight"] - before
        return 1 - float(moved.mean())

    assert share_kept(start=plain) > 0.99
    assert share_kept() < 0.01


def test_the_folder_names_its_start_by_hash_and_keeps_it_until_something_is_better(
    shapes: Path, plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Worse(quality.Yardstick):
        def measure(self, *args: object) -> dict[str, object]:
            found = super().measure(*args)  # type: ignore[arg-type]
            Worse.calls += 1
            return {**found, quality.MEASURE: float(Worse.calls)}

        calls = 0

    monkeypatch.setattr(quality, "Yardstick", Worse)
    out = tmp_path / "gan"
    tiny.run(shapes, out, start=plain, dtype="float32", **MEASURED).go()
    assert sorted(quality.measured(out / "training/quality.jsonl")) == [0, 20, 40]
    described = json.loads((out / "generator.json").read_text())
    assert described["made_from"]["images_seen"] == 0
    assert described["made_from"]["start"].keys() == {"model", "average", "G", "D"}
    theirs = json.loads((plain / "generator.json").read_text())
    assert described["weights_sha256"] == theirs["weights_sha256"] == described["made_from"]["start"]["average"]


def test_killed_it_goes_on_bit_for_bit_even_when_the_start_is_gone(shapes: Path, plain: Path, tmp_path: Path) -> None:
    beginning = shutil.copytree(plain, tmp_path / "beginning")
    tiny.run(shapes, tmp_path / "straight", start=beginning).go()
    killed = start(["-c", KILLED_AT_STEP.format(images_seen=28)], command(shapes, tmp_path / "gan", start=beginning))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    shutil.rmtree(beginning)
    finished = start(["-m", "factory"], command(shapes, tmp_path / "gan", start=beginning))
    assert finished.returncode == 0, finished.stderr
    tiny.assert_same_state(tmp_path / "gan", tmp_path / "straight")


def test_a_start_that_changed_before_the_first_checkpoint_is_refused(shapes: Path, plain: Path, tmp_path: Path) -> None:
    beginning = shutil.copytree(plain, tmp_path / "beginning")
    tiny.run(shapes, tmp_path / "gan", start=beginning)._pin()
    weights = load_file(beginning / "training/D.safetensors")
    save_file({name: value + 1 for name, value in weights.items()}, beginning / "training/D.safetensors")
    with pytest.raises(ConflictError, match=r"beginning has changed since this run began: D: '\w+"):
        tiny.run(shapes, tmp_path / "gan", start=beginning).go()


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"generator__mapping_layers": 3}, r"other networks than the config: generator\.mapping_layers: 2 there, 3"),
        ({"conditional": False}, r"classes: \['discs', 'bars'\] there, \[\] here"),
        ({"discriminator__mapping_layers": 2}, r"discriminator\.mapping_layers: 1 there, 2 here"),
        ({"start": "builtin:emoji-stylegan2"}, r"has no training/G.safetensors: training goes on with both players"),
        ({"start": "nowhere"}, r"nowhere: no such folder"),
    ],
)
def test_what_cannot_be_gone_on_from_is_refused_in_a_line(
    shapes: Path, plain: Path, tmp_path: Path, settings: dict[str, object], told: str
) -> None:
    with pytest.raises(UserError, match=told) as caught:
        tiny.run(shapes, tmp_path / "gan", **{"start": plain, **settings})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "gan").exists()


def test_another_family_is_refused(plain: Path, tmp_path: Path) -> None:
    source = tmp_path / "other.yaml"
    source.write_text(f"name: other\nimages: 8\nstart: {plain}\ngenerator: {{family: dcgan, resolution: 16}}\n")
    with pytest.raises(UserError, match=r"is a stylegan2; got generator.family=dcgan"):
        open_start(load_config(str(source)), ["discs", "bars"])


def test_a_fresh_run_has_no_start(shapes: Path) -> None:
    assert open_start(tiny.config(), ["discs", "bars"]) is None
    assert "start" not in tiny.config().identity()
