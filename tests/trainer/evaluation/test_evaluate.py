"""The two commands from images to JSON, on a small set whose features are made up: what they say and how it adds up."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from typer.testing import CliRunner

import trainer.evaluation.evaluate as evaluation
from manifests.adopt import adopt
from manifests.errors import ConflictError, UserError
from tests.manifests.test_target import files_no_larger_than
from trainer.__main__ import app
from trainer.config import RunConfig
from trainer.evaluation import protocol
from trainer.evaluation.evaluate import compare, evaluate

CLASSES = 3
Embedding = Callable[[NDArray[np.uint8]], Tensor]


def noisy_class(noise: float, seed: int) -> Embedding:
    """Embed an image as its class, which its red channel tells, under noise."""

    def embedding(images: NDArray[np.uint8]) -> Tensor:
        labels = images[:, 0, 0, 0].astype(np.int64) // 100
        random = np.random.default_rng(seed)
        return torch.from_numpy(
            np.eye(CLASSES)[labels] + noise * random.standard_normal((len(labels), CLASSES))
        ).float()

    return embedding


def trained_run(
    folder: Path, seed: int, *, roots: tuple[str, ...] = ("ab",), code: str = "c0de", **config: object
) -> None:
    """Write what `compare` reads of a finished run besides its weights."""
    (folder / "encoder").mkdir(parents=True)
    (folder / "encoder" / "model.safetensors").touch()
    settings = RunConfig(seed=seed).model_dump(mode="json") | config
    facts = {"config": settings, "roots": roots, "order_version": 1, "code": code, "images_seen": 48}
    (folder / "encoder" / "viewmill.json").write_text(json.dumps(facts))


@pytest.fixture(autouse=True)
def made_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a small set in place of the shipped ones, a good encoder, and baselines from useless to perfect."""
    (tmp_path / "images").mkdir()
    rows = []
    for index in range(90):
        name, label = f"{index}.png", index % CLASSES
        Image.fromarray(np.full((8, 8, 3), (100 * label, index, 0), np.uint8)).save(tmp_path / "images" / name)
        split = "dev" if index < 60 else "test"
        rows.append({"file": name, "label": label, "split": split, "x_component": index})
    (tmp_path / "table.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    adopt(tmp_path / "images", tmp_path / "set", table=tmp_path / "table.jsonl", label_names=["a", "b", "c"])
    for seed in (1, 2, 3):
        trained_run(tmp_path / str(seed), seed)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(protocol, "PENALTIES", protocol.PENALTIES[::11])
    monkeypatch.setattr(evaluation, "folder", lambda name: tmp_path / "set")
    monkeypatch.setattr(evaluation, "trained", lambda checkpoint: noisy_class(0.4, seed=int(Path(checkpoint).name)))
    monkeypatch.setattr(
        evaluation,
        "baselines",
        lambda checkpoint, seed: {"random": noisy_class(50.0, seed), "pixels": noisy_class(0.0, 0)},
    )


def test_scores_and_differences_agree_and_name_their_source() -> None:
    found = json.loads(evaluate("7", seed=5).to_json())
    assert (found["set"], found["split"], found["seeds"]) == ("clipart26", "dev", [5])
    assert set(found["results"]) == {"encoder", "random", "pixels"}
    assert found["results"]["pixels"]["knn"] == {"mean": 1.0, "low": 1.0, "high": 1.0, "n": 60}
    for baseline in ("random", "pixels"):
        for method in ("knn", "linear"):
            difference = found["differences"][baseline][method]
            means = [found["results"][name][method]["mean"] for name in ("encoder", baseline)]
            assert difference["mean"] == pytest.approx(means[0] - means[1])
            assert difference["low"] <= difference["mean"] <= difference["high"]
            assert difference["is_evidence"] is False, "one seed is never evidence"
    assert found["differences"]["random"]["linear"]["low"] > 0.2


def test_several_seeds_are_one_method_and_can_be_evidence() -> None:
    found = compare(["1", "2", "3"], split="test")
    single = [evaluate(seed, split="test").results["encoder"]["linear"].mean for seed in ("1", "2", "3")]
    assert found.seeds == [0, 1, 2]
    assert found.results["encoder"]["linear"].mean == pytest.approx(np.mean(single))
    assert found.results["encoder"]["linear"].n == 30
    assert found.differences["random"]["linear"].seeds == 3
    assert found.differences["random"]["linear"].is_evidence
    assert found.differences["pixels"]["linear"].mean <= 0


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({"images": 7_000}, r"config\.images: 100000 there, 7000 here"),
        ({"augmentation": "weak"}, r'config\.augmentation: "simclr" there, "weak" here'),
        ({"roots": ("cd",)}, r'roots: \["ab"\] there, \["cd"\] here'),
    ],
)
def test_runs_that_differ_in_more_than_their_seed_are_refused_key_by_key(
    tmp_path: Path, change: dict[str, Any], difference: str
) -> None:
    trained_run(tmp_path / "4", 4, **change)
    with pytest.raises(ConflictError, match=rf"^4 differs from 1 in more than the seed \({difference}\)"):
        compare(["1", "2", "4"])


def test_what_decides_no_weight_may_differ(tmp_path: Path) -> None:
    trained_run(tmp_path / "4", 4, log_images=1)
    assert compare(["1", "2", "4"]).seeds == [0, 1, 2]


def test_one_run_counted_twice_is_refused(tmp_path: Path) -> None:
    trained_run(tmp_path / "4", 2)
    with pytest.raises(ConflictError, match="the runs have seeds 1, 2, 2"):
        compare(["1", "2", "4"])


def test_an_encoder_that_does_not_say_how_it_was_trained_is_no_seed_of_a_method(tmp_path: Path) -> None:
    (tmp_path / "3" / "encoder" / "viewmill.json").unlink()
    with pytest.raises(UserError, match="does not say how the encoder was trained"):
        compare(["1", "2", "3"])


def test_other_code_is_remarked_and_not_refused(tmp_path: Path) -> None:
    trained_run(tmp_path / "4", 4, code="0ther")
    result = CliRunner().invoke(app, ["compare", "1", "2", "4", "--json"])
    assert result.exit_code == 0, result.output
    assert "warning: begun by different code: 1 by c0de, 2 by c0de, 4 by 0ther" in result.stderr
    assert "warning" not in CliRunner().invoke(app, ["compare", "1", "2", "3", "--json"]).stderr


def test_baselines_can_be_left_out() -> None:
    found = evaluate("7", with_baselines=False)
    assert list(found.results) == ["encoder"]
    assert found.differences == {}


@pytest.mark.parametrize("arguments", [["evaluate", "1"], ["compare", "1", "2", "3"]])
def test_a_command_prints_json_alone_on_its_output_and_writes_the_same_to_a_file(
    arguments: list[str], tmp_path: Path
) -> None:
    result = CliRunner().invoke(app, [*arguments, "--json", "--out", str(tmp_path / "new" / "scores.json")])
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout) == json.loads((tmp_path / "new" / "scores.json").read_text())
    assert "scoring encoder" in result.stderr


def test_a_file_that_cannot_be_written_takes_nothing_away_from_the_scores(tmp_path: Path) -> None:
    (tmp_path / "old.json").write_text("old")
    command = ["evaluate", "1", "--out", str(tmp_path / "old.json")]
    with files_no_larger_than(1000):
        result = CliRunner().invoke(app, command)
    assert isinstance(result.exception, UserError)
    assert "old.json: the file is larger than this process may write" in str(result.exception)
    assert [line.split()[0] for line in result.stdout.splitlines()[2:5]] == ["encoder", "random", "pixels"]
    assert (tmp_path / "old.json").read_text() == "old"
    assert not list(tmp_path.glob("*.part-*"))


@pytest.mark.parametrize("arguments", [["evaluate", "1"], ["compare", "1", "2", "3"]])
def test_a_target_in_the_way_of_a_file_is_said_before_anything_is_scored(arguments: list[str], tmp_path: Path) -> None:
    for target, words in ((tmp_path / "table.jsonl" / "x.json", "is a file"), (tmp_path, "there is a folder")):
        result = CliRunner().invoke(app, [*arguments, "--out", str(target)])
        assert words in str(result.exception)
        assert "scoring" not in result.stderr


def test_a_plot_of_runs_is_refused_for_it_would_be_empty() -> None:
    refused = CliRunner().invoke(app, ["compare", "1", "2", "--plot", "plot.svg"]).exception
    assert isinstance(refused, UserError)
    assert "--plot draws recorded results, and 1 holds none" in str(refused)


def test_people_get_a_table() -> None:
    result = CliRunner().invoke(app, ["compare", "1", "2", "3"])
    lines = result.stdout.splitlines()
    assert lines[0].startswith("clipart26 test ")
    assert [line.split()[0] for line in lines[2:5]] == ["encoder", "random", "pixels"]
    assert any(line.startswith("encoder - random") and line.endswith(", evidence") for line in lines)
