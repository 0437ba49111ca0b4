"""The commands `evaluate` and `compare` of `python -m trainer`: a table for people, JSON for scripts."""

import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from manifests.target import check_file, local_path, replaced
from trainer.evaluation.one_method import remark_on_code
from trainer.exported import export_folder

if TYPE_CHECKING:
    from trainer.evaluation.evaluate import Evaluation
    from trainer.evaluation.evidence import Difference, Score


Checkpoint = Annotated[Path, typer.Argument(parser=local_path, help="finished run, or exported encoder")]
JsonFile = Annotated[Path | None, typer.Option(parser=local_path, help="also write the JSON to this file")]


class LabelledSet(StrEnum):
    clipart26 = "clipart26"
    emoji = "emoji"


class Split(StrEnum):
    dev = "dev"
    test = "test"


def evaluate(
    checkpoint: Checkpoint,
    dataset: Annotated[LabelledSet, typer.Option("--set", help="labelled drawings")] = LabelledSet.clipart26,
    split: Annotated[Split, typer.Option(help="dev to choose anything, test to publish")] = Split.dev,
    seed: Annotated[int, typer.Option(help="draws the weights of the random baseline")] = 0,
    baselines: Annotated[bool, typer.Option(help="also score random weights, pixels and ImageNet's features")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
    out: JsonFile = None,
) -> None:
    """Score frozen features: nearest neighbours and a linear probe, balanced accuracy with 95 % intervals."""
    _check([checkpoint], out)
    from trainer.evaluation.evaluate import evaluate as run

    found = run(checkpoint, dataset=dataset, split=split, seed=seed, with_baselines=baselines, progress=_announce)
    _tell(found, as_json, out)


def compare(
    checkpoints: Annotated[
        list[Path],
        typer.Argument(parser=local_path, help="finished runs that differ in their seed only"),
    ],
    dataset: Annotated[LabelledSet, typer.Option("--set", help="labelled drawings")] = LabelledSet.clipart26,
    split: Annotated[Split, typer.Option(help="dev to choose anything, test to publish")] = Split.test,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON instead of a table")] = False,
    out: JsonFile = None,
) -> None:
    """Compare one method's training seeds with the baselines: differences with intervals over images and seeds."""
    _check(checkpoints, out)
    if remark := remark_on_code(checkpoints):
        print(f"warning: {remark}", file=sys.stderr)
    from trainer.evaluation.evaluate import compare as run

    _tell(run(checkpoints, dataset=dataset, split=split, progress=_announce), as_json, out)


def _announce(name: str) -> None:
    print(f"scoring {name}", file=sys.stderr, flush=True)


def _check(checkpoints: list[Path], out: Path | None) -> None:
    """Refuse what cannot be scored or written, before minutes are spent on it."""
    for checkpoint in checkpoints:
        export_folder(checkpoint)
    if out:
        check_file(out)


def _tell(found: "Evaluation", as_json: bool, out: Path | None) -> None:
    if as_json:
        print(found.to_json())
    else:
        print(f"{found.set} {found.split} {found.root[:12]}: balanced accuracy in percent, 95 % interval over groups")
        print("\n".join(table_lines(found.results)))
        print("\n".join(difference_lines(found.differences)))
    if out:
        with replaced(out) as part:
            part.write_text(found.to_json() + "\n", encoding="utf-8")


def table_lines(results: "dict[str, dict[str, Score]]") -> list[str]:
    """Return one line a feature set, methods as columns."""
    methods = list(next(iter(results.values())))
    lines = [f"{'':10}" + "".join(f"{method:>22}" for method in methods) + f"{'groups':>8}"]
    for name, scores in results.items():
        cells = [f"{100 * s.mean:.1f} [{100 * s.low:.1f}, {100 * s.high:.1f}]" for s in scores.values()]
        lines.append(f"{name:10}" + "".join(f"{cell:>22}" for cell in cells) + f"{scores[methods[0]].n:8}")
    return lines


def difference_lines(differences: "dict[str, dict[str, Difference]]") -> list[str]:
    """Return one line a baseline and method, in percentage points, with what the design could have seen."""
    return [
        f"encoder - {name:9}{method:>8}: {100 * d.mean:+.1f} [{100 * d.low:+.1f}, {100 * d.high:+.1f}], "
        f"could see {100 * d.smallest_detectable:.1f}, {'evidence' if d.is_evidence else 'no evidence'}"
        for name, found in differences.items()
        for method, d in found.items()
    ]
