"""Writes the fixed lists of few labels into the package: python -m trainer.evaluation.publish_lists SET --split test.

A list that is there is never written again: another list would be another protocol version.
"""

from __future__ import annotations

from typing import Annotated

import typer

from manifests.command_line import new_app, run_app
from manifests.errors import UserError
from manifests.target import replaced
from trainer.evaluation.lists import FOLDER, PERCENTS, file_name, share_of_classes
from trainer.evaluation.task import open_task

app = new_app()


@app.command()
def main(
    dataset: Annotated[str, typer.Argument(help="clipart26, emoji, or a labelled data set's folder or URL")],
    split: Annotated[str, typer.Option(help="The split that the lists are to predict")] = "test",
) -> None:
    """Publish the 1 % and 10 % lists of a data set."""
    task = open_task(dataset, split)
    if task.tuned is None:
        raise UserError(f"{dataset} has too few labelled images of split {split}")
    known, keys = task.tuned.learning, task.pool.keys
    mine = [keys[row] for row in known]
    for percent in PERCENTS:
        path = FOLDER / file_name(task.pool.dataset.root, task.split, percent)
        if path.exists():
            raise UserError(f"{path} is published already; it stays as it is")
        chosen = share_of_classes(mine, task.pool.labels[known], percent)
        with replaced(path) as part:
            part.write_text("".join(f"{mine[place]}\n" for place in chosen), encoding="utf-8")
        typer.echo(f"{path.name}: {len(chosen)} of {len(known)} images")


if __name__ == "__main__":
    run_app(app)
