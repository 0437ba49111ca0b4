"""python -m experiments.view_distances: how alike the views of a group are, and how unlike groups, for each strategy.

Distances are cosine distances of EfficientNet-lite0's features. A strategy is of use between two ends: views that are
one image (within 0), and views that have no more in common than two groups (within = between).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from factory.recipe import presets
from manifests import open_dataset
from manifests.checkout import code_commit
from manifests.command_line import new_app, run_app
from manifests.dataset import DataSet
from manifests.distances import mean_group_distances
from manifests.errors import UserError
from manifests.target import check_folder, local_path, replaced

app = new_app()


def strategies() -> list[str]:
    """Name the presets that show one strategy each."""
    return [name for name in presets() if name.startswith("views-")]


@app.command()
def main(
    out: Annotated[Path, typer.Option(parser=local_path, help="Folder of data sets, sheets and results")] = Path(
        "out/view-distances"
    ),
    groups: Annotated[int, typer.Option(min=2, help="Groups of each strategy")] = 60,
    sheet_groups: Annotated[int, typer.Option(min=1, help="Groups of each contact sheet")] = 5,
) -> None:
    """Render every strategy's preset, draw its contact sheet and measure its distances."""
    check_folder(out)
    rows = []
    for name in strategies():
        data = out / "data" / name
        _run("factory", "render", name, str(data), "--groups", str(groups), "--inline")
        sheet = out / "sheets" / f"{name}.png"
        sheet.parent.mkdir(parents=True, exist_ok=True)
        _run("factory", "render", name, str(sheet), "--limit", str(sheet_groups))
        rows.append(measured(name, open_dataset(str(data))))
        print(line(rows[-1]), flush=True)
    with replaced(out / "results.json") as part:
        part.write_text(json.dumps({"commit": code_commit(), "groups": groups, "rows": rows}, indent=1) + "\n")


def measured(name: str, data: DataSet) -> dict[str, Any]:
    """Measure the mean distance of two views of a group, and of two images of different groups."""
    from factory.builtin.features import backbone, embed

    rows = data.rows(ok_only=True).to_pylist()
    features = embed(backbone(), np.stack([data.image(row) for row in rows]))
    within, between = mean_group_distances(features, [str(row["group"]) for row in rows])
    return {"strategy": name, "images": len(rows), "within": within, "between": between, "ratio": within / between}


def line(row: dict[str, Any]) -> str:
    """Write a row of the table."""
    return f"| {row['strategy']} | {row['within']:.3f} | {row['between']:.3f} | {row['ratio']:.2f} | {row['images']} |"


def _run(*command: str) -> None:
    done = subprocess.run([sys.executable, "-m", *command], stdout=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        raise UserError(f"{' '.join(command)}: failed with exit code {done.returncode}; what went wrong stands above")


if __name__ == "__main__":
    run_app(app)
