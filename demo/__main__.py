"""python -m demo: render a data set, pretrain on it, ask what the encoder is worth, and write the page about it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from demo.report import SPLIT, TEST_SET, labelled_set_folder, write_report
from demo.steps import Journal, Step, run_all
from manifests.command_line import run_app
from manifests.target import check_folder, local_path

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def demo_steps(out: Path, recipe: str, config: str, seed: int, groups: int | None) -> list[Step]:
    """Lay out the demo's commands; pure."""
    data, run, encoder = out / "data", out / "run", out / "run" / "encoder" / "model.safetensors"
    count = () if groups is None else ("--groups", str(groups))
    render = ("factory", "render", recipe, str(data), *count)
    pretrain = ("trainer", "pretrain", config, "--data", str(data), "--out", str(run), "--set", f"seed={seed}")
    evaluate = ("trainer", "evaluate", str(run), "--set", TEST_SET, "--split", SPLIT, "--json")
    tests = labelled_set_folder()
    embed = ("trainer", "embed", str(run), str(tests), str(out / "features.parquet"))
    read = (encoder, tests / "dataset.json")  # another version of the set means other scores
    return [
        Step("render", render, data / "dataset.json"),
        Step("pretrain", pretrain, encoder),
        Step("evaluate", evaluate, out / "evaluation.json", inputs=read, captured=True),
        Step("embed", embed, out / "features.parquet", inputs=read),
    ]


@app.command()
def main(
    out: Annotated[Path, typer.Option(parser=local_path, help="Folder of the data set, the run and the report")] = Path(
        "out/demo"
    ),
    recipe: Annotated[str, typer.Option(help="What to render: a preset or a YAML file")] = "demo",
    config: Annotated[str, typer.Option(help="How to train: a preset or a YAML file")] = "demo",
    seed: Annotated[int, typer.Option(min=0, help="The training seed")] = 0,
    groups: Annotated[
        int | None, typer.Option(min=1, help="How many groups to render, instead of the recipe's")
    ] = None,
) -> None:
    """Render, pretrain, evaluate and report; the same command again resumes where it stopped."""
    check_folder(out)
    out.mkdir(parents=True, exist_ok=True)
    steps = demo_steps(out, recipe, config, seed, groups)
    journal = Journal(out / "steps.json")
    run_all(steps, journal)
    report = write_report(out, steps, journal)
    score = report.results["encoder"]["linear"]
    print(f"root {report.root}")
    print(
        f"{100 * score.mean:.1f} % balanced accuracy on {report.test_set.name} {report.test_set.split} "
        f"({100 * score.low:.1f} to {100 * score.high:.1f}; chance {100 * report.chance:.1f}); one seed: a smoke result"
    )
    print(f"open {out / 'report.html'}")


if __name__ == "__main__":
    run_app(app)
