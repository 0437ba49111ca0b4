"""Vision-aided runs: who comes in when, from which checkpoint, and that a kill anywhere changes nothing."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from factory.gan import phases, quality
from factory.gan.learner import GanLearner
from factory.gan.phases import Phase
from learning import checkpoint
from manifests.errors import UserError
from tests.factory.gan import tiny
from tests.factory.gan.test_bank import exported
from tests.factory.gan.test_train import ROOT, command

KILLED_WHEN = """
import os, signal, sys
from factory.__main__ import app
from factory.gan import phases, quality, train
from factory.gan.learner import GanLearner
from learning import checkpoint
def deadly(owner, name, when):
    function, calls = getattr(owner, name), []
    def call(*args, **kwargs):
        calls.append(args)
        if when(len(calls), *args):
            os.kill(os.getpid(), signal.SIGKILL)
        return function(*args, **kwargs)
    setattr(owner, name, call)
{kill}
app(sys.argv[1:])
"""

KILLS = {
    "in the middle of a part": "deadly(GanLearner, 'step', lambda n, self, seen, *_: seen == 52)",
    "between a checkpoint and its measurement": "deadly(quality, 'note', lambda n, *_: n == 3)",
    "between measuring and keeping the best": "deadly(phases, 'keep_best', lambda n, part, *_: part.number == 1)",
    "before anybody is chosen": "deadly(phases, 'decide', lambda n, *_: True)",
    "between choosing and beginning": "deadly(phases, 'begin', lambda n, part, *_: part.number == 2)",
}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Three tiny encoders of one make: two that may judge and one that measures."""
    folder = tmp_path_factory.mktemp("models")
    arguments = {"img_size": 16, "patch_size": 8, "depth": 2, "num_heads": 2}
    widths = (8, 16, 24)
    return [str(exported(folder / f"w{w}", embed_dim=w, **arguments)) for w in widths]


def settings(models: list[str], **more: object) -> dict[str, object]:
    members = [
        f"{{model: {models[0]}, width: 8, ada: {{target: -1.0, rise_images: 100}}}}",
        f"{{model: {models[1]}, head: pooled, width: 8, rule: hinge, smoothing: 0.1, augment: [cutout]}}",
    ]
    bank = {"members": f"[{', '.join(members)}]", "warmup_images": 20, "images_each": 20, "probe_images": 16, **more}
    return {
        "images": 60,
        "cooldown_images": 1,
        "checkpoint_images": 10,
        "quality": f"{{every_images: 10, samples_images: 12, extractor: {models[2]}}}",
        "bank": "{" + ", ".join(f"{name}: {value}" for name, value in bank.items()) + "}",
    }


@pytest.fixture(scope="module")
def straight(shapes: Path, models: list[str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("aided") / "gan"
    tiny.run(shapes, out, **settings(models)).go()
    return out


def record(out: Path, number: int) -> dict:
    return json.loads((out / f"training/phase-{number}/phase.json").read_text())


def test_one_comes_in_after_the_other_the_most_separable_first(straight: Path, models: list[str]) -> None:
    first, second = record(straight, 1), record(straight, 2)
    ranking = first["ranking"]
    assert {line["model"] for line in ranking} == set(models[:2])
    assert ranking[0]["accuracy"] >= ranking[1]["accuracy"]
    assert [critic["model"] for critic in first["critics"]] == [ranking[0]["model"]]
    assert second["critics"][0]["model"] == ranking[0]["model"]
    assert len(second["critics"]) == 2
    assert (first["images_seen"], second["images_seen"]) == (20, 40)
    assert first["best_images"] in (12, 20)


def measured(out: Path) -> dict[int, float]:
    lines = [json.loads(line) for line in (out / "training/quality.jsonl").read_text().splitlines()]
    return {line["images_seen"]: line["frechet_samples_to_training"] for line in lines}


def test_the_folder_names_the_critics_of_its_part(straight: Path) -> None:
    made_from = json.loads((straight / "generator.json").read_text())["made_from"]
    scores = measured(straight)
    assert made_from["images_seen"] == min(scores, key=lambda images: scores[images])
    part = sum(made_from["images_seen"] > boundary for boundary in (20, 40))
    expected = record(straight, part)["critics"] if part else []
    told = made_from.get("critics", [])
    assert [critic["name"] for critic in told] == [critic["model"] for critic in expected]
    assert all(len(critic["sha256"]) == 64 for critic in told)


def test_each_part_begins_with_the_best_checkpoint_of_the_one_before(straight: Path) -> None:
    scores = measured(straight)
    for number, (low, high) in {1: (0, 20), 2: (20, 40)}.items():
        begun_with = record(straight, 1)["best_images"] if number == 2 else None
        seen = [images for images in scores if low < images <= high or images == begun_with]
        best = min(seen, key=lambda images: scores[images])
        assert record(straight, number)["best_images"] == best
        before = straight / "training" / ("" if number == 1 else f"phase-{number - 1}")
        kept = checkpoint.load_newest(before / "best")
        assert kept is not None
        assert kept[0] == best
        assert "critics" not in kept[1] or len(kept[1]["critics"]) == number - 1


def test_a_part_that_only_makes_things_worse_is_not_gone_on_from(
    shapes: Path, models: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    distances = {10: 5.0, 20: 3.0, 30: 7.0, 40: 6.0, 50: 9.0, 60: 8.0}

    class Yardstick(quality.Yardstick):
        def measure(self, *_: object) -> dict[str, object]:
            return {quality.MEASURE: distances[min(distances, key=lambda seen: abs(seen - trained.seen))]}

    class Trained:
        seen = 0

    trained, step = Trained(), GanLearner.step

    def counted(self: GanLearner, images_seen: int, batch_images: int, rate: float) -> dict[str, float]:
        trained.seen = images_seen + batch_images
        return step(self, images_seen, batch_images, rate)

    monkeypatch.setattr(GanLearner, "step", counted)
    monkeypatch.setattr(quality, "Yardstick", Yardstick)
    tiny.run(shapes, tmp_path / "gan", **settings(models)).go()
    assert record(tmp_path / "gan", 1)["best_images"] == record(tmp_path / "gan", 2)["best_images"] == 20
    kept = [checkpoint.load_newest(tmp_path / f"gan/training/{part}best") for part in ("", "phase-1/")]
    assert kept[0] is not None
    assert kept[1] is not None
    assert kept[0][0] == kept[1][0] == 20
    before, after = (state["generator"]["net"] for _, state in kept)
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_a_start_that_nothing_betters_is_what_critics_come_in_to(
    shapes: Path, models: list[str], straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    worse = iter(range(99))
    monkeypatch.setattr(quality.Yardstick, "measure", lambda *_: {quality.MEASURE: float(next(worse))})
    tiny.run(shapes, tmp_path / "gan", start=straight, **settings(models)).go()
    assert record(tmp_path / "gan", 1)["best_images"] == record(tmp_path / "gan", 2)["best_images"] == 0


def test_critics_are_reported_and_their_p_moves(straight: Path) -> None:
    lines = (straight / "training/phase-2/metrics.jsonl").read_text().splitlines()
    found = [json.loads(line) for line in lines]
    assert {"critic_0_accuracy", "critic_1_loss", "critic_0_p"} <= found[0].keys()
    assert max(max(line["critic_0_p"], line["critic_1_p"]) for line in found) > 0


@pytest.mark.parametrize("moment", KILLS)
def test_a_run_that_was_killed_goes_on_to_the_same_bits(
    shapes: Path, models: list[str], straight: Path, tmp_path: Path, moment: str
) -> None:
    out, environment = tmp_path / "gan", {**os.environ, "OMP_NUM_THREADS": "1"}
    words = command(shapes, out, **settings(models))
    kill = KILLED_WHEN.format(kill=KILLS[moment])

    def run(program: list[str]) -> subprocess.CompletedProcess[str]:
        command_line = [sys.executable, *program, *words]
        return subprocess.run(command_line, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)

    killed = run(["-c", kill])
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    finished = run(["-m", "factory"])
    assert finished.returncode == 0, finished.stderr
    tiny.assert_same_state(out, straight, "training/phase-2")
    for file in ("generator.safetensors", "training/quality.jsonl", "training/phase-2/phase.json"):
        assert (out / file).read_bytes() == (straight / file).read_bytes(), file


@pytest.mark.parametrize(("choice", "parts"), [("fixed", [1, 2]), ("together", [2])])
def test_the_baselines_take_them_as_listed_or_all_at_once(
    shapes: Path, models: list[str], tmp_path: Path, choice: str, parts: list[int]
) -> None:
    out = tmp_path / "gan"
    tiny.run(shapes, out, **settings(models, choice=choice), precision="float32").go()
    found = [record(out, number) for number in range(1, len(parts) + 1)]
    assert [len(each["critics"]) for each in found] == parts
    assert [critic["model"] for critic in found[-1]["critics"]] == models[:2]
    assert all(each["ranking"] == [] for each in found)
    assert not (out / f"training/phase-{len(parts) + 1}").exists()


def test_a_plain_run_has_one_part(tmp_path: Path) -> None:
    assert phases.phases(tiny.config(), tmp_path) == [Phase(0, 40, tmp_path)]


def test_a_critic_changes_the_drawer_and_not_the_draws(straight: Path, shapes: Path, models: list[str]) -> None:
    lengths = {"images": 20, "cooldown_images": 1, "checkpoint_images": 10}
    plain = tiny.run(shapes, straight.parent / "plain", **lengths)
    plain.go()
    ours = checkpoint.load(straight / "training/checkpoints/ckpt-000000000020")
    theirs = checkpoint.load(straight.parent / "plain/training/checkpoints/ckpt-000000000020")
    for name, value in theirs["generator"]["net"].items():
        assert torch.equal(ours["generator"]["net"][name], value), "until someone comes in, the run is a plain one"
    after = load_file(straight / "training/G.safetensors")
    assert any(not torch.equal(after[name], value) for name, value in theirs["generator"]["net"].items())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"quality": "null"}, "quality beside a bank"),
        ({"bank__warmup_images": 15}, "multiples of quality.every_images (10)"),
        ({"images": 40}, "images above 40"),
        ({"bank__choice": "best"}, "bank.choice: got 'best'"),
        ({"bank__members": "[]"}, "bank.members"),
    ],
)
def test_a_bank_that_does_not_fit_is_refused(models: list[str], change: dict[str, object], told: str) -> None:
    with pytest.raises(UserError) as caught:
        tiny.config(**{**settings(models), **change})
    assert told in str(caught.value)


def test_whoever_measures_may_not_teach(models: list[str]) -> None:
    with pytest.raises(UserError, match="is of a family that is in the bank, and would measure what it taught"):
        tiny.config(**{**settings(models), "quality__extractor": models[0]})
    cousins = settings(["efficientnet-lite1@64", *models[1:]])
    with pytest.raises(UserError, match="efficientnet-lite0@128 is of a family that is in the bank"):
        tiny.config(**{**cousins, "quality": "{every_images: 10, extractor: efficientnet-lite0@128}"})


def test_a_member_that_is_not_here_is_missed_before_anything_is_trained(
    shapes: Path, models: list[str], tmp_path: Path
) -> None:
    run = tiny.run(shapes, tmp_path / "gan", **settings([str(tmp_path / "nowhere"), *models[1:]]))
    with pytest.raises(UserError, match="nowhere: expected one of"):
        run.go()
    assert not (tmp_path / "gan").exists()
