"""The row for RESULTS.md: several seeds, one line, written once."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from demo.evidence import HEADER, Comparison, append_row, evidence_steps, row
from demo.evidence import app as evidence_app
from manifests.errors import UserError
from tests.demo.fixtures import difference, report


def comparison(holds: bool = True) -> Comparison:
    against = {
        "random": {"linear": difference(0.1008, 0.029, 3)},
        "pixels": {"linear": difference(0.04, 0.044 - 0.01 * holds, 3)},
    }
    return Comparison(results=report().results, differences=against)


def written(holds: bool = True) -> str:
    return row(
        comparison(holds),
        root="5be1a7" + "0" * 58,
        budget="100,000 images, 6.1 min a seed",
        date="2026-01-31T12:00:00+00:00",
        commit="0123456789abcdef-dirty",
        hardware="An Ordinary CPU, 2 cores, 24 GiB",
    )


def test_a_row_says_everything_that_a_number_needs() -> None:
    assert written(holds=False) == (
        "| 2026-01-31 | 0123456789ab with local changes | 5be1a7000000 | 100,000 images, 6.1 min a seed | "
        "An Ordinary CPU, 2 cores, 24 GiB | 3 | 1204 | 41.3 % (38.2 to 44.4) | +10.1 (+7.2 to +13.0) | "
        "+4.0 (-0.4 to +8.4) | 4.1, 6.3 | evidence against random; no evidence against pixels |"
    )
    assert written().count("|") == HEADER.count("|")


def test_a_row_goes_under_its_header_once(tmp_path: Path) -> None:
    path = tmp_path / "RESULTS.md"
    path.write_text("# Results\n\nWhat was measured.\n")
    for text in (written(), written(), written(holds=False)):
        append_row(path, text)
    lines = path.read_text().splitlines()
    assert lines[:3] == ["# Results", "", "What was measured."]
    assert lines[4] == HEADER
    assert set(lines[5]) == {"|", "-"}
    assert lines[6:] == [written(), written(holds=False)]


def test_seeds_differ_in_nothing_but_the_seed() -> None:
    steps = evidence_steps(Path("data"), Path("out"), "demo", "demo", seeds=3)
    training = steps[1:4]
    assert [step.name for step in training] == ["pretrain seed 0", "pretrain seed 1", "pretrain seed 2"]
    same = {s.text.replace(f"seed-{i}", "seed-N").replace(f"seed={i}", "seed=N") for i, s in enumerate(training)}
    assert same == {"python -m trainer pretrain demo --data data --out out/seed-N --set seed=N"}
    runs = "out/seed-0 out/seed-1 out/seed-2"
    compare = f"python -m trainer compare {runs} --set clipart26 --split test --json > out/comparison.json"
    assert steps[-1].text == compare


@pytest.mark.parametrize("out", [["--out", "runs"], []])  # its own default is parsed too
def test_fewer_seeds_than_evidence_takes_are_refused(
    out: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(evidence_app, ["--seeds", "2", *out])
    assert isinstance(result.exception, UserError)
    assert "3 training seeds or more" in str(result.exception)
    assert not any(tmp_path.iterdir())
