"""The suite from the command line: any subject before any labelled set, rows recorded once, unlike ones refused."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from safetensors.torch import save_file
from typer.testing import CliRunner, Result

from manifests.dataset import open_dataset
from manifests.errors import ConflictError, CorruptError, UserError
from tests.trainer.data import make_dataset
from tests.trainer.evaluation.test_features import exported
from trainer.__main__ import app
from trainer.evaluation import protocol
from trainer.evaluation.fine_tuning import FineTuning, fine_tune
from trainer.evaluation.protocol import predict
from trainer.evaluation.results import read
from trainer.evaluation.subject import open_subject
from trainer.evaluation.suite import fine_tuning as tuning_protocol
from trainer.evaluation.suite import run as runner
from trainer.evaluation.suite.bench import Bench
from trainer.evaluation.suite.names import NAMES, check_subject, chosen
from trainer.evaluation.suite.run import PROTOCOLS, run_suite
from trainer.evaluation.task import open_task

SMALL = "timm:test_resnet"


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> str:
    return make_dataset(tmp_path_factory.mktemp("data") / "set", groups=24, views=2)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "PENALTIES", protocol.PENALTIES[::11])
    short = FineTuning(epochs=1, least_images=32, batch_images=16)
    monkeypatch.setattr(tuning_protocol, "fine_tune", partial(fine_tune, settings=short))


def evaluate(subject: str, url: str, results: Path, *more: str) -> Result:
    words = ["evaluate", subject, "--set", url, "--results", str(results), "--size-px", "32", *more]
    return CliRunner().invoke(app, words)


def test_every_protocol_that_applies_records_its_rows_and_the_others_say_why_not(url: str, tmp_path: Path) -> None:
    result = evaluate(SMALL, url, tmp_path, "--suite", "all", "--json")
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert set(told["left_out"]) == {"prototypes", "zero-shot"}
    assert "0 classes have more" not in told["left_out"]["prototypes"]
    measured = {row["metric"] for row in told["rows"]}
    assert {
        "knn",
        "linear",
        "ridge_1_shot",
        "ridge_10_shot",
        "fine_tuned_1_percent",
        "fine_tuned_100_percent",
    } < measured
    assert {"retrieval_map", "retrieval_first", "effective_rank", "uniformity", "alignment_of_views"} < measured
    assert sorted(map(str, told["rows"])) == sorted(map(str, read([tmp_path])))
    for row in told["rows"]:
        assert row["root"] == open_dataset(url).root
        assert (row["checkpoint"], row["split"], row["partition"]) == (SMALL, "all", "5 folds")
        assert row["low"] is None or row["low"] <= row["value"] <= row["high"]
        assert row["seconds"] >= 0
        assert row["hardware"]
        assert row["time"]


def test_what_is_recorded_is_not_measured_again(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = evaluate(SMALL, url, tmp_path, "--suite", "knn,retrieval", "--json")
    before = sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir())
    assert len(before) == 2, "one file a protocol"

    def never(*_: Any) -> None:
        raise AssertionError("embedded again")

    monkeypatch.setattr(Bench, "features", property(never))
    again = evaluate(SMALL, url, tmp_path, "--suite", "knn,retrieval", "--json")
    assert json.loads(again.stdout)["rows"] == json.loads(first.stdout)["rows"]
    assert "recorded before" in again.stderr
    assert sorted((path.name, path.stat().st_mtime_ns) for path in tmp_path.iterdir()) == before
    assert isinstance(evaluate(SMALL, url, tmp_path, "--suite", "knn", "--seed", "1").exception, AssertionError)


def test_a_run_that_is_cut_short_keeps_what_was_finished(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: Bench) -> list[Any]:
        raise KeyboardInterrupt

    broken = {**PROTOCOLS, "linear": runner.Protocol("linear", 1, fails)}
    monkeypatch.setattr(runner, "PROTOCOLS", broken)
    with pytest.raises(KeyboardInterrupt):
        run_suite(SMALL, ["knn", "linear"], dataset=url, split="dev", results=tmp_path, size_px=32)
    assert [row["metric"] for row in read([tmp_path])] == ["knn"]


def test_the_suites_scores_are_those_of_the_protocol_that_evaluate_uses(url: str, tmp_path: Path) -> None:
    task = open_task(url, "dev")
    bench = Bench(open_subject("pixels"), task, 0)
    expected = predict(bench.features, task.pool.labels, task.pool.components)
    (knn,), (linear,) = PROTOCOLS["knn"].measure(bench), PROTOCOLS["linear"].measure(bench)
    for measured, predicted in ((knn, expected.knn), (linear, expected.linear)):
        recalls = [(predicted == task.pool.labels)[task.pool.labels == label].mean() for label in range(4)]
        assert measured.value == pytest.approx(np.mean(recalls))
        assert (measured.images, measured.groups) == (48, 24)


def test_a_protocol_that_is_asked_for_by_name_and_cannot_be_is_an_error(url: str, tmp_path: Path) -> None:
    for name, words in (("zero-shot", "has no text tower"), ("prototypes", "4 classes have more than 1")):
        result = evaluate(SMALL, url, tmp_path, "--suite", name)
        assert isinstance(result.exception, UserError)
        assert words in str(result.exception)
    assert isinstance(evaluate("pixels", url, tmp_path, "--suite", "fine-tune").exception, UserError)
    assert not list(tmp_path.iterdir())


def test_results_are_compared_and_drawn_and_unlike_ones_refused(url: str, tmp_path: Path) -> None:
    for subject in (SMALL, "pixels"):
        evaluate(subject, url, tmp_path / "a", "--suite", "knn,geometry" if subject == SMALL else "knn")
    result = CliRunner().invoke(app, ["compare", str(tmp_path / "a"), "--plot", str(tmp_path / "plot.svg")])
    assert result.exit_code == 0, result.output
    assert [line.split()[0] for line in result.stdout.splitlines()[:3]] == ["knn,", SMALL, "pixels"]
    assert (tmp_path / "plot.svg").read_text().startswith("<svg")
    other = make_dataset(tmp_path / "other", groups=30, views=2, stream_id="cd" * 32)
    evaluate("pixels", other, tmp_path / "b", "--suite", "knn")
    both = ["compare", str(tmp_path / "a"), str(tmp_path / "b"), "--suite", "knn"]
    refused = CliRunner().invoke(app, both).exception
    assert isinstance(refused, ConflictError)
    assert "are not alike: root" in str(refused)
    one = CliRunner().invoke(app, [*both, "--set", other, "--json"])
    assert list(json.loads(one.stdout)["metrics"]["knn"]) == ["pixels"]


def test_subjects_of_every_kind_have_their_own_hash_and_features(tmp_path: Path, url: str) -> None:
    folder = exported(tmp_path / "export")
    pool = open_task(url, "dev").pool
    given = open_subject(str(folder))
    fresh = [open_subject(f"random:{folder}", seed=seed) for seed in (0, 0, 1)]
    assert given.sha256 != fresh[0].sha256 == fresh[1].sha256 != fresh[2].sha256
    assert torch.equal(fresh[0].calibrated(pool).features(pool), fresh[1].calibrated(pool).features(pool))
    assert given.calibrated(pool) is given
    weights = open_subject(f"timm:resnet10t@{folder}/model.safetensors", size_px=32)
    torch.testing.assert_close(weights.features(pool), _with_timms_pixels(folder, pool))
    assert open_subject("pixels").features(pool).shape == (48, 768)


def _with_timms_pixels(folder: Path, pool: Any) -> torch.Tensor:
    """The export's weights with the mean and std that timm states for the architecture."""
    known = open_subject("timm:resnet10t", size_px=32).encoder
    assert known is not None
    trained = open_subject(str(folder)).encoder
    assert trained is not None
    trained.preprocessing = known.preprocessing
    return torch.cat([trained(trained.normalize(_floats(images))).detach() for images in pool.batches(np.arange(48))])


def _floats(images: list[NDArray[np.uint8]]) -> torch.Tensor:
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255


def test_what_is_no_subject_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="timm has no model 'resnet9999'"):
        open_subject("timm:resnet9999")
    for name in ("absent", "random:absent"):
        with pytest.raises(UserError, match="absent holds no encoder"):
            check_subject(name)
    with pytest.raises(UserError, match="cannot be read as safetensors"):
        open_subject(f"{SMALL}@{tmp_path}/absent.safetensors", size_px=32)
    save_file({"other": torch.zeros(2)}, tmp_path / "other.safetensors")
    with pytest.raises(CorruptError, match="does not fit test_resnet"):
        open_subject(f"{SMALL}@{tmp_path}/other.safetensors", size_px=32)


def test_protocols_are_chosen_by_name() -> None:
    assert set(PROTOCOLS) == set(NAMES)
    assert chosen("all") == list(NAMES)
    assert chosen("knn, linear,knn") == ["knn", "linear"]
    with pytest.raises(UserError, match="there is no protocol 'knm': choose all, or some of knn,"):
        chosen("knm")
