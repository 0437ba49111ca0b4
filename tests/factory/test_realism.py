"""The realism gate: a score in every row, refusals below the threshold, and a recipe that keeps its probe."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from factory.gan.data import square
from factory.judge import JudgeConfig, Probe, RealismConfig, judge, reason
from factory.recipe import Recipe, identity, load_recipe
from factory.resolve import resolve
from manifests import open_dataset
from manifests.errors import UserError
from tests.factory import recipes
from tests.factory.gan.test_bank import exported
from tests.factory.test_render import make

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
PROBE = Probe(model="random@32", model_sha256="", size_px=32, side_px=16, weights="", bias=0.0)


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A probe of random weights: it scores, and means nothing."""
    from factory.gan.bank import open_model
    from factory.gan.separability import Line
    from factory.realism import write_probe

    folder = tmp_path_factory.mktemp("probe")
    model = exported(folder / "model", img_size=16, patch_size=8, depth=1, embed_dim=16, num_heads=2)
    facts = open_model(str(model)).facts
    write_probe(folder / "probe.json", facts, Line(np.random.default_rng(3).normal(size=16) * 5, 0.0), 8)
    return folder / "probe.json"


def settings(probe: Path, least: float) -> dict[str, object]:
    return recipes.settings(judge={"attempts": 2, "realism": {"probe": str(probe), "least": least}})


def loaded(folder: Path, probe: Path, least: float) -> Recipe:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps(settings(probe, least)))
    return load_recipe(str(path))


def test_what_looks_too_little_real_is_refused_last_of_all() -> None:
    config = JudgeConfig(realism=RealismConfig(probe=PROBE, least=0.3))
    yes, no = np.ones(3, bool), np.zeros(3, bool)
    assert judge(IMAGES, yes, no, config, np.array([0.2, 0.3, 0.9])) == ["unrealistic", "ok", "ok"]
    assert judge(IMAGES, no, no, config, np.zeros(3)) == ["nan"] * 3
    assert judge(IMAGES, yes, no, JudgeConfig()) == ["ok"] * 3
    assert reason(["unrealistic", "unrealistic", "blank"]) == "2 x unrealistic, blank"


def test_every_row_has_its_score_and_no_kept_one_is_below_the_threshold(probe: Path, tmp_path: Path) -> None:
    make(loaded(tmp_path, probe, 0.0), tmp_path / "all")
    scores = open_dataset(tmp_path / "all").rows(["realism_score", "status"]).to_pylist()
    values = sorted(row["realism_score"] for row in scores)
    assert 0 <= values[0] < values[-1] <= 1
    assert {row["status"] for row in scores} == {"ok"}
    least = sorted(set(values))[len(set(values)) // 3]
    assert least > values[0]
    make(loaded(tmp_path, probe, least), tmp_path / "gated")
    rows = open_dataset(tmp_path / "gated").rows().to_pylist()
    kept = [row for row in rows if row["status"] == "ok"]
    refused = [row for row in rows if row["status"] == "quarantined"]
    assert min(row["realism_score"] for row in kept) >= least
    assert max(row["attempts"] for row in rows) == 2
    assert {row["reason"] for row in refused} <= {"2 x unrealistic"}


def test_a_recipe_holds_its_probe_and_renders_again_without_the_file(probe: Path, tmp_path: Path) -> None:
    recipe = loaded(tmp_path, probe, 0.0)
    make(recipe, tmp_path / "data")
    again = load_recipe(str(tmp_path / "data" / "dataset.json"))
    assert again.judge.realism == recipe.judge.realism
    assert resolve(again).stream_id == resolve(recipe).stream_id


def test_a_probes_line_decides_the_identity_and_its_place_does_not(probe: Path, tmp_path: Path) -> None:
    recipe = loaded(tmp_path, probe, 0.2)
    realism = recipe.judge.realism
    assert realism is not None

    def identity_with(**changes: object) -> dict:
        changed = realism.model_copy(update={"probe": realism.probe.model_copy(update=changes)})
        moved = recipe.model_copy(update={"judge": recipe.judge.model_copy(update={"realism": changed})})
        return identity(moved, [{"sha256": "0"}])

    before = identity(recipe, [{"sha256": "0"}])
    assert identity_with(model="/elsewhere/model") == before
    assert identity_with(bias=1.0) != before
    assert "realism" not in str(identity(Recipe.model_validate(recipes.settings()), [{"sha256": "0"}]))


@pytest.mark.parametrize(
    ("text", "told"),
    [("no json", "is no file of `factory probe --save`"), ("{}", "judge.realism.probe.model: missing")],
)
def test_what_is_no_probe_is_refused(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "probe.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        loaded(tmp_path, path, 0.0)
    assert told in str(caught.value)


def test_a_missing_model_is_said_before_a_folder_is_claimed(probe: Path, tmp_path: Path) -> None:
    text = json.loads(probe.read_text())
    path = tmp_path / "probe.json"
    path.write_text(json.dumps({**text, "model": "vgg16@32"}))
    with pytest.raises(UserError, match="hf download"):
        make(loaded(tmp_path, path, 0.0), tmp_path / "data")
    assert not (tmp_path / "data" / "recipes").exists()


def test_renders_are_judged_at_the_size_that_the_probe_was_fitted_to(probe: Path) -> None:
    from factory.realism import open_scorer

    fitted = Probe.model_validate_json(probe.read_text())
    assert fitted.side_px == 8
    scorer = open_scorer(fitted, "cpu")
    large = np.random.default_rng(5).integers(0, 256, (3, 40, 56, 3), np.uint8)
    small = np.stack([square(image, 8) for image in large])
    np.testing.assert_array_equal(scorer(large), scorer(small))
