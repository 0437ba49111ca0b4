"""python -m demo.evidence: the demo's comparison with several training seeds on `test`, as one row for RESULTS.md.

What holds is decided by `trainer compare`; here it is only run, shown and written down.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from demo import provenance
from demo.facts import BASELINES, Difference, Fact, Score
from demo.report import TEST_SET, labelled_set_folder
from demo.steps import Journal, Step, run_all
from manifests import machine, open_dataset
from manifests.checkout import code_commit
from manifests.command_line import run_app
from manifests.errors import UserError
from manifests.target import check_folder, local_path

SPLIT = "test"
MINIMUM_SEEDS = 3
HEADER = (
    "| date | commit | data root | training | hardware | seeds | n | encoder | above untrained | above raw pixels | "
    "smallest difference it could see | verdict |"
)
app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Comparison(Fact):
    """What `trainer compare --json` says, as far as the row needs it."""

    results: dict[str, dict[str, Score]]
    differences: dict[str, dict[str, Difference]]


def evidence_steps(data: Path, out: Path, recipe: str, config: str, seeds: int) -> list[Step]:
    """Lay out the commands: the data, one run a seed, the comparison of them all; pure."""
    runs = [out / f"seed-{seed}" for seed in range(seeds)]
    encoders = tuple(run / "encoder" / "model.safetensors" for run in runs)
    training = [
        Step(
            f"pretrain seed {seed}",
            ("trainer", "pretrain", config, "--data", str(data), "--out", str(run), "--set", f"seed={seed}"),
            encoder,
        )
        for seed, (run, encoder) in enumerate(zip(runs, encoders, strict=True))
    ]
    read = (*encoders, labelled_set_folder() / "dataset.json")
    compare = ("trainer", "compare", *map(str, runs), "--set", TEST_SET, "--split", SPLIT, "--json")
    return [
        Step("render", ("factory", "render", recipe, str(data)), data / "dataset.json"),
        *training,
        Step("compare", compare, out / "comparison.json", inputs=read, captured=True),
    ]


def row(comparison: Comparison, *, root: str, budget: str, date: str, commit: str | None, hardware: str) -> str:
    """Write the table row: pure; linear probe, percent and percentage points with 95 % intervals."""
    encoder = comparison.results["encoder"]["linear"]
    against = {baseline: comparison.differences[baseline]["linear"] for baseline in BASELINES}
    cells = [
        date[:10],
        (commit or "none")[:12] + (" with local changes" if commit and commit.endswith("-dirty") else ""),
        root[:12],
        budget,
        hardware,
        str(against[BASELINES[0]].seeds),
        str(encoder.n),
        f"{100 * encoder.mean:.1f} % ({100 * encoder.low:.1f} to {100 * encoder.high:.1f})",
        *(_difference(difference) for difference in against.values()),
        ", ".join(f"{100 * difference.smallest_detectable:.1f}" for difference in against.values()),
        "; ".join(_verdict(baseline, difference) for baseline, difference in against.items()),
    ]
    return f"| {' | '.join(cells)} |"


def append_row(path: Path, text: str) -> None:
    """Append a row under the table's header, which is added where it is missing."""
    before = path.read_text(encoding="utf-8") if path.is_file() else ""
    if text in before.splitlines():
        return
    if HEADER not in before:
        before = before.rstrip("\n") + f"\n\n{HEADER}\n|{'---|' * (HEADER.count('|') - 1)}\n"
    path.write_text(before.lstrip("\n").rstrip("\n") + f"\n{text}\n", encoding="utf-8")


def _difference(difference: Difference) -> str:
    return f"{100 * difference.mean:+.1f} ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"


def _verdict(baseline: str, difference: Difference) -> str:
    return f"{'evidence' if difference.is_evidence else 'no evidence'} against {baseline}"


def _budget(run: Path) -> str:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    last = json.loads(lines[-1])
    return f"{last['images_seen']:,} images, {last['seconds'] / 60:.1f} min a seed"


@app.command()
def main(
    data: Annotated[Path, typer.Option(help="The demo's data set; rendered if absent")] = Path("out/demo/data"),
    out: Annotated[Path, typer.Option(parser=local_path, help="Folder of the runs")] = Path("out/evidence"),
    recipe: Annotated[str, typer.Option(help="What to render: a preset or a YAML file")] = "demo",
    config: Annotated[str, typer.Option(help="How to train: a preset or a YAML file")] = "demo",
    seeds: Annotated[int, typer.Option(help="How many training seeds")] = MINIMUM_SEEDS,
    results: Annotated[Path | None, typer.Option(help="Append the row to this file")] = None,
) -> None:
    """Compare encoders of several seeds with the baselines on `test`; the same command again resumes."""
    if seeds < MINIMUM_SEEDS:
        raise UserError(f"--seeds {seeds}: evidence takes {MINIMUM_SEEDS} training seeds or more")
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    run_all(evidence_steps(data, out, recipe, config, seeds), Journal(out / "steps.json"))
    text = row(
        Comparison.model_validate_json((out / "comparison.json").read_bytes()),
        root=open_dataset(data).root,
        budget=_budget(out / "seed-0"),
        date=provenance.now(),
        commit=code_commit(),
        hardware=", ".join(machine.hardware().values()),
    )
    print(HEADER, text, sep="\n")
    if results is not None:
        append_row(results, text)


if __name__ == "__main__":
    run_app(app)
